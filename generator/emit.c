/* Emission: one self-contained CUDA text for a configuration.
 *
 * Order: banner, enumerators, params headers, libs, layouts, the template with its slots filled.
 * Invariant: the text is a function of static dimensions, axes and the architecture only; every
 * line of code is preceded by a #line that names its template, or is in step with the last one. */
#include "generator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_SOURCE = 4 << 20, /* NVRTC's time grows with it; a hundred times the largest kernel here */
    MAX_LIBS = 64,
    MAX_GAP = 3, /* dropped control lines become blank ones up to here, then a #line */
};

typedef struct Emitter {
    GenEval eval;
    const GenSpec *spec;
    const GenPipe *pipe;
    Str out;
    const char *file; /* #line state: where the next output line is thought to come from */
    int line;
    const GenTemplate *libs[MAX_LIBS]; /* in order of first use */
    size_t lib_count;
    bool collecting; /* first walk: libs only */
    Error *err;
} Emitter;

/* ---- text in step ---- */

static const char *virtual_name(const char *path) {
    static const char *const roots[] = {"templates/", "runtime/"};
    for (int i = 0; i < 2; i++)
        if (str_starts(path, roots[i])) return path + strlen(roots[i]);
    return path;
}

static void sync_line(Emitter *e, const char *path, int line) {
    bool same = e->file && strcmp(e->file, path) == 0;
    int gap = line - e->line;
    if (same && gap >= 0 && gap <= MAX_GAP) {
        for (; gap > 0; gap--) str_putc(&e->out, '\n');
    } else {
        str_printf(&e->out, "#line %d \"/seqtune/%s\"\n", line, virtual_name(path));
    }
    e->file = path;
    e->line = line + 1;
}

static void put_text(Emitter *e, const char *path, const GenNode *node) {
    sync_line(e, path, node->line);
    if (!node->substitutes) {
        str_append(&e->out, node->text, node->size);
        str_putc(&e->out, '\n');
        return;
    }
    const char *s = node->text, *end = s + node->size;
    while (s < end) {
        const char *hole = s;
        while (hole < end && !(hole[0] == '$' && hole + 1 < end && hole[1] == '(')) hole++;
        str_append(&e->out, s, (size_t)(hole - s));
        if (hole == end) break;
        const char *name = hole + 2, *close = memchr(name, ')', (size_t)(end - name));
        size_t n = (size_t)(close - name); /* the parser has checked the form and the name */
        for (int i = 0; i < e->eval.loops; i++)
            if (strlen(e->eval.loop_names[i]) == n && !memcmp(e->eval.loop_names[i], name, n))
                str_printf(&e->out, "%" PRId64, e->eval.loop_values[i]);
        s = close + 1;
    }
    str_putc(&e->out, '\n');
}

/* ---- walking templates ---- */

static Status walk(Emitter *e, const GenTemplate *tmpl, size_t from, size_t to);

static Status walk_for(Emitter *e, const GenTemplate *tmpl, size_t at) {
    const GenNode *node = &tmpl->nodes[at];
    GenFormula a = {.expr = node->a, .pos = node->pos_a}, b = {.expr = node->b, .pos = node->pos_b};
    int64_t first = 0, last = 0;
    Status status = gen_eval_int(&e->eval, &a, &first, e->err);
    if (status == ST_OK) status = gen_eval_int(&e->eval, &b, &last, e->err);
    if (status != ST_OK) return status;
    if (first > -1000000 && last < 1000000 && last - first >= 1024)
        return err_at(e->err, ST_LIMIT, node->pos_a, "a 'for' of %" PRId64 " rounds, at most 1024",
                      last - first + 1);
    if (last - first >= 1024 || first < -1000000)
        return err_at(e->err, ST_LIMIT, node->pos_a, "the bounds of this 'for' are too large");
    int slot = e->eval.loops++; /* at most 4: checked when linked */
    e->eval.loop_names[slot] = node->name;
    for (int64_t i = first; status == ST_OK && i <= last; i++) {
        e->eval.loop_values[slot] = i;
        status = walk(e, tmpl, at + 1, node->next);
    }
    e->eval.loops--;
    return status;
}

