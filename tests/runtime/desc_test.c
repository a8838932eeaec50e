/* Descriptions: what every bad field is answered, what defaults and strides become, and the way
 * from problem to description and back. */
#include "tests/runtime/test.h"

#include "base/str.h"
#include "runtime/plan_internal.h"

static GenLibrary *library;

static seqtune_attention_desc attention(void) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 8;
    d.heads_kv = 2;
    d.head_dim = 64;
    d.max_len_q = 100;
    return d;
}

static seqtune_rope_desc rope(void) {
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.max_tokens = 100;
    d.heads = 4;
    d.head_dim = 64;
    d.table_rows = 200;
    return d;
}

static Status problem_of_attention(const seqtune_attention_desc *d, GenProblem *out, Error *err) {
    PlanDesc any = {.kind = PLAN_ATTENTION, .u.attention = *d};
    return plan_problem(gen_spec_find(library, "attn_prefill"), &any, out, err);
}

static Status problem_of_rope(const seqtune_rope_desc *d, GenProblem *out, Error *err) {
    PlanDesc any = {.kind = PLAN_ROPE, .u.rope = *d};
    return plan_problem(gen_spec_find(library, "rope"), &any, out, err);
}

/* One field set to a bad value; the message must name the field and the value or the limit. */
typedef enum Type { I64, INT, F32 } Type;
typedef struct BadField {
    size_t offset;
    Type type;
    double value;
    const char *part;
} BadField;

static void put(void *base, const BadField *bad) {
    int64_t i = (int64_t)bad->value;
    int n = (int)bad->value;
    float x = (float)bad->value;
    char *to = (char *)base + bad->offset;
    if (bad->type == I64) memcpy(to, &i, sizeof i);
    if (bad->type == INT) memcpy(to, &n, sizeof n);
    if (bad->type == F32) memcpy(to, &x, sizeof x);
}

/* Each row, put into `good`, is refused as invalid or unsupported, with its text. */
static void refuse_each(const char *spec, const PlanDesc *good, const BadField *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        PlanDesc any = *good;
        GenProblem p;
        Error err = {0};
        put(&any.u, &rows[i]);
        Status st = plan_problem(gen_spec_find(library, spec), &any, &p, &err);
        if (st != ST_INVALID && st != ST_UNSUPPORTED)
            fail_msg("row %zu (%s): %s", i, rows[i].part, st == ST_OK ? "accepted" : err.message);
        assert_has(err.message, rows[i].part);
    }
}

#define A(field, type, value, part)                                                                \
    { offsetof(seqtune_attention_desc, field), type, value, part }
#define M(field, type, value, part)                                                                \
    { offsetof(seqtune_merge_desc, field), type, value, part }
#define K(field, type, value, part)                                                                \
    { offsetof(seqtune_kv_desc, field), type, value, part }
#define R(field, type, value, part)                                                                \
    { offsetof(seqtune_rope_desc, field), type, value, part }

