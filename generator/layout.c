/* Layouts: hardware index bits to tile coordinates, evaluated, proved and printed as CUDA.
 *
 * A register layout sends bit b of the register or lane number to one (row, col) and combines them
 * by XOR; repetition stacks register blocks, columns fastest, so tiles need not be powers of two.
 *
 * A shared tile keeps rows at their natural pitch and permutes the 16-byte chunks of a row by XOR:
 *
 *   chunk' = chunk ^ ((row >> (3 - k)) & (2^k - 1)),   2^k = greatest power of two in chunks per
 *                                                       row, at most 8
 * With c = 2^k * odd chunks per row, a row begins at bank group 2^k * (odd * row) mod 8: rows
 * spread over the groups by their low 3 - k bits alone, and the XOR spreads what is left with the
 * next k bits. XOR by less than 2^k stays inside aligned runs of 2^k chunks, so eight consecutive
 * chunks still hit eight different groups. Both claims are checked, not believed. */
#include "generator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_TILE = 1 << 20, /* elements that a proof walks through */
    BANK_GROUPS = 8,    /* 32 banks of 4 bytes, in chunks of 16 bytes */
    CHUNK = 16,         /* bytes of one ldmatrix row and of one cp.async */
};

/* ---- operand layouts, literally as the PTX ISA writes them ---- */

typedef void (*Operand)(int i, int lane, int *row, int *col);

/* "Matrix Fragments for mma.m16n8k16 with floating point type", accumulators C and D; the same
 * for m16n8k8. groupID = lane >> 2, threadID_in_group = lane % 4. */
static void acc_m16n8(int i, int lane, int *row, int *col) {
    *row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
    *col = (lane % 4) * 2 + (i & 1);
}

/* The same section, multiplicand A (.f16, .bf16). */
static void a_m16k16(int i, int lane, int *row, int *col) {
    *row = (i < 2) || (i >= 4 && i < 6) ? lane >> 2 : (lane >> 2) + 8;
    *col = (lane % 4) * 2 + (i & 1) + (i < 4 ? 0 : 8);
}

/* "Matrix Fragments for mma.m16n8k8", multiplicand A (.f16). */
static void a_m16k8(int i, int lane, int *row, int *col) {
    *row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
    *col = (lane % 4) * 2 + (i & 1);
}

/* m16n8k16, multiplicand B: (k, n). */
static void b_k16n8(int i, int lane, int *row, int *col) {
    *row = (lane % 4) * 2 + (i & 1) + (i < 2 ? 0 : 8);
    *col = lane >> 2;
}

/* m16n8k8, multiplicand B: (k, n). */
static void b_k8n8(int i, int lane, int *row, int *col) {
    *row = (lane % 4) * 2 + i;
    *col = lane >> 2;
}

static const struct {
    const char *name;
    Operand at;
    int regs, rows, cols;
} operands[] = {
    {"acc_m16n8", acc_m16n8, 4, 16, 8}, {"a_m16k16", a_m16k16, 8, 16, 16},
    {"a_m16k8", a_m16k8, 4, 16, 8},     {"b_k16n8", b_k16n8, 4, 16, 8},
    {"b_k8n8", b_k8n8, 2, 8, 8},
};

/* ---- evaluation ---- */

static Status positive(GenEval *eval, const GenFormula *formula, int64_t *out, Error *err) {
    Status status = gen_eval_int(eval, formula, out, err);
    if (status == ST_OK && (*out < 1 || *out > 65536))
        status = err_at(err, ST_LIMIT, formula->pos, "layout: '%s' is %" PRId64 ", not 1..65536",
                        expr_text(formula->expr), *out);
    return status;
}

static Status shape_of(GenEval *eval, const GenLayoutDef *def, GenLayoutShape *out, Error *err) {
    *out = (GenLayoutShape){.def = def, .row_reps = 1, .col_reps = 1};
    Status status = ST_OK;
    for (int i = 0; status == ST_OK && i < def->rep_count; i++) {
        int64_t n = 0;
        status = positive(eval, &def->reps[i].count, &n, err);
        if (def->reps[i].rows)
            out->row_reps *= n;
        else
            out->col_reps *= n;
    }
    if (def->atom) {
        out->rows = def->atom_rows * out->row_reps;
        out->cols = def->atom_cols * out->col_reps;
        return status;
    }
    if (status == ST_OK) status = positive(eval, &def->rows, &out->rows, err);
    if (status == ST_OK) status = positive(eval, &def->cols, &out->cols, err);
    if (status == ST_OK) status = positive(eval, &def->elem_bytes, &out->elem_bytes, err);
    return status;
}