static Status walk_if(Emitter *e, const GenTemplate *tmpl, size_t at, size_t *next) {
    const GenNode *node = &tmpl->nodes[at];
    GenFormula formula = {.expr = node->a, .pos = node->pos_a};
    bool holds = false;
    Status status = gen_eval_bool(&e->eval, &formula, &holds, e->err);
    if (status != ST_OK) return status;
    bool has_else = tmpl->nodes[node->next].kind == GEN_NODE_ELSE;
    size_t end = has_else ? tmpl->nodes[node->next].next : node->next;
    *next = end + 1;
    if (holds) return walk(e, tmpl, at + 1, node->next);
    return has_else ? walk(e, tmpl, node->next + 1, end) : ST_OK;
}

static const GenTemplate *find_lib(const Emitter *e, const char *name) {
    /* Linked files are found again by name: a spec knows few. */
    char path[96];
    snprintf(path, sizeof path, "templates/lib/%s.cuh", name);
    for (size_t i = 0; i < e->spec->lib_count; i++)
        if (strcmp(e->spec->libs[i]->file->path, path) == 0) return e->spec->libs[i];
    return NULL;
}

/* Libs that a lib names come before it; each once. */
static Status add_lib(Emitter *e, const GenNode *node) {
    const GenTemplate *lib = find_lib(e, node->name);
    if (!lib)
        return err_at(e->err, ST_INTERNAL, node->pos_a, "lib '%s' was not linked", node->name);
    for (size_t i = 0; i < e->lib_count; i++)
        if (e->libs[i] == lib) return ST_OK;
    Status status = walk(e, lib, 0, lib->count);
    if (status != ST_OK) return status;
    if (e->lib_count == MAX_LIBS)
        return err_at(e->err, ST_LIMIT, node->pos_a, "more than %d libs", MAX_LIBS);
    e->libs[e->lib_count++] = lib;
    return ST_OK;
}

static Status choose_part(Emitter *e, const char *slot, TextPos pos, const GenPartChoice **out) {
    const GenPart *part = NULL;
    for (size_t i = 0; i < e->spec->part_count; i++)
        if (strcmp(e->spec->parts[i].slot, slot) == 0) part = &e->spec->parts[i];
    if (!part) return err_at(e->err, ST_INTERNAL, pos, "slot '%s' was not linked", slot);
    *out = &part->choices[0];
    if (!part->by) return ST_OK;
    ExprValue value;
    char text[64];
    if (!gen_eval_name(&e->eval, part->by, &value)) {
        if (!e->eval.failed) return err_at(e->err, ST_INTERNAL, pos, "'%s' has no value", part->by);
        if (e->err) *e->err = e->eval.fault;
        return e->eval.fault.status;
    }
    gen_value_text(value, text, sizeof text);
    for (size_t i = 0; i < part->count; i++) {
        *out = &part->choices[i];
        if (strcmp(part->choices[i].value, text) == 0) return ST_OK;
    }
    return err_at(e->err, ST_NOT_FOUND, part->pos, "parts: '%s' has no file for %s = %s", slot,
                  part->by, text);
}

static Status walk_slot(Emitter *e, const GenNode *node) {
    const GenPartChoice *choice = NULL;
    Status status = choose_part(e, node->name, node->pos_a, &choice);
    if (status != ST_OK || !choice->tmpl) return status;
    return walk(e, choice->tmpl, 0, choice->tmpl->count);
}

