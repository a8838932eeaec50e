/* See ptx_report.h. One table of counters serves the text and the JSON. */
#include "tuner/ptx_report.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "tuner/progress.h"
#include "tuner/report.h"
#include "tuner/runptx/element.h"
#include "tuner/stats.h"

static const struct {
    const char *key, *label;
    size_t offset;
} counters[] = {
#define ROW(field, label)                                                                          \
    { #field, label, offsetof(DeviceLaunchStats, field) }
    ROW(blocks, "blocks"),
    ROW(blocks_run, "run"),
    ROW(warp_instructions, "warp instructions"),
    ROW(mma, "mma"),
    ROW(ldmatrix, "ldmatrix"),
    ROW(cp_async, "cp.async"),
    ROW(barriers, "barriers"),
    ROW(max_async_groups, "async groups at most"),
    ROW(shared_wavefronts, "shared wavefronts"),
    ROW(shared_conflicts, "of them conflicts"),
    ROW(global_sectors, "global sectors"),
    ROW(dram_bytes, "bytes of DRAM"),
    ROW(local_access, "local accesses"),
#undef ROW
};

static unsigned long long counter(const DeviceLaunchStats *stats, size_t i) {
    unsigned long long value;
    memcpy(&value, (const char *)stats + counters[i].offset, sizeof value);
    return value;
}

static const char *const result_names[] = {
    [PTX_OK] = "ok",
    [PTX_UNEXPECTED] = "unexpected",
    [PTX_FAULT] = "fault",
    [PTX_TIMEOUT] = "timeout",
};

static void put_time(Str *out, double seconds) {
    char text[32];
    format_seconds(seconds, text, sizeof text);
    str_puts(out, text);
}

static bool modelled(const PtxReport *r) {
    return r->target->traits.modelled != 0;
}

/* ---- text ---- */

static void put_stats(const DeviceLaunchStats *s, Str *out) {
    str_printf(out, "  occupancy  %d blocks per SM, limited by %s; %.4g waves\n", s->blocks_per_sm,
               s->limiter, s->waves);
    str_puts(out, "  counted    ");
    if (s->blocks_run < s->blocks) str_printf(out, "in the %llu blocks that ran: ", s->blocks_run);
    for (size_t i = 0, shown = 0; i < sizeof counters / sizeof counters[0]; i++) {
        const unsigned long long n = counter(s, i);
        if (n == 0) continue;
        str_printf(out, "%s%llu %s",
                   shown == 0  ? ""
                   : shown % 5 ? ", "
                               : ",\n             ",
                   n, counters[i].label);
        shown++;
    }
    str_putc(out, '\n');
}

static void put_repeats(const PtxReport *r, const PtxLaunch *l, Str *out) {
    char evidence[64];
    if (l->time_count == 0) return;
    report_evidence(r->target, evidence, sizeof evidence);
    const Spread spread = stats_spread(l->times, l->time_count);
    str_puts(out, "  repeated   ");
    put_time(out, spread.median);
    str_printf(out, " %s (", evidence);
    put_time(out, spread.low);
    str_puts(out, " to ");
    put_time(out, spread.high);
    str_printf(out, ") over %zu launches\n", l->time_count);
}

static void put_launch_time(const PtxReport *r, const LaunchFigures *f, Str *out) {
    char evidence[64];
    if (f->has_stats) {
        profiled_time_text(r->target, &f->stats, out);
        return;
    }
    report_evidence(r->target, evidence, sizeof evidence);
    put_time(out, f->seconds);
    str_printf(out, " %s", evidence);
}

static void put_launch(const PtxReport *r, size_t i, Str *out) {
    const PtxLaunch *l = &r->launches[i];
    const LaunchFigures *f = &l->figures;
    str_printf(out, "launch %zu   %s\n", i + 1, f->entry);
    str_printf(out,
               "  shape      grid %u %u %u, block %u %u %u, %u B dynamic shared memory, %d "
               "registers%s%s\n",
               f->grid[0], f->grid[1], f->grid[2], f->block[0], f->block[1], f->block[2], f->smem,
               f->registers, f->registers_estimated ? " (estimated)" : "",
               f->cooperative ? ", cooperative" : "");
    if (!l->done) return;
    str_puts(out, "  time       ");
    put_launch_time(r, f, out);
    if (r->sampled && f->has_stats && f->stats.blocks_run < f->stats.blocks)
        str_printf(out, ", from %llu of %llu blocks", f->stats.blocks_run, f->stats.blocks);
    str_putc(out, '\n');
    if (f->has_stats) put_stats(&f->stats, out);
    if (l->profile) profiled_units_text(l->profile, out);
    put_repeats(r, l, out);
}

static void put_profiles(const PtxReport *r, Str *out) {
    if (r->profiled && !modelled(r))
        str_puts(out, "--profile: counters come from the software GPU only: --gpu soft:MODEL\n");
    if (r->profile_count > 0) profiled_counters_text(r->target, r->profiles, r->profile_count, out);
    if (r->line_count > 0) profiled_lines_text(r->lines, r->line_count, out);
    if (r->profile_count > 0) str_putc(out, '\n');
}

static void put_check(const PtxReport *r, const CheckFigures *c, Str *out) {
    if (c->guard) {
        str_printf(out, "guard of %s: ", c->buffer);
        if (c->wrong == 0)
            str_printf(out, "%llu bytes untouched\n", (unsigned long long)c->count);
        else
            str_printf(out, "%llu bytes were written, the first at offset %lld (%s:%d)\n",
                       (unsigned long long)c->wrong, (long long)c->first, r->description, c->line);
        return;
    }
    str_printf(out, "expect %s: ", c->buffer);
    if (c->wrong == 0)
        str_printf(out, "%llu elements as expected, largest error %.4g\n",
                   (unsigned long long)c->count, c->worst);
    else
        str_printf(out,
                   "%llu of %llu elements differ, the first is element %lld: %.9g, expected %.9g; "
                   "largest error %.4g (%s:%d)\n",
                   (unsigned long long)c->wrong, (unsigned long long)c->count, (long long)c->first,
                   c->got, c->want, c->worst, r->description, c->line);
}

static void put_element(Element type, const unsigned char *bytes, Str *out) {
    const Number n = element_decode(type, bytes);
    if (!n.integral)
        str_printf(out, "%.9g", n.d);
    else if (type == ELEMENT_u64)
        str_printf(out, "%llu", (unsigned long long)n.i);
    else
        str_printf(out, "%lld", (long long)n.i);
}

static void put_output(const PtxOutput *o, Str *out) {
    const OutputFigures *f = &o->figures;
    const Element type = (Element)f->type;
    str_printf(out, "output %s: %llu %s\n", f->buffer, (unsigned long long)f->count,
               element_name(type));
    for (uint64_t i = 0; i < f->shown; i++) {
        if (i % 8 == 0)
            str_printf(out, "%s  [%llu]", i ? "\n" : "", (unsigned long long)(f->from + i));
        str_putc(out, ' ');
        put_element(type, o->values + i * element_bytes(type), out);
    }
    if (f->shown > 0) str_putc(out, '\n');
    if (f->has_stats)
        str_printf(out, "  least %.9g, most %.9g, mean %.9g, %llu NaN, %llu infinite\n", f->min,
                   f->max, f->mean, (unsigned long long)f->nans, (unsigned long long)f->infinities);
    if (f->hash[0]) str_printf(out, "  blake2b-256 %s\n", f->hash);
    if (f->save[0]) str_printf(out, "  saved to %s\n", f->save);
}

void ptx_report_text(const PtxReport *r, Str *out) {
    str_printf(out, "%s on %s", r->file,
               modelled(r) ? r->target->traits.description : r->target->gpu.name);
    if (r->checks) str_printf(out, ", checks: %s", r->checks);
    str_putc(out, '\n');
    for (size_t i = 0; i < r->launch_count; i++) put_launch(r, i, out);
    put_profiles(r, out);
    if (r->fault) str_printf(out, "%s: %s\n", result_names[r->result], r->fault);
    if (r->launch_count < r->launches_planned)
        str_printf(out, "not run: %zu more launches\n", r->launches_planned - r->launch_count);
    for (const char *p = str_text(&r->warnings); *p;) {
        const size_t n = strcspn(p, "\n");
        if (n > 0) str_printf(out, "warning: %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    if (r->sampled) str_puts(out, "results were not looked at (--timing)\n");
    for (size_t i = 0; i < r->checked_count; i++) put_check(r, &r->checked[i], out);
    for (size_t i = 0; i < r->output_count; i++) put_output(&r->outputs[i], out);
    str_printf(out, "%s\n", result_names[r->result]);
}

/* ---- JSON ---- */

static void json_extent(Json *j, const char *key, const uint32_t extent[3]) {
    json_open(j, key, '[');
    for (int i = 0; i < 3; i++) json_int(j, NULL, extent[i]);
    json_close(j);
}

static void json_stats(Json *j, const DeviceLaunchStats *s) {
    profiled_time_json(s, j);
    json_text(j, "bound", s->bound);
    json_num(j, "waves", s->waves);
    json_int(j, "blocks_per_sm", s->blocks_per_sm);
    json_text(j, "limiter", s->limiter);
    json_open(j, "counters", '{');
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        json_int(j, counters[i].key, (int64_t)counter(s, i));
    json_close(j);
}

static void json_launch(const PtxLaunch *l, Json *j) {
    const LaunchFigures *f = &l->figures;
    json_open(j, NULL, '{');
    json_text(j, "entry", f->entry);
    json_int(j, "line", f->line);
    json_extent(j, "grid", f->grid);
    json_extent(j, "block", f->block);
    json_int(j, "smem", f->smem);
    json_bool(j, "cooperative", f->cooperative != 0);
    json_int(j, "registers", f->registers);
    json_bool(j, "registers_estimated", f->registers_estimated != 0);
    json_int(j, "local_bytes", f->local_bytes);
    json_bool(j, "done", l->done);
    if (l->done) json_num(j, "seconds", f->seconds);
    if (l->done && f->has_stats) json_stats(j, &f->stats);
    if (l->profile) profiled_counters_json(l->profile, "profile", j);
    json_open(j, "times", '[');
    for (size_t i = 0; i < l->time_count; i++) json_num(j, NULL, l->times[i]);
    json_close(j);
    json_close(j);
}

static void json_check(const CheckFigures *c, Json *j) {
    json_open(j, NULL, '{');
    json_text(j, "buffer", c->buffer);
    json_text(j, "kind", c->guard ? "guard" : "expect");
    json_int(j, "line", c->line);
    json_int(j, "count", (int64_t)c->count);
    json_int(j, "wrong", (int64_t)c->wrong);
    if (c->wrong > 0) {
        json_int(j, "first", c->first);
        json_num(j, "got", c->got);
        json_num(j, "want", c->want);
    }
    json_num(j, "worst", c->worst);
    json_close(j);
}

/* An unsigned number above 2^63, which many readers of JSON would round: as text. */
static void json_beyond(Json *j, int64_t bits) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bits);
    json_text(j, NULL, text);
}

static void json_output(const PtxOutput *o, Json *j) {
    const OutputFigures *f = &o->figures;
    const Element type = (Element)f->type;
    json_open(j, NULL, '{');
    json_text(j, "buffer", f->buffer);
    json_text(j, "dtype", element_name(type));
    json_int(j, "count", (int64_t)f->count);
    json_int(j, "from", (int64_t)f->from);
    json_open(j, "values", '[');
    for (uint64_t i = 0; i < f->shown; i++) {
        const Number n = element_decode(type, o->values + i * element_bytes(type));
        if (type == ELEMENT_u64 && n.i < 0)
            json_beyond(j, n.i);
        else if (n.integral)
            json_int(j, NULL, n.i);
        else
            json_num(j, NULL, n.d);
    }
    json_close(j);
    if (f->has_stats) {
        json_num(j, "min", f->min);
        json_num(j, "max", f->max);
        json_num(j, "mean", f->mean);
        json_int(j, "nans", (int64_t)f->nans);
        json_int(j, "infinities", (int64_t)f->infinities);
    }
    if (f->hash[0]) json_text(j, "blake2b", f->hash);
    if (f->save[0]) json_text(j, "saved", f->save);
    json_close(j);
}

static void json_warnings(const PtxReport *r, Json *j) {
    json_open(j, "warnings", '[');
    for (const char *p = str_text(&r->warnings); *p;) {
        Str line = {0};
        const size_t n = strcspn(p, "\n");
        str_append(&line, p, n);
        if (n > 0) json_text(j, NULL, str_text(&line));
        str_free(&line);
        p += n + (p[n] == '\n');
    }
    json_close(j);
}

void ptx_report_json(const PtxReport *r, Json *j) {
    json_open(j, NULL, '{');
    json_text(j, "result", result_names[r->result]);
    json_text(j, "file", r->file);
    json_text(j, "description", r->description);
    json_text(j, "gpu", r->target->gpu.name);
    json_text(j, "evidence", modelled(r) ? "modelled" : "measured");
    json_text(j, "model", modelled(r) ? r->target->traits.model : NULL);
    json_num(j, "factor", r->target->traits.factor);
    json_text(j, "checks", r->checks);
    json_bool(j, "sampled", r->sampled);
    json_text(j, "fault", r->fault);
    json_int(j, "planned", (int64_t)r->launches_planned);
    json_warnings(r, j);
    json_open(j, "launches", '[');
    for (size_t i = 0; i < r->launch_count; i++) json_launch(&r->launches[i], j);
    json_close(j);
    json_bool(j, "profiled", r->profile_count > 0);
    if (r->profile_count > 0) profiled_total_json(r->profiles, r->profile_count, j);
    if (r->line_count > 0) profiled_lines_json(r->lines, r->line_count, j);
    json_open(j, "expectations", '[');
    for (size_t i = 0; i < r->checked_count; i++) json_check(&r->checked[i], j);
    json_close(j);
    json_open(j, "outputs", '[');
    for (size_t i = 0; i < r->output_count; i++) json_output(&r->outputs[i], j);
    json_close(j);
    json_close(j);
}