Status gen_layout_shape(GenEval *eval, const GenLayout *layout, GenLayoutShape *out, Error *err) {
    Status status = shape_of(eval, layout->def, out, err);
    if (status != ST_OK) {
        err_wrap(err, "layout '%s'", layout->name);
        return status;
    }
    if (out->rows > MAX_TILE / out->cols)
        return err_at(err, ST_LIMIT, layout->pos,
                      "layout '%s': %" PRId64 " x %" PRId64 " elements, at most %d", layout->name,
                      out->rows, out->cols, MAX_TILE);
    return ST_OK;
}

int gen_layout_regs(const GenLayoutShape *shape) {
    return (int)(shape->row_reps * shape->col_reps) << shape->def->reg_bits;
}

void gen_layout_reg(const GenLayoutShape *shape, int reg, int lane, int *row, int *col) {
    const GenLayoutDef *def = shape->def;
    int block = reg >> def->reg_bits, r = 0, c = 0;
    for (int b = 0; b < def->reg_bits; b++) {
        r ^= (reg >> b & 1) * def->reg[b].row;
        c ^= (reg >> b & 1) * def->reg[b].col;
    }
    for (int b = 0; b < 5; b++) {
        r ^= (lane >> b & 1) * def->lane[b].row;
        c ^= (lane >> b & 1) * def->lane[b].col;
    }
    *row = block / (int)shape->col_reps * def->atom_rows + r;
    *col = block % (int)shape->col_reps * def->atom_cols + c;
}

void gen_layout_swizzle(const GenLayoutShape *shape, int *bits, int *row_shift) {
    int64_t chunks = shape->cols * shape->elem_bytes / CHUNK;
    int k = 0;
    while (k < 3 && chunks % (2 << k) == 0) k++;
    *bits = k;
    *row_shift = 3 - k;
}

int64_t gen_layout_offset(const GenLayoutShape *shape, int64_t row, int64_t col) {
    int bits, shift;
    gen_layout_swizzle(shape, &bits, &shift);
    int64_t byte = col * shape->elem_bytes, chunk = byte / CHUNK;
    chunk ^= row >> shift & ((1 << bits) - 1);
    return row * shape->cols * shape->elem_bytes + chunk * CHUNK + byte % CHUNK;
}

/* ---- proofs ---- */

static Status disproved(const char *name, const GenLayoutShape *shape, TextPos pos, Error *err,
                        const char *what) {
    Str text = {0};
    gen_layout_emit(name, shape, &text);
    Status status = err_at(err, ST_INTERNAL, pos, "layout '%s': %s", name, what);
    if (err) {
        size_t used = strlen(err->message);
        size_t room = sizeof err->message - used - 1;
        if (room > 2) {
            err->message[used] = '\n';
            strncpy(err->message + used + 1, str_text(&text), room - 1);
            err->message[sizeof err->message - 1] = '\0';
        }
    }
    str_free(&text);
    return status;
}

/* One bit per tile element, to see each met exactly once. */
typedef struct Cover {
    unsigned char *seen;
    int64_t count;
} Cover;

static bool cover_add(Cover *cover, int64_t i) {
    if (i < 0 || i >= cover->count || cover->seen[i]) return false;
    cover->seen[i] = 1;
    return true;
}

static Status prove_operand(const char *name, const GenLayoutShape *shape, TextPos pos,
                            Error *err) {
    const GenLayoutDef *def = shape->def;
    for (size_t k = 0; k < sizeof operands / sizeof *operands; k++) {
        if (strcmp(operands[k].name, def->atom) != 0) continue;
        bool same = operands[k].rows == def->atom_rows && operands[k].cols == def->atom_cols &&
                    operands[k].regs == 1 << def->reg_bits;
        for (int i = 0; same && i < operands[k].regs; i++)
            for (int lane = 0; lane < 32; lane++) {
                int row, col, want_row, want_col;
                gen_layout_reg(shape, i, lane, &row, &col);
                operands[k].at(i, lane, &want_row, &want_col);
                same &= row == want_row && col == want_col;
            }
        if (same) return ST_OK;
        return disproved(name, shape, pos, err, "differs from the operand layout of the PTX ISA");
    }
    return disproved(name, shape, pos, err, "its atom is no operand of a known instruction");
}