static Status walk(Emitter *e, const GenTemplate *tmpl, size_t from, size_t to) {
    Status status = ST_OK;
    for (size_t i = from; status == ST_OK && i < to;) {
        const GenNode *node = &tmpl->nodes[i];
        size_t next = i + 1;
        switch (node->kind) {
        case GEN_NODE_TEXT:
            if (!e->collecting) put_text(e, tmpl->file->path, node);
            break;
        case GEN_NODE_LIB:
            if (e->collecting) status = add_lib(e, node);
            break;
        case GEN_NODE_SLOT: status = walk_slot(e, node); break;
        case GEN_NODE_IF: status = walk_if(e, tmpl, i, &next); break;
        case GEN_NODE_FOR:
            status = walk_for(e, tmpl, i);
            next = node->next + 1;
            break;
        case GEN_NODE_ELSE:
        case GEN_NODE_END: break;
        }
        if (e->out.len > MAX_SOURCE)
            return err_set(e->err, ST_LIMIT, "%s: the source grew beyond %d bytes",
                           tmpl->file->path, MAX_SOURCE);
        i = next;
    }
    return status;
}

/* ---- frame ---- */

/* Static formulas only: the banner must not differ where the code does not. */
static Status put_resource(Emitter *e, const char *name, const GenFormula *formula) {
    int64_t value = 0;
    if (!formula->is_static) return ST_OK;
    Status status = gen_eval_int(&e->eval, formula, &value, e->err);
    if (status == ST_OK) str_printf(&e->out, " %s=%" PRId64, name, value);
    return status;
}

static Status put_banner(Emitter *e, const GenProblem *problem, const GenConfig *config,
                         const GpuArch *arch) {
    const GenSpec *spec = e->spec;
    Str *out = &e->out;
    char text[64];
    str_printf(out, "// %s: %s. Generated by seqtune; edit the template instead.\n", spec->name,
               spec->title);
    str_printf(out, "// gpu:       %s\n// problem:  ", arch->name);
    for (size_t i = 0; i < spec->dim_count; i++) {
        if (!spec->dims[i].is_static) continue;
        gen_value_text(gen_dim_value(&spec->dims[i], problem->value[i]), text, sizeof text);
        str_printf(out, " %s=%s", spec->dims[i].name, text);
    }
    str_puts(out, "\n// config:    ");
    Str words = {0};
    gen_config_text(spec, config, &words);
    if (words.failed) out->failed = true;
    str_puts(out, str_text(&words));
    str_free(&words);
    str_printf(out, "\n// spec:      %s generation %d\n// template:  %s\n// parts:    ",
               spec->file->path, spec->generation, e->pipe->path);
    for (size_t i = 0; i < spec->part_count; i++) {
        const GenPartChoice *choice = NULL;
        Status status = choose_part(e, spec->parts[i].slot, spec->parts[i].pos, &choice);
        if (status != ST_OK) return status;
        str_printf(out, " %s=%s", spec->parts[i].slot, choice->path ? choice->path : "(nothing)");
    }
    str_puts(out, "\n// resources:");
    Status status = put_resource(e, "threads", &spec->threads);
    if (status == ST_OK) status = put_resource(e, "smem", &spec->smem);
    if (status == ST_OK) status = put_resource(e, "regs(estimate)", &spec->regs);
    str_puts(out, "\n\n");
    return status;
}

/* Enumerators leave no trace in the PTX when unused, unlike namespace-scope constants. */
static Status put_enumerator(Emitter *e, const char *name, ExprValue value, TextPos pos) {
    if (value.kind == EXPR_STR) return ST_OK; /* a let that only names a part */
    if (value.i < INT32_MIN || value.i > INT32_MAX)
        return err_at(e->err, ST_LIMIT, pos, "'%s' is %" PRId64 ", which does not fit an int", name,
                      value.i);
    if (value.i == INT32_MIN)
        str_printf(&e->out, "    %s = -2147483647 - 1,\n", name);
    else
        str_printf(&e->out, "    %s = %" PRId64 ",\n", name, value.i);
    return ST_OK;
}

static void put_dims(Emitter *e, const GenProblem *problem) {
    for (size_t i = 0; i < e->spec->dim_count; i++) {
        const GenDim *dim = &e->spec->dims[i];
        if (!dim->is_static) continue;
        for (size_t k = 0; dim->kind == GEN_DIM_ENUM && k < dim->count; k++)
            str_printf(&e->out, "    %s_%s = %zu,\n", dim->name, dim->words[k], k);
        put_enumerator(e, dim->name, expr_int(problem->value[i]), e->spec->dim_pos[i]);
    }
}