static void every_bad_field_of_attention_is_named(void **state) {
    (void)state;
    static const BadField rows[] = {
        A(size, I64, 0, "size of the attention description is 0"),
        A(size, I64, 8, "is 8, this library's is"),
        A(dtype, INT, 3, "dtype is 3"),
        A(dtype, INT, -1, "dtype is -1"),
        A(batch, I64, -1, "batch is -1"),
        A(batch, I64, 70000, "batch"),
        A(heads_q, I64, 0, "heads_q (number of query heads) is 0"),
        A(heads_q, I64, -8, "-8"),
        A(heads_kv, I64, 3, "heads_kv is 3: must divide heads_q (8)"),
        A(heads_kv, I64, -2, "heads_kv"),
        A(head_dim, I64, 0, "head_dim"),
        A(head_dim, I64, 72, "72"),
        A(max_len_q, I64, 0, "SEQTUNE_LENGTH_ZERO"),
        A(max_len_q, I64, -5, "max_len_q"),
        A(max_len_kv, I64, -7, "max_len_kv"),
        A(max_len_kv, I64, 1e12, "max_len_kv"),
        A(kv, INT, 3, "kv is 3: must be SEQTUNE_KV_DENSE"),
        A(kv, INT, 2, "page_size is 0: must be 1..65536"),
        A(kv_dtype, INT, 3, "kv_dtype is 3"),
        A(kv_dtype, INT, 1, "attn_prefill has no 8-bit K/V"),
        A(ragged_q, INT, 2, "ragged_q is 2"),
        A(device_lengths, INT, -1, "device_lengths is -1"),
        A(page_size, I64, 16, "page_size is 16, pages 0"),
        A(pages, I64, 4, "they belong to kv = SEQTUNE_KV_PAGED"),
        A(block_table_stride, I64, 4, "SEQTUNE_KV_PAGED"),
        A(total_q, I64, 7, "total_q is 7: it belongs to ragged_q"),
        A(page_table, INT, 2, "page_table is 2"),
        A(page_order, INT, 2, "page_order is 2"),
        A(scale_per_head, INT, 3, "scale_per_head is 3"),
        A(flags, INT, 4, "flags is 4"),
        A(splits, I64, -1, "splits is -1: must be 0..1024"),
        A(max_len_kv, I64, 2e6, "len_kv"),
        A(mask, INT, 3, "mask is 3"),
        A(window.kind, INT, 7, "window.kind is 7"),
        A(window.left, I64, 5, "window.left is 5, but window.kind is SEQTUNE_WINDOW_OFF"),
        A(window.right, I64, 5, "window.right is 5"),
        A(scale, F32, -1, "scale is -1"),
        A(want_lse, INT, 2, "want_lse is 2"),
        A(q_stride_token, I64, 12, "q_stride_token is 12: must be a positive multiple of 8"),
        A(k_stride_head, I64, -64, "k_stride_head is -64"),
        A(v_stride_batch, I64, 4, "v_stride_batch is 4"),
        A(o_stride_head, I64, 32, "o_stride_head is 32: rows that are written would overlap"),
        A(o_stride_token, I64, 256, "o_stride_token is 256"),
        A(q_stride_token, I64, 4e18, "q: its strides reach"),
    };
    const PlanDesc good = {.kind = PLAN_ATTENTION, .u.attention = attention()};
    refuse_each("attn_prefill", &good, rows, sizeof rows / sizeof rows[0]);
}

static void every_bad_field_of_rope_is_named(void **state) {
    (void)state;
    static const BadField rows[] = {
        R(size, I64, 0, "size of the rope description is 0"),
        R(dtype, INT, 9, "dtype is 9"),
        R(style, INT, 2, "style is 2"),
        R(max_tokens, I64, 0, "max_tokens"),
        R(max_tokens, I64, -2, "max_tokens"),
        R(heads, I64, 0, "heads"),
        R(head_dim, I64, 0, "head_dim"),
        R(rotary_dim, I64, 63, "rotary_dim is 63: must be even"),
        R(rotary_dim, I64, 66, "above head_dim 64"),
        R(rotary_offset, I64, 2, "rotary_offset 2 + rotary_dim 64"),
        R(rotary_offset, I64, -1, "rotary_offset"),
        R(table_rows, I64, 0, "table_rows"),
        R(table_stride, I64, -4, "table_stride"),
        R(x_stride_token, I64, -1, "x_stride_token"),
        R(out_stride_head, I64, 60, "out_stride_head is 60"),
    };
    const PlanDesc good = {.kind = PLAN_ROPE, .u.rope = rope()};
    refuse_each("rope", &good, rows, sizeof rows / sizeof rows[0]);
}

static void every_bad_field_of_a_merge_is_named(void **state) {
    (void)state;
    static const BadField rows[] = {
        M(size, I64, 0, "size of the merge description is 0"),
        M(dtype, INT, 3, "dtype is 3"),
        M(parts_f32, INT, 2, "parts_f32 is 2"),
        M(want_lse, INT, -1, "want_lse is -1"),
        M(max_parts, I64, 0, "max_parts (largest number of parts) is 0"),
        M(max_parts, I64, 1025, "must be 1..1024"),
        M(max_tokens, I64, -2, "max_tokens"),
        M(heads, I64, 0, "heads"),
        M(head_dim, I64, 12, "whole 16-byte vectors"),
        M(head_dim, I64, 2048, "2048"),
        M(o_stride_part, I64, 12, "o_stride_part is 12: must be a positive multiple of 8"),
        M(lse_stride_head, I64, 2, "lse_stride_head is 2: rows that are written would overlap"),
        M(lse_stride_token, I64, -1, "lse_stride_token is -1"),
        M(lse_stride_part, I64, 4e18, "strides reach beyond"),
    };
    PlanDesc good = {.kind = PLAN_MERGE, .u.merge = SEQTUNE_MERGE_DESC_INIT};
    good.u.merge.max_parts = 4;
    good.u.merge.max_tokens = 10;
    good.u.merge.heads = 3;
    good.u.merge.head_dim = 64;
    refuse_each("attn_combine", &good, rows, sizeof rows / sizeof rows[0]);
}

