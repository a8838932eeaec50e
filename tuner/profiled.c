/* See profiled.h. Reading and aggregating; profiled_print.c prints. */
#include "tuner/profiled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"

enum { MAX_SOURCE = 64 << 20 };

bool profiled_can(const Driver *d) {
    return d->SetProfile && d->LastCounters && d->LastProfile && d->LastLaunch && d->SelectLaunch;
}

static Status read_one(const Driver *d, Arena *arena, ProfiledLaunch *p, Error *err) {
    Status st =
        driver_check(d, d->LastCounters(NULL, &p->counter_count), "softgpuLastCounters", err);
    if (st == ST_OK)
        st = driver_check(d, d->LastProfile(NULL, &p->row_count), "softgpuLastProfile", err);
    if (st != ST_OK) return st;
    p->counters = ARENA_ARRAY(arena, DeviceCounter, p->counter_count);
    p->rows = ARENA_ARRAY(arena, DeviceLine, p->row_count);
    if (!p->counters || !p->rows) return err_no_memory(err, p->row_count * sizeof *p->rows);
    p->stats.size = sizeof p->stats;
    st = driver_check(d, d->LastCounters(p->counters, &p->counter_count), "softgpuLastCounters",
                      err);
    if (st == ST_OK)
        st = driver_check(d, d->LastProfile(p->rows, &p->row_count), "softgpuLastProfile", err);
    if (st == ST_OK) st = driver_check(d, d->LastLaunch(&p->stats), "softgpuLastLaunch", err);
    return st;
}

Status profiled_read(const Driver *d, Arena *arena, ProfiledLaunch **out, size_t *count,
                     Error *err) {
    size_t n = 0;
    while (d->SelectLaunch(n, NULL, 0) == CUDA_SUCCESS) n++;
    *count = 0;
    *out = ARENA_ARRAY(arena, ProfiledLaunch, n + 1);
    if (!*out) return err_no_memory(err, n * sizeof **out);
    for (size_t i = 0; i < n; i++) {
        ProfiledLaunch *p = &(*out)[i];
        Status st = driver_check(d, d->SelectLaunch(i, p->entry, sizeof p->entry),
                                 "softgpuSelectLaunch", err);
        if (st == ST_OK) st = read_one(d, arena, p, err);
        if (st != ST_OK) return st;
        ++*count;
    }
    return ST_OK;
}

/* ---- lines ---- */

const char *profiled_file_line(LineSource *s, const char *place, Arena *arena) {
    const char *colon = strrchr(place, ':');
    const size_t n = colon ? (size_t)(colon - place) : sizeof s->file;
    if (n >= sizeof s->file) return "";
    if (strncmp(s->file, place, n) != 0 || s->file[n] != '\0') {
        size_t size;
        char *text;
        snprintf(s->file, sizeof s->file, "%.*s", (int)n, place);
        s->read = files_read(arena, s->file, MAX_SOURCE, &text, &size, NULL) == ST_OK ? text : "";
    }
    const char *p = s->read;
    for (int line = atoi(colon + 1); line > 1 && p; line--) {
        p = strchr(p, '\n');
        if (p) p++;
    }
    if (!p) return "";
    p += strspn(p, " \t");
    const char *text = arena_strndup(arena, p, strcspn(p, "\r\n"));
    return text ? text : "";
}

typedef struct Piece { /* one executed PTX instruction of one launch */
    const char *place, *caller;
    const DeviceLine *row;
    double share; /* of all launches */
} Piece;

static int by_place(const void *a, const void *b) {
    const Piece *x = a, *y = b;
    const int order = strcmp(x->place, y->place);
    return order != 0 ? order : strcmp(x->caller, y->caller);
}

static int by_share(const void *a, const void *b) {
    const ProfiledLine *x = a, *y = b;
    if (x->share < y->share || x->share > y->share) return x->share < y->share ? 1 : -1;
    const int order = strcmp(x->place, y->place);
    return order != 0 ? order : strcmp(x->caller, y->caller);
}

static const char *place_of(const LineSource *s, const DeviceLine *row, Arena *arena) {
    char place[sizeof s->file + 16];
    if (row->place[0] || !s->ptx) return row->place;
    snprintf(place, sizeof place, "%s:%d", s->ptx, row->ptx_line);
    const char *copy = arena_strdup(arena, place);
    return copy ? copy : "";
}

static Piece *pieces_of(const ProfiledLaunch *launches, size_t count, const LineSource *source,
                        Arena *arena, size_t *n) {
    double seconds = 0;
    *n = 0;
    for (size_t i = 0; i < count; i++) {
        seconds += launches[i].stats.seconds;
        *n += launches[i].row_count;
    }
    Piece *pieces = ARENA_ARRAY(arena, Piece, *n + 1);
    for (size_t i = 0, k = 0; pieces && i < count; i++) {
        const double part = seconds > 0 ? launches[i].stats.seconds / seconds : 0;
        for (size_t r = 0; r < launches[i].row_count; r++) {
            const DeviceLine *row = &launches[i].rows[r];
            pieces[k++] = (Piece){place_of(source, row, arena), source->inlined ? row->caller : "",
                                  row, part * row->share};
        }
    }
    return pieces;
}

Status profiled_lines(const ProfiledLaunch *launches, size_t count, LineSource *source,
                      Arena *arena, ProfiledLine **lines, size_t *line_count, Error *err) {
    size_t n;
    Piece *pieces = pieces_of(launches, count, source, arena, &n);
    ProfiledLine *out = ARENA_ARRAY(arena, ProfiledLine, n + 1);
    if (!pieces || !out) return err_no_memory(err, n * sizeof *out);
    size_t made = 0;
    qsort(pieces, n, sizeof *pieces, by_place);
    for (size_t i = 0; i < n; i++) {
        const DeviceLine *row = pieces[i].row;
        if (i == 0 || by_place(&pieces[i], &pieces[i - 1]) != 0) {
            const Piece *p = &pieces[i];
            const char *shown = p->caller[0] ? p->caller : p->place;
            out[made++] =
                (ProfiledLine){.place = p->place,
                               .caller = p->caller,
                               .text = shown[0] ? source->text(source, shown, arena) : ""};
        }
        ProfiledLine *line = &out[made - 1];
        line->warps += (double)row->warps;
        line->lanes += (double)row->lanes;
        line->wavefronts += (double)row->wavefronts;
        line->conflicts += (double)row->conflicts;
        line->sectors += (double)row->sectors;
        line->share += pieces[i].share;
    }
    qsort(out, made, sizeof *out, by_share);
    *lines = out;
    *line_count = made;
    return ST_OK;
}