static Status prove_registers(const char *name, const GenLayoutShape *shape, TextPos pos,
                              Cover *cover, Error *err) {
    int regs = gen_layout_regs(shape);
    if ((int64_t)regs * 32 != shape->rows * shape->cols)
        return disproved(name, shape, pos, err, "registers x lanes differ from rows x columns");
    for (int reg = 0; reg < regs; reg++)
        for (int lane = 0; lane < 32; lane++) {
            int row, col;
            gen_layout_reg(shape, reg, lane, &row, &col);
            if (row < 0 || row >= shape->rows || col < 0 || col >= shape->cols ||
                !cover_add(cover, row * shape->cols + col))
                return disproved(name, shape, pos, err, "not one-to-one onto its tile");
        }
    return prove_operand(name, shape, pos, err);
}

/* Do eight 16-byte accesses at these byte offsets hit every bank group once? */
static bool conflict_free(const int64_t offsets[BANK_GROUPS]) {
    unsigned seen = 0;
    for (int i = 0; i < BANK_GROUPS; i++) seen |= 1u << (offsets[i] / CHUNK % BANK_GROUPS);
    return seen == (1u << BANK_GROUPS) - 1;
}

/* (a) ldmatrix: eight consecutive rows of one chunk column. */
static bool ldmatrix_free(const GenLayoutShape *shape, int64_t chunks, int64_t per_chunk) {
    for (int64_t row = 0; row + BANK_GROUPS <= shape->rows; row += BANK_GROUPS)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            int64_t offsets[BANK_GROUPS];
            for (int i = 0; i < BANK_GROUPS; i++)
                offsets[i] = gen_layout_offset(shape, row + i, chunk * per_chunk);
            if (!conflict_free(offsets)) return false;
        }
    return true;
}

/* (b) a warp that stores 16-byte chunks row by row: eight lanes at a time, in order. */
static bool stores_free(const GenLayoutShape *shape, int64_t chunks, int64_t per_chunk) {
    for (int64_t first = 0; first + BANK_GROUPS <= shape->rows * chunks; first += BANK_GROUPS) {
        int64_t offsets[BANK_GROUPS];
        for (int i = 0; i < BANK_GROUPS; i++)
            offsets[i] =
                gen_layout_offset(shape, (first + i) / chunks, (first + i) % chunks * per_chunk);
        if (!conflict_free(offsets)) return false;
    }
    return true;
}

static Status prove_tile(const char *name, const GenLayoutShape *shape, TextPos pos, Cover *cover,
                         Error *err) {
    int64_t size = shape->elem_bytes, per_chunk = CHUNK / (size ? size : 1);
    if (size != 1 && size != 2 && size != 4 && size != 8)
        return err_at(err, ST_INVALID, pos,
                      "layout '%s': elements of %" PRId64 " bytes; 1, 2, 4 or 8 are possible", name,
                      size);
    if (shape->cols % per_chunk != 0)
        return err_at(err, ST_INVALID, pos,
                      "layout '%s': %" PRId64 " columns are no whole 16-byte chunks (%" PRId64
                      " elements each)",
                      name, shape->cols, per_chunk);
    for (int64_t row = 0; row < shape->rows; row++)
        for (int64_t col = 0; col < shape->cols; col++) {
            int64_t offset = gen_layout_offset(shape, row, col);
            if (offset % size || !cover_add(cover, offset / size))
                return disproved(name, shape, pos, err, "not one-to-one");
        }
    int64_t chunks = shape->cols / per_chunk;
    if (!ldmatrix_free(shape, chunks, per_chunk))
        return disproved(name, shape, pos, err, "ldmatrix has bank conflicts");
    if (!stores_free(shape, chunks, per_chunk))
        return disproved(name, shape, pos, err, "16-byte stores have bank conflicts");
    return ST_OK;
}

Status gen_layout_prove(const char *name, const GenLayoutShape *shape, TextPos pos, Error *err) {
    Arena *scratch = arena_new();
    Cover cover = {.count = shape->rows * shape->cols};
    if (scratch) cover.seen = arena_alloc(scratch, (size_t)cover.count);
    Status status = ST_OK;
    if (!cover.seen)
        status = err_no_memory(err, (unsigned long long)cover.count);
    else if (shape->def->atom)
        status = prove_registers(name, shape, pos, &cover, err);
    else
        status = prove_tile(name, shape, pos, &cover, err);
    if (scratch) arena_free(scratch);
    return status;
}

/* ---- text ---- */

/* Do all basis vectors of a layout have their own bits in rows (or columns)? Then XOR is addition,
 * which the compiler can fold into addresses and comparisons. */