static void every_bad_field_of_the_cache_is_named(void **state) {
    (void)state;
    static const BadField rows[] = {
        K(size, I64, 0, "size of the kv description is 0"),
        K(op, INT, 3, "op is 3: must be SEQTUNE_KV_APPEND"),
        K(op, INT, SEQTUNE_KV_SCATTER, "rope is 1, qk_norm 1, heads_q 6: they belong to op ="),
        K(dtype, INT, -1, "dtype is -1"),
        K(kv_dtype, INT, 3, "kv_dtype is 3"),
        K(max_tokens, I64, 0, "max_tokens"),
        K(heads_q, I64, -1, "heads_q"),
        K(heads_kv, I64, 0, "heads_kv"),
        K(head_dim, I64, 0, "head_dim"),
        K(page_size, I64, 0, "page_size (tokens of a page) is 0"),
        K(page_size, I64, 1 << 30, "is above 2147483647, the most slots of a cache"),
        K(pages, I64, -3, "pages"),
        K(batch, I64, -1, "batch"),
        K(block_table_stride, I64, 0, "by position it is the number of entries per sequence"),
        K(rope, INT, 2, "rope is 2"),
        K(rope, INT, 0, "they belong to rope = 1"),
        K(rope_style, INT, 2, "rope_style is 2"),
        K(rotary_dim, I64, 6, "rotated halves are whole pairs"),
        K(rotary_dim, I64, 72, "rotary_dim is 72: must be at most head_dim (64)"),
        K(table_rows, I64, 0, "table_rows is 0: rope = 1 needs"),
        K(qk_norm, INT, 0, "belongs to qk_norm = 1"),
        K(norm_eps, F32, -1, "norm_eps is -1"),
        K(scale_per_head, INT, 1, "it belongs to an 8-bit kv_dtype"),
        K(page_order, INT, 2, "page_order is 2"),
        K(page_table, INT, 2, "page_table is 2"),
        K(page_table, INT, SEQTUNE_PAGES_CSR, "block_table_stride is 4: it belongs to"),
        K(q_stride_token, I64, 12, "q_stride_token is 12: must be a positive multiple of 8"),
        K(new_k_stride_head, I64, -8, "new_k_stride_head is -8"),
        K(new_v_stride_token, I64, 4, "new_v_stride_token is 4"),
        K(k_stride_token, I64, 8, "k_stride_token is 8: rows that are written would overlap"),
        K(v_stride_batch, I64, 4, "v_stride_batch is 4: must be a positive multiple of 8"),
        K(flags, INT, 4, "flags is 4: must be 0 or SEQTUNE_CHECKED"),
        K(flags, INT, SEQTUNE_BATCH_INVARIANT, "flags is 1: must be 0 or SEQTUNE_CHECKED"),
        K(flags, INT, SEQTUNE_BATCH_INVARIANT | SEQTUNE_CHECKED, "flags is 3"),
    };
    PlanDesc good = {.kind = PLAN_KV, .u.kv = SEQTUNE_KV_DESC_INIT};
    seqtune_kv_desc *d = &good.u.kv;
    d->max_tokens = 10;
    d->heads_q = 6;
    d->heads_kv = 2;
    d->head_dim = 64;
    d->page_size = 16;
    d->pages = 20;
    d->batch = 3;
    d->block_table_stride = 4;
    d->rope = d->qk_norm = 1;
    d->table_rows = 100;
    d->norm_eps = 1e-5f;
    refuse_each("kv_append", &good, rows, sizeof rows / sizeof rows[0]);
}