static Status put_enumerators(Emitter *e, const GenProblem *problem, const GenConfig *config,
                              const GpuArch *arch) {
    const GenSpec *spec = e->spec;
    str_puts(&e->out, "enum : int {\n");
    put_dims(e, problem);
    for (size_t i = 0; i < spec->axis_count; i++)
        put_enumerator(e, spec->axes[i].name, expr_int(config->value[i]), spec->axis_pos[i]);
    for (size_t i = 0; i < spec->let_count; i++) {
        const GenFormula *formula = &spec->lets[i].formula;
        ExprValue value;
        if (!formula->is_static) continue;
        Status status = gen_eval_value(&e->eval, formula->expr, formula->pos, &value, e->err);
        if (status == ST_OK) status = put_enumerator(e, spec->lets[i].name, value, formula->pos);
        if (status != ST_OK) return status;
    }
    const struct {
        const char *name;
        const GenFormula *formula;
    } resources[] = {{"threads", &spec->threads}, {"smem", &spec->smem}};
    for (int i = 0; i < 2; i++) {
        int64_t value = 0;
        if (!resources[i].formula->is_static) continue;
        Status status = gen_eval_int(&e->eval, resources[i].formula, &value, e->err);
        if (status == ST_OK)
            status =
                put_enumerator(e, resources[i].name, expr_int(value), resources[i].formula->pos);
        if (status != ST_OK) return status;
    }
    for (int i = 0; i < GPU_FEATURE_COUNT; i++)
        str_printf(&e->out, "    HAS_%s = %d,\n", gpu_feature_name((GpuFeature)i),
                   gpu_has(arch, (GpuFeature)i));
    str_puts(&e->out, "};\n\n");
    return ST_OK;
}

static Status put_header(Emitter *e, const char *name) {
    char path[96];
    snprintf(path, sizeof path, "runtime/params/%s.h", name);
    const GenFile *file = gen_tree_find(&e->spec->lib->tree, path);
    if (!file) return err_set(e->err, ST_NOT_FOUND, "there is no file %s", path);
    sync_line(e, file->path, 1);
    str_append(&e->out, file->text, file->size);
    if (file->size && file->text[file->size - 1] != '\n') str_putc(&e->out, '\n');
    e->file = NULL;
    return ST_OK;
}

static Status put_layouts(Emitter *e) {
    for (size_t i = 0; i < e->spec->layout_count; i++) {
        const GenLayout *layout = &e->spec->layouts[i];
        GenLayoutShape shape;
        Status status = gen_layout_shape(&e->eval, layout, &shape, e->err);
        if (status == ST_OK) status = gen_layout_prove(layout->name, &shape, layout->pos, e->err);
        if (status != ST_OK) return status;
        str_printf(&e->out, "#line 1 \"/seqtune/generated/%s\"\n", layout->name);
        gen_layout_emit(layout->name, &shape, &e->out);
    }
    e->file = NULL;
    return ST_OK;
}

static Status put_all(Emitter *e, const GenProblem *problem, const GenConfig *config,
                      const GpuArch *arch) {
    const GenTemplate *tmpl = e->pipe->tmpl;
    Status status = put_banner(e, problem, config, arch);
    if (status == ST_OK) status = put_enumerators(e, problem, config, arch);
    if (status == ST_OK) status = put_header(e, "types");
    if (status == ST_OK) status = put_header(e, e->spec->params);
    if (status != ST_OK) return status;
    e->collecting = true;
    status = walk(e, tmpl, 0, tmpl->count);
    e->collecting = false;
    for (size_t i = 0; status == ST_OK && i < e->lib_count; i++)
        status = walk(e, e->libs[i], 0, e->libs[i]->count);
    if (status == ST_OK) status = put_layouts(e);
    return status == ST_OK ? walk(e, tmpl, 0, tmpl->count) : status;
}