static bool disjoint(const GenLayoutDef *def, bool rows) {
    int seen = 0;
    for (int b = 0; b < def->reg_bits + 5; b++) {
        const GenBasis *basis = b < def->reg_bits ? &def->reg[b] : &def->lane[b - def->reg_bits];
        int v = rows ? basis->row : basis->col;
        if (seen & v) return false;
        seen |= v;
    }
    return true;
}

/* The contribution of an index's bits in as few shifts as possible: a run of bits whose values
 * double is one masked shift. Returns true while nothing has been written yet. */
static bool emit_bits(const GenBasis *basis, int bits, bool rows, const char *index, bool first,
                      const char *combine, Str *out) {
    for (int b = 0; b < bits;) {
        int v = rows ? basis[b].row : basis[b].col, n = 1;
        if (v == 0) {
            b++;
            continue;
        }
        while (b + n < bits && (rows ? basis[b + n].row : basis[b + n].col) == v << n) n++;
        if (!first) str_printf(out, " %s ", combine);
        if (b)
            str_printf(out, "(%s >> %d & %d)", index, b, (1 << n) - 1);
        else
            str_printf(out, "(%s & %d)", index, (1 << n) - 1);
        if (v > 1) str_printf(out, " * %d", v);
        first = false;
        b += n;
    }
    return first;
}

static void emit_register(const char *name, const GenLayoutShape *shape, Str *out) {
    const GenLayoutDef *def = shape->def;
    for (int rows = 1; rows >= 0; rows--) {
        int64_t reps = rows ? shape->row_reps : shape->col_reps;
        int size = rows ? def->atom_rows : def->atom_cols;
        str_printf(out, "__device__ constexpr int %s_%s(int reg, int lane) {\n    return ", name,
                   rows ? "row" : "col");
        bool first = true;
        if (reps > 1) {
            if (rows && shape->col_reps > 1)
                str_printf(out, "(reg >> %d) / %" PRId64 " * %d + (", def->reg_bits,
                           shape->col_reps, size);
            else if (!rows && shape->row_reps > 1)
                str_printf(out, "(reg >> %d) %% %" PRId64 " * %d + (", def->reg_bits,
                           shape->col_reps, size);
            else
                str_printf(out, "(reg >> %d) * %d + (", def->reg_bits, size);
        }
        const char *combine = disjoint(def, rows) ? "+" : "^";
        first = emit_bits(def->reg, def->reg_bits, rows, "reg", first, combine, out);
        first = emit_bits(def->lane, 5, rows, "lane", first, combine, out);
        str_printf(out, "%s%s;\n}\n", first ? "0" : "", reps > 1 ? ")" : "");
    }
}

static void emit_tile(const char *name, const GenLayoutShape *shape, Str *out) {
    int bits, shift;
    gen_layout_swizzle(shape, &bits, &shift);
    int64_t pitch = shape->cols * shape->elem_bytes;
    str_printf(out,
               "__device__ constexpr int %s_offset(int row, int col) {\n    return row * %" PRId64
               " + ",
               name, pitch);
    char byte[48] = "col";
    if (shape->elem_bytes > 1) snprintf(byte, sizeof byte, "col * %" PRId64, shape->elem_bytes);
    if (!bits)
        str_printf(out, "%s", byte);
    else if (shift)
        str_printf(out, "(%s ^ (row >> %d & %d) * %d)", byte, shift, (1 << bits) - 1, CHUNK);
    else
        str_printf(out, "(%s ^ (row & %d) * %d)", byte, (1 << bits) - 1, CHUNK);
    str_puts(out, ";\n}\n");
}

void gen_layout_emit(const char *name, const GenLayoutShape *shape, Str *out) {
    if (shape->def->atom) {
        str_printf(out,
                   "// %s: %s, %" PRId64 " x %" PRId64 " blocks = %" PRId64 " x %" PRId64
                   " over 32 lanes\n",
                   name, shape->def->atom, shape->row_reps, shape->col_reps, shape->rows,
                   shape->cols);
        str_printf(out,
                   "enum : int { %s_regs = %d, %s_rows = %" PRId64 ", %s_cols = %" PRId64 " };\n",
                   name, gen_layout_regs(shape), name, shape->rows, name, shape->cols);
        emit_register(name, shape, out);
        return;
    }
    str_printf(out,
               "// %s: shared tile of %" PRId64 " x %" PRId64 " elements of %" PRId64
               " B, 16-byte chunks swizzled by row\n",
               name, shape->rows, shape->cols, shape->elem_bytes);
    str_printf(out, "enum : int { %s_bytes = %" PRId64 " };\n", name,
               shape->rows * shape->cols * shape->elem_bytes);
    emit_tile(name, shape, out);
}