static void every_bad_field_of_a_recurrent_kernel_is_named(void **state) {
    (void)state;
    const PlanDesc good = {
        .kind = PLAN_RNN_KERNEL,
        .u.rnn_kernel = {
            .size = sizeof(RnnKernelDesc), .op = RNN_SEQ, .batch = 4, .hidden = 64, .steps = 9}};
    static const BadField rows[] = {
#define BAD(field, type, value, part) {offsetof(RnnKernelDesc, field), type, value, part}
        BAD(size, I64, 8, "rnn kernel description"),
        BAD(op, INT, 3, "op is 3"),
        BAD(op, INT, RNN_INPUT, "rnn_input: input is 0"),
        BAD(op, INT, RNN_CELL, "rnn_cell: steps is 9: must be 1"),
        BAD(gru, INT, 2, "gru is 2"),
        BAD(dtype, INT, 4, "dtype is 4"),
        BAD(batch, I64, 0, "batch (number of sequences) is 0"),
        BAD(input, I64, 8, "rnn_seq: input is 8: steps of a sequence take pre"),
        BAD(hidden, I64, 16385, "must be 1..16384"),
        BAD(projection, I64, -1, "projection"),
        BAD(steps, I64, -1, "steps (steps of a run) is -1"),
        BAD(directions, I64, 3, "must be 1..2"),
        BAD(parts, I64, 3, "must be 1..2"),
        BAD(packed, INT, 2, "packed is 2"),
        BAD(lengths, INT, 2, "lengths is 2"),
        BAD(peephole, INT, 2, "peephole is 2"),
        BAD(layer_norm, INT, 2, "layer_norm is 2"),
        BAD(reset_before, INT, 1, "reset_before is a GRU's"),
        BAD(store_gates, INT, 2, "store_gates is 2"),
        BAD(clip, INT, -1, "clip is -1"),
        BAD(y_stride_step, I64, -3, "y_stride_step is -3"),
#undef BAD
    };
    refuse_each("rnn_seq", &good, rows, sizeof rows / sizeof rows[0]);
    PlanDesc gru = good;
    GenProblem unused;
    Error err = {0};
    gru.u.rnn_kernel.gru = gru.u.rnn_kernel.clip = 1;
    assert_int_equal(plan_problem(gen_spec_find(library, "rnn_seq"), &gru, &unused, &err),
                     ST_INVALID);
    assert_has(err.message, "are an LSTM's, the cell is a GRU");
}

static void f32_is_for_recurrent_cells_alone(void **state) {
    (void)state;
    Error err = {0};
    GenProblem unused;
    seqtune_attention_desc a = attention();
    seqtune_rope_desc r = rope();
    a.dtype = r.dtype = SEQTUNE_F32;
    assert_int_equal(problem_of_attention(&a, &unused, &err), ST_INVALID);
    assert_has(err.message, "dtype is 3: must be SEQTUNE_F16 or SEQTUNE_BF16");
    assert_int_equal(problem_of_rope(&r, &unused, &err), ST_INVALID);
    assert_has(err.message, "dtype is 3: must be SEQTUNE_F16 or SEQTUNE_BF16");
}

static void a_window_open_on_both_sides_is_no_window(void **state) {
    (void)state;
    seqtune_attention_desc d = attention();
    GenProblem p;
    Error err = {0};
    d.window = (seqtune_window){SEQTUNE_WINDOW_LEFT, -1, 0};
    assert_int_equal(problem_of_attention(&d, &p, &err), ST_INVALID);
    assert_has(err.message, "SEQTUNE_WINDOW_OFF");
    d.window = (seqtune_window){SEQTUNE_WINDOW_BOTH, -1, -1};
    assert_int_equal(problem_of_attention(&d, &p, &err), ST_INVALID);
    d.window = (seqtune_window){SEQTUNE_WINDOW_BOTH, -2, 0};
    assert_int_equal(problem_of_attention(&d, &p, &err), ST_INVALID);
    assert_has(err.message, "-2");
}

static int64_t dim(const GenProblem *p, const char *name) {
    int64_t value = 0;
    assert_true(gen_problem_get(p, name, &value));
    return value;
}