/* The entries that may be launched: not those of steps that this configuration never takes. */
static Status list_entries(Emitter *e, GenOutput *out, Error *err) {
    size_t n = 0;
    for (size_t i = 0; i < e->spec->step_count; i++) {
        const GenStep *step = &e->spec->steps[i];
        bool wanted = true;
        if (step->when.expr && step->when.is_static) {
            const Status status = gen_eval_bool(&e->eval, &step->when, &wanted, err);
            if (status != ST_OK) return status;
        }
        for (size_t k = 0; k < n; k++) wanted &= strcmp(out->entries[k], step->entry) != 0;
        if (wanted) out->entries[n++] = step->entry;
    }
    return ST_OK;
}

static Status finish(Emitter *e, const GpuArch *arch, Arena *arena, GenOutput *out, Error *err) {
    memset(out, 0, sizeof *out);
    if (e->out.failed) return err_no_memory(err, e->out.cap);
    out->source = arena_strndup(arena, e->out.data, e->out.len);
    out->source_size = e->out.len;
    out->name = arena_printf(arena, "/seqtune/%s", virtual_name(e->pipe->path));
    out->arch = arch->name;
    out->options[0] = arena_printf(arena, "-arch=%s", arch->name);
    out->options[1] = "--std=c++17";
    out->options[2] = "-default-device";
    out->options[3] = "-lineinfo";
    out->options[4] = "--ptxas-options=-v";
    if (!out->source || !out->name || !out->options[0]) return err_no_memory(err, e->out.len);
    const Status status = list_entries(e, out, err);
    if (status != ST_OK) return status;
    HashState state;
    hash_begin(&state);
    hash_text(&state, "seqtune source 1");
    hash_field(&state, out->source, out->source_size);
    hash_text(&state, out->name);
    for (int i = 0; out->options[i]; i++) hash_text(&state, out->options[i]);
    hash_text(&state, arch->name);
    out->key = hash_end(&state);
    return ST_OK;
}

Status gen_emit(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *config,
                Arena *arena, GenOutput *out, Error *err) {
    const GenSpec *spec = problem->spec;
    if (spec->fault) return err_set(err, spec->fault_status, "%s", spec->fault);
    /* What differs between GPUs of one architecture must not reach the text. */
    GpuInfo of_arch = gpu_info_of_arch(gpu->arch);
    Emitter e = {.spec = spec, .err = err};
    char why[200];
    gen_eval_init(&e.eval, spec, problem, &of_arch, config);
    Status status = gen_pick_pipe(&e.eval, &e.pipe, why, sizeof why, err);
    if (status == ST_OK && !e.pipe)
        status = err_set(err, ST_UNSUPPORTED, "%s: no pipeline: %s", spec->name, why);
    if (status == ST_OK) status = put_all(&e, problem, config, gpu->arch);
    if (status == ST_OK) status = finish(&e, gpu->arch, arena, out, err);
    str_free(&e.out);
    return status;
}

/* "/seqtune/attn/x.cu(12): error" becomes "templates/attn/x.cu:12: error". */
char *gen_map_log(Arena *arena, const char *log) {
    static const char prefix[] = "/seqtune/";
    Str out = {0};
    for (const char *p; (p = strstr(log, prefix));) {
        const char *path = p + sizeof prefix - 1;
        size_t n = strcspn(path, "(:\"' \t\n)");
        str_append(&out, log, (size_t)(p - log));
        if (str_starts(path, "params/"))
            str_puts(&out, "runtime/");
        else if (!str_starts(path, "generated/"))
            str_puts(&out, "templates/");
        str_append(&out, path, n);
        log = path + n;
        size_t digits = log[0] == '(' ? strspn(log + 1, "0123456789") : 0;
        if (!digits || log[1 + digits] != ')') continue;
        str_putc(&out, ':');
        str_append(&out, log + 1, digits);
        log += digits + 2;
    }
    str_puts(&out, log);
    char *copy = out.failed ? NULL : arena_strdup(arena, str_text(&out));
    str_free(&out);
    return copy;
}
