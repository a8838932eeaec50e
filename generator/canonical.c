/* The canonical text of a spec: all that changes what is generated, chosen or measured, and
 * nothing else (no titles, reasons, places). Two specs with equal text are interchangeable.
 *
 * One line per fact, fields separated by '|'; formulas as written. */
#include "generator/internal.h"

#include <inttypes.h>

static void put_formula(Str *out, const char *what, const GenFormula *formula) {
    if (formula->expr) str_printf(out, "%s|%s\n", what, expr_text(formula->expr));
}

static void put_dim(Str *out, const GenDim *dim) {
    str_printf(out, "dim|%s|%d|%d|%d|%" PRId64 "|%" PRId64 "|%" PRId64, dim->name, dim->kind,
               dim->key, dim->is_static, dim->min, dim->max, dim->preset);
    for (size_t i = 0; i < dim->count; i++) {
        if (dim->kind == GEN_DIM_ENUM)
            str_printf(out, "|%s", dim->words[i]);
        else
            str_printf(out, "|%" PRId64, dim->ints[i]);
    }
    if (dim->formula) str_printf(out, "|%s", expr_text(dim->formula));
    str_putc(out, '\n');
}

static void put_space(Str *out, const GenSpec *spec) {
    for (size_t i = 0; i < spec->axis_count; i++) {
        str_printf(out, "axis|%s|%d", spec->axes[i].name, spec->axes[i].is_bool);
        for (size_t k = 0; k < spec->axes[i].count; k++)
            str_printf(out, "|%" PRId64, spec->axes[i].values[k]);
        str_putc(out, '\n');
    }
    for (size_t i = 0; i < spec->let_count; i++)
        put_formula(out, spec->lets[i].name, &spec->lets[i].formula);
    for (size_t i = 0; i < spec->rule_count; i++)
        str_printf(out, "rule|%s\n", expr_text(spec->rules[i].when));
    for (size_t i = 0; i < spec->need_count; i++)
        str_printf(out, "need|%s\n", expr_text(spec->needs[i].when));
}

static void put_launch(Str *out, const GenSpec *spec) {
    for (size_t i = 0; i < spec->pipe_count; i++) {
        str_printf(out, "pipe|%s|", spec->pipes[i].path);
        for (int f = 0; f < GPU_FEATURE_COUNT; f++) /* names: the numbers may move */
            if (spec->pipes[i].needs >> f & 1)
                str_printf(out, "%s,", gpu_feature_name((GpuFeature)f));
        str_putc(out, '\n');
        put_formula(out, "when", &spec->pipes[i].when);
    }
    for (size_t i = 0; i < spec->step_count; i++) {
        const GenStep *step = &spec->steps[i];
        str_printf(out, "step|%s\n", step->entry);
        for (int k = 0; k < 3; k++) put_formula(out, "grid", &step->grid[k]);
        for (int k = 0; k < 3; k++) put_formula(out, "block", &step->block[k]);
        put_formula(out, "smem", &step->smem);
        put_formula(out, "when", &step->when);
        put_formula(out, "rounds", &step->rounds);
        if (step->cooperative) str_puts(out, "cooperative\n");
    }
}

static void put_bases(Str *out, const GenBasis *basis, int n) {
    for (int i = 0; i < n; i++) str_printf(out, "|%d,%d", basis[i].row, basis[i].col);
}

static void put_layouts(Str *out, const GenSpec *spec) {
    for (size_t i = 0; i < spec->layout_count; i++) {
        const GenLayoutDef *def = spec->layouts[i].def;
        str_printf(out, "layout|%s|%s|%d|%d", spec->layouts[i].name, def->atom ? def->atom : "tile",
                   def->atom_rows, def->atom_cols);
        put_bases(out, def->reg, def->reg_bits);
        if (def->atom) put_bases(out, def->lane, 5);
        str_putc(out, '\n');
        for (int k = 0; k < def->rep_count; k++)
            put_formula(out, def->reps[k].rows ? "rep_row" : "rep_col", &def->reps[k].count);
        put_formula(out, "rows", &def->rows);
        put_formula(out, "cols", &def->cols);
        put_formula(out, "elem_bytes", &def->elem_bytes);
    }
}

static void put_rest(Str *out, const GenSpec *spec) {
    for (size_t i = 0; i < spec->part_count; i++) {
        const GenPart *part = &spec->parts[i];
        str_printf(out, "part|%s|%s", part->slot, part->by ? part->by : "");
        for (size_t k = 0; k < part->count; k++)
            str_printf(out, "|%s=%s", part->choices[k].value ? part->choices[k].value : "",
                       part->choices[k].path ? part->choices[k].path : "");
        str_putc(out, '\n');
    }
    for (size_t i = 0; i < spec->seed_count; i++) {
        str_puts(out, "seed|");
        for (size_t k = 0; k < spec->axis_count; k++)
            str_printf(out, "%" PRId64 ",", spec->seeds[i].config.value[k]);
        str_putc(out, '\n');
        put_formula(out, "when", &spec->seeds[i].when);
    }
}

void gen_canonical(const GenSpec *spec, Str *out) {
    str_printf(out, "kernel|%s|%d|%s|%s\n", spec->name, spec->generation, spec->params,
               spec->reference);
    for (size_t i = 0; i < spec->dim_count; i++) put_dim(out, &spec->dims[i]);
    put_space(out, spec);
    put_formula(out, "threads", &spec->threads);
    put_formula(out, "smem", &spec->smem);
    put_formula(out, "regs", &spec->regs);
    put_formula(out, "workspace", &spec->workspace);
    put_formula(out, "score", &spec->score);
    put_formula(out, "flops", &spec->flops);
    put_formula(out, "bytes", &spec->bytes);
    put_launch(out, spec);
    put_layouts(out, spec);
    put_rest(out, spec);
}