static void masks_and_windows_become_the_specs_dimensions(void **state) {
    (void)state;
    static const struct {
        seqtune_mask mask;
        seqtune_window window;
        const char *word;
        int left, right;               /* of the problem */
        int kernel_left, kernel_right; /* of the parameters */
    } rows[] = {
        {SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_OFF, 0, 0}, "none", -1, -1, -1, -1},
        {SEQTUNE_MASK_CAUSAL, {SEQTUNE_WINDOW_OFF, 0, 0}, "causal", -1, -1, -1, 0},
        {SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_LEFT, 7, 0}, "window", 7, -1, 7, -1},
        {SEQTUNE_MASK_CAUSAL, {SEQTUNE_WINDOW_LEFT, 7, 0}, "window", 7, 0, 7, 0},
        {SEQTUNE_MASK_CAUSAL, {SEQTUNE_WINDOW_BOTH, 7, 3}, "window", 7, 0, 7, 0},
        {SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_BOTH, 7, 3}, "window", 7, 3, 7, 3},
        {SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_BOTH, -1, 3}, "window", -1, 3, -1, 3},
        {SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_BOTH, 0, 0}, "window", 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Error err = {0};
        GenProblem p;
        PlanParams params;
        PlanDesc any = {.kind = PLAN_ATTENTION, .u.attention = attention()}, normal;
        any.u.attention.mask = rows[i].mask;
        any.u.attention.window = rows[i].window;
        assert_ok(plan_problem(gen_spec_find(library, "attn_prefill"), &any, &p, &err), err);
        assert_string_equal(gen_problem_word(&p, "mask"), rows[i].word);
        assert_int_equal(dim(&p, "window_left"), rows[i].left);
        assert_int_equal(dim(&p, "window_right"), rows[i].right);
        assert_ok(attention_family()->normalise(&any, &normal, &err), err);
        attention_family()->set_params(&normal, &params);
        assert_int_equal(params.attn.window_left, rows[i].kernel_left);
        assert_int_equal(params.attn.window_right, rows[i].kernel_right);
    }
}

static void pages_and_ragged_sequences_become_dimensions_and_strides(void **state) {
    (void)state;
    Error err = {0};
    GenProblem p;
    PlanParams params;
    PlanDesc any = {.kind = PLAN_ATTENTION, .u.attention = attention()}, out;
    seqtune_attention_desc *d = &any.u.attention;
    d->kv = SEQTUNE_KV_PAGED;
    d->page_size = 16;
    d->pages = 40;
    d->page_order = SEQTUNE_PAGES_HND;
    assert_ok(plan_problem(gen_spec_find(library, "attn_prefill"), &any, &p, &err), err);
    assert_string_equal(gen_problem_word(&p, "kv"), "paged");
    assert_string_equal(gen_problem_word(&p, "lengths"), "device");
    assert_int_equal(dim(&p, "page_size"), 16);
    assert_ok(attention_family()->normalise(&any, &out, &err), err);
    assert_int_equal(out.u.attention.block_table_stride, 7); /* 100 tokens in pages of 16 */
    assert_int_equal(out.u.attention.k_stride_token, 64);
    assert_int_equal(out.u.attention.k_stride_head, 16 * 64);
    assert_int_equal(out.u.attention.k_stride_batch, 2 * 16 * 64);
    d->block_table_stride = 6;
    assert_int_equal(attention_family()->normalise(&any, &out, &err), ST_INVALID);
    assert_has(err.message, "max_len_kv 100 in pages of 16 needs 7 entries");
    d->block_table_stride = 0;
    d->v_stride_batch = INT64_C(1) << 31;
    assert_int_equal(attention_family()->normalise(&any, &out, &err), ST_INVALID);
    assert_has(err.message, "v_stride_batch is 2147483648: paged K/V needs strides below 4 GiB");

    *d = attention();
    d->ragged_q = 1;
    d->kv = SEQTUNE_KV_RAGGED;
    d->batch = 5;
    d->mask = SEQTUNE_MASK_CAUSAL_TOP_LEFT;
    assert_ok(plan_problem(gen_spec_find(library, "attn_prefill"), &any, &p, &err), err);
    assert_string_equal(gen_problem_word(&p, "kv"), "dense");
    assert_string_equal(gen_problem_word(&p, "lengths"), "device");
    assert_int_equal(dim(&p, "top_left"), 1);
    assert_ok(attention_family()->normalise(&any, &out, &err), err);
    attention_family()->set_params(&out, &params);
    assert_int_equal(params.attn.q_batch, 0);
    assert_int_equal(params.attn.k_batch, 0);
    assert_int_equal(params.attn.lse_batch, 0);
    assert_int_equal(params.attn.lse_head, 500);
    assert_int_equal(params.attn.top_left, 1);
}

static void defaults_and_packed_strides_are_filled_in(void **state) {
    (void)state;
    Error err = {0};
    PlanDesc any = {.kind = PLAN_ATTENTION, .u.attention = attention()}, out;
    any.u.attention.batch = 3;
    any.u.attention.heads_kv = 0;
    assert_ok(attention_family()->normalise(&any, &out, &err), err);
    const seqtune_attention_desc *d = &out.u.attention;
    assert_int_equal(d->heads_kv, 8);
    assert_int_equal(d->max_len_kv, 100);
    assert_int_equal(d->dtype, SEQTUNE_F16);
    assert_true(d->scale > 0.12499f && d->scale < 0.12501f);
    assert_int_equal(d->q_stride_head, 64);
    assert_int_equal(d->q_stride_token, 512);
    assert_int_equal(d->q_stride_batch, 51200);
    assert_int_equal(d->o_stride_batch, 51200);
    /* Head-major K: the given strides stay, the batch starts behind them. */
    any.u.attention.k_stride_token = 64;
    any.u.attention.k_stride_head = 6400;
    assert_ok(attention_family()->normalise(&any, &out, &err), err);
    assert_int_equal(out.u.attention.k_stride_token, 64);
    assert_int_equal(out.u.attention.k_stride_batch, 51200);
}

static void lengths_may_really_be_zero(void **state) {
    (void)state;
    Error err = {0};
    GenProblem p;
    seqtune_attention_desc d = attention();
    d.max_len_kv = SEQTUNE_LENGTH_ZERO;
    assert_ok(problem_of_attention(&d, &p, &err), err);
    assert_int_equal(dim(&p, "len_kv"), 0);
    assert_int_equal(dim(&p, "len_q"), 100);
    d = attention();
    d.max_len_q = SEQTUNE_LENGTH_ZERO;
    assert_ok(problem_of_attention(&d, &p, &err), err);
    assert_int_equal(dim(&p, "len_q"), 0);
    assert_int_equal(dim(&p, "len_kv"), 0); /* its default is max_len_q */
}

static void rope_knows_the_alignment_of_its_strides(void **state) {
    (void)state;
    static const struct {
        int64_t head_dim, rotary_dim, offset, x_token;
        int align;
    } rows[] = {
        {64, 64, 0, 0, 8},   {64, 32, 4, 0, 4}, {64, 64, 0, 258, 2},
        {64, 64, 0, 257, 1}, {80, 40, 0, 0, 4}, {2, 2, 0, 0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Error err = {0};
        GenProblem p;
        seqtune_rope_desc d = rope();
        d.head_dim = rows[i].head_dim;
        d.rotary_dim = rows[i].rotary_dim;
        d.rotary_offset = rows[i].offset;
        d.x_stride_token = rows[i].x_token;
        assert_ok(problem_of_rope(&d, &p, &err), err);
        assert_int_equal(dim(&p, "align"), rows[i].align);
    }
}

static void a_problem_described_and_planned_is_the_same_problem(void **state) {
    (void)state;
    static const struct {
        const char *spec, *text;
    } rows[] = {
        {"attn_prefill", "dtype=bf16 head_dim=96 batch=3 heads_q=28 heads_kv=4 len_q=77 len_kv=99"},
        {"attn_prefill", "mask=causal len_q=1 len_kv=8192"},
        {"attn_prefill", "mask=window window_left=5 window_right=-1 len_q=8"},
        {"attn_prefill", "mask=window window_left=-1 window_right=0"},
        {"attn_prefill", "mask=window window_left=4096 window_right=0 len_q=17 len_kv=17"},
        {"attn_prefill", "len_q=0"},
        {"attn_prefill", "mask=causal kv=paged lengths=device page_size=16 batch=3"},
        {"attn_prefill", "mask=causal lengths=device top_left=1 batch=3 head_dim=256"},
        {"attn_prefill", "len_kv=0"},
        {"attn_naive", "mask=causal head_dim=64"},
        {"rope", "style=interleaved rotary_dim=64 rotary_offset=8 tokens=3"},
        {"rope", "align=1 head_dim=64 rotary_dim=64"},
        {"rope", "align=2 tokens=0"},
        {"rope", "align=8 head_dim=4 rotary_dim=4"},
        {"attn_combine", "dtype=bf16 part_type=f32 parts=7 tokens=3 heads=5 head_dim=64"},
        {"attn_combine", "tokens=0"},
        {"kv_append", "kv_dtype=e4m3 tokens=9 heads_kv=3 page_size=5"},
        {"kv_append", "rope=interleaved rotary_dim=64 qk_norm=1 heads_q=12 batch=4"},
        {"kv_append", "rope=neox rotary_dim=8 head_dim=8 tokens=0"},
        {"kv_gather", "dtype=bf16 kv_dtype=int8 head_dim=96 batch=2"},
        {"rnn_input", "cell=gru dtype=f32 hidden=100 input=64 parts=2 lengths=packed directions=2"},
        {"rnn_input", "dtype=bf16 hidden=7 input=9 align=1 batch=3 steps=0"},
        {"rnn_input", "input=24 align=8 lengths=padded"},
        {"rnn_input", "input=33 align=8 lengths=packed"},
        {"rnn_input", "input=64 align=2 lengths=packed"},
        {"rnn_seq", "hidden=192 peephole=1 clip=1 store_gates=1 batch=31 steps=512"},
        {"rnn_seq", "cell=gru reset=before dtype=f32 hidden=341 lengths=padded"},
        {"rnn_seq", "projection=64 layer_norm=1 hidden=128 directions=2 lengths=packed"},
        {"rnn_cell", "hidden=1024 input=80 align=4 batch=2 directions=2"},
        {"rnn_cell", "cell=gru hidden=33 input=0 fused=0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Error err = {0};
        GenProblem p, q;
        PlanDesc desc;
        const GenSpec *spec = gen_spec_find(library, rows[i].spec);
        gen_problem_init(spec, &p);
        assert_ok(gen_problem_parse(&p, rows[i].text, &err), err);
        assert_ok(gen_problem_check(&p, &err), err);
        assert_ok(plan_desc_of_problem(&p, &desc, &err), err);
        assert_ok(plan_problem(spec, &desc, &q, &err), err);
        Str a = {0}, b = {0};
        gen_problem_text(&p, &a);
        gen_problem_text(&q, &b);
        assert_string_equal(str_text(&a), str_text(&b));
        str_free(&a);
        str_free(&b);
    }
}

static void an_alignment_that_the_offset_forbids_has_no_description(void **state) {
    (void)state;
    Error err = {0};
    GenProblem p;
    PlanDesc desc;
    gen_problem_init(gen_spec_find(library, "rope"), &p);
    assert_ok(gen_problem_parse(&p, "align=8 rotary_dim=64 rotary_offset=4", &err), err);
    assert_int_equal(plan_desc_of_problem(&p, &desc, &err), ST_INVALID);
    assert_has(err.message, "rotary_offset 4");
}

static int setup(void **state) {
    (void)state;
    Error err = {0};
    if (gen_open(NULL, &library, &err) == ST_OK) return 0;
    print_error("%s\n", err.message);
    return -1;
}

static int teardown(void **state) {
    (void)state;
    gen_close(library);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bad_field_of_attention_is_named),
        cmocka_unit_test(every_bad_field_of_rope_is_named),
        cmocka_unit_test(every_bad_field_of_a_merge_is_named),
        cmocka_unit_test(every_bad_field_of_the_cache_is_named),
        cmocka_unit_test(every_bad_field_of_a_recurrent_kernel_is_named),
        cmocka_unit_test(f32_is_for_recurrent_cells_alone),
        cmocka_unit_test(a_window_open_on_both_sides_is_no_window),
        cmocka_unit_test(masks_and_windows_become_the_specs_dimensions),
        cmocka_unit_test(pages_and_ragged_sequences_become_dimensions_and_strides),
        cmocka_unit_test(defaults_and_packed_strides_are_filled_in),
        cmocka_unit_test(lengths_may_really_be_zero),
        cmocka_unit_test(rope_knows_the_alignment_of_its_strides),
        cmocka_unit_test(a_problem_described_and_planned_is_the_same_problem),
        cmocka_unit_test(an_alignment_that_the_offset_forbids_has_no_description),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
