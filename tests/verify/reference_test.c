/* The references against PyTorch's answers (vectors/), conversions over all codes, masks by count.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tuner/verify/dtype.h"
#include "tuner/verify/reference.h"

typedef struct AttentionVector {
    const char *name;
    Dtype dtype;
    int64_t batch, heads_q, heads_kv, head_dim, len_q, len_kv, left, right;
    const uint16_t *q, *k, *v;
    const double *o, *naive, *lse;
} AttentionVector;

typedef struct RopeVector {
    const char *name;
    Dtype dtype;
    int64_t tokens, heads, head_dim, rotary_dim, rotary_offset, interleaved, first;
    const uint16_t *x;
    const double *cos, *sin, *out;
} RopeVector;

#include "tests/verify/vectors/vectors.inc"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static double *decoded(const uint16_t *codes, int64_t n, Dtype type) {
    double *values = mem_alloc((size_t)n * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < n; i++) values[i] = dtype_decode(type, codes[i]);
    return values;
}

static float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* ---- conversions ---- */

static void every_code_survives_decoding_and_encoding(void **state) {
    (void)state;
    for (int type = 0; type < DTYPE_CODED; type++) {
        for (uint32_t code = 0; code < 0x10000; code++) {
            const double value = dtype_decode((Dtype)type, (uint16_t)code);
            const uint16_t back = dtype_encode((Dtype)type, value);
            if (isnan(value)) {
                assert_int_equal(back, 0x7fff);
            } else if (back != code) {
                fail_msg("%s 0x%04x came back as 0x%04x", dtype_name((Dtype)type), code, back);
            }
        }
    }
}

static void every_code_decodes_as_the_bits_of_a_float_say(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x10000; code++) {
        /* bf16 is the upper half of a float; f16 has 13 bits less and an exponent 112 lower. */
        const double bf16 = (double)float_of_bits(code << 16);
        const double f16 = ldexp((double)float_of_bits((code & 0x7fff) << 13), 112);
        if (!isnan(bf16)) assert_true(dtype_decode(DTYPE_BF16, (uint16_t)code) == bf16);
        if ((code & 0x7c00) == 0x7c00) continue; /* infinities and NaNs: the test above */
        const double sign = code & 0x8000 ? -1 : 1;
        assert_true(dtype_decode(DTYPE_F16, (uint16_t)code) == sign * f16);
    }
}

static void values_between_two_codes_round_to_the_nearer_and_ties_to_the_even_one(void **state) {
    (void)state;
    for (int t = 0; t < DTYPE_CODED; t++) {
        const Dtype type = (Dtype)t;
        for (uint16_t code = 0; isfinite(dtype_decode(type, (uint16_t)(code + 1))); code++) {
            const uint16_t next = (uint16_t)(code + 1);
            const double low = dtype_decode(type, code), high = dtype_decode(type, next);
            const double middle = (low + high) / 2; /* exact: 53 bits are plenty */
            const uint16_t even = code % 2 ? next : code;
            assert_int_equal(dtype_encode(type, middle), even);
            assert_int_equal(dtype_encode(type, -middle), even | 0x8000);
            assert_int_equal(dtype_encode(type, nextafter(middle, low)), code);
            assert_int_equal(dtype_encode(type, nextafter(middle, high)), next);
            assert_true(dtype_ulp(type, low) == high - low);
            assert_true(dtype_round(type, -middle) == -dtype_decode(type, even));
            assert_true(dtype_round(type, nextafter(middle, low)) == low);
            assert_true(dtype_round(type, nextafter(middle, high)) == high);
        }
    }
}

static void values_beyond_the_range_become_infinite(void **state) {
    (void)state;
    assert_int_equal(dtype_encode(DTYPE_F16, 65519.999), 0x7bff);
    assert_int_equal(dtype_encode(DTYPE_F16, 65520), 0x7c00); /* the tie goes to the even side */
    assert_int_equal(dtype_encode(DTYPE_F16, -1e300), 0xfc00);
    assert_int_equal(dtype_encode(DTYPE_BF16, 0x1.ffp127), 0x7f80);
    assert_int_equal(dtype_encode(DTYPE_BF16, (double)INFINITY), 0x7f80);
    assert_int_equal(dtype_encode(DTYPE_F16, 0x1p-26), 0);
    assert_int_equal(dtype_encode(DTYPE_F16, -0.0), 0x8000);
}

static void conversions_agree_with_pytorch(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(conversions); i++) {
        const double x = (double)float_of_bits(conversions[i].bits);
        assert_int_equal(dtype_encode(DTYPE_F16, x), conversions[i].f16);
        assert_int_equal(dtype_encode(DTYPE_BF16, x), conversions[i].bf16);
    }
}

/* ---- attention ---- */

static void assert_near(const char *name, const double *got, const double *want, int64_t n,
                        double tolerance) {
    for (int64_t i = 0; i < n; i++) {
        if (got[i] == want[i]) continue; /* infinities */
        const double error = fabs(got[i] - want[i]);
        if (!(error <= tolerance)) {
            fail_msg("%s[%lld]: %.17g, PyTorch says %.17g", name, (long long)i, got[i], want[i]);
        }
    }
}

static void attention_agrees_with_pytorch(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(attention_vectors); c++) {
        const AttentionVector *t = &attention_vectors[c];
        const int64_t rows = t->batch * t->len_q * t->heads_q;
        const int64_t kv = t->batch * t->len_kv * t->heads_kv * t->head_dim;
        double *q = decoded(t->q, rows * t->head_dim, t->dtype);
        double *k = decoded(t->k, kv, t->dtype), *v = decoded(t->v, kv, t->dtype);
        double *o = mem_alloc((size_t)(rows * t->head_dim) * sizeof *o);
        double *lse = mem_alloc((size_t)rows * sizeof *lse);
        assert_true(o && lse);
        const RefAttention a = {.batch = t->batch,
                                .heads_q = t->heads_q,
                                .heads_kv = t->heads_kv,
                                .head_dim = t->head_dim,
                                .len_q = t->len_q,
                                .len_kv = t->len_kv,
                                .window_left = t->left,
                                .window_right = t->right,
                                .scale = 1 / sqrt((double)t->head_dim),
                                .q = q,
                                .k = k,
                                .v = v};
        assert_int_equal(ref_attention(&a, o, lse, NULL), ST_OK);
        assert_near(t->name, o, t->o, rows * t->head_dim, 1e-14);
        assert_near(t->name, lse, t->lse, rows, 1e-14);
        assert_int_equal(ref_attention_naive(&a, t->dtype, o, NULL), ST_OK);
        assert_near(t->name, o, t->naive, rows * t->head_dim, 1e-14);
        mem_free(q), mem_free(k), mem_free(v), mem_free(o), mem_free(lse);
    }
}

/* The picture of a mask: one line per query, '#' where the key is seen. */
static void draw(const RefAttention *a, char *out) {
    for (int64_t i = 0; i < a->len_q; i++) {
        for (int64_t j = 0; j < a->len_kv; j++) *out++ = ref_attention_sees(a, i, j) ? '#' : '.';
        *out++ = '\n';
    }
    *out = 0;
}

static void masks_look_as_drawn(void **state) {
    (void)state;
    static const struct {
        int64_t len_q, len_kv, left, right;
        const char *picture;
    } masks[] = {
        {2, 3, -1, -1, "###\n###\n"},
        {2, 4, -1, 0, "###.\n####\n"},         /* causal: the last query sees every key */
        {4, 2, -1, 0, "..\n..\n#.\n##\n"},     /* more queries than keys: empty rows first */
        {3, 3, 0, 0, "#..\n.#.\n..#\n"},       /* only the own position */
        {3, 5, 1, 0, ".##..\n..##.\n...##\n"}, /* left inclusive */
        {3, 4, 1, 1, "###.\n.###\n..##\n"},    /* both inclusive */
        {3, 3, 1, -1, "###\n###\n.##\n"},      /* right open */
        {2, 6, 2, 0, "..###.\n...###\n"},
    };
    for (size_t m = 0; m < COUNT(masks); m++) {
        char picture[64];
        const RefAttention a = {.len_q = masks[m].len_q,
                                .len_kv = masks[m].len_kv,
                                .window_left = masks[m].left,
                                .window_right = masks[m].right};
        draw(&a, picture);
        assert_string_equal(picture, masks[m].picture);
    }
}

static void rows_that_see_no_key_give_zero_and_minus_infinity(void **state) {
    (void)state;
    const double q[4] = {1, 2, 3, 4}, k[1] = {1}, v[1] = {7};
    double o[4] = {9, 9, 9, 9}, lse[4];
    RefAttention a = {.batch = 1,
                      .heads_q = 1,
                      .heads_kv = 1,
                      .head_dim = 1,
                      .len_q = 4,
                      .len_kv = 1,
                      .window_left = -1,
                      .window_right = 0,
                      .scale = 1,
                      .q = q,
                      .k = k,
                      .v = v};
    assert_int_equal(ref_attention(&a, o, lse, NULL), ST_OK);
    for (int i = 0; i < 3; i++) assert_true(o[i] == 0 && lse[i] == -(double)INFINITY);
    assert_true(o[3] == 7 && lse[3] == 4);
    a.len_kv = 0;
    assert_int_equal(ref_attention(&a, o, lse, NULL), ST_OK);
    for (int i = 0; i < 4; i++) assert_true(o[i] == 0 && lse[i] == -(double)INFINITY);
}

static void attention_reports_a_failed_allocation(void **state) {
    (void)state;
    Error err;
    const double q[1] = {1}, k[1] = {1}, v[1] = {1};
    double o[1];
    const RefAttention a = {.batch = 1,
                            .heads_q = 1,
                            .heads_kv = 1,
                            .head_dim = 1,
                            .len_q = 1,
                            .len_kv = 1,
                            .scale = 1,
                            .q = q,
                            .k = k,
                            .v = v};
    mem_fail_after(1);
    const Status status = ref_attention(&a, o, NULL, &err);
    mem_fail_after(0);
    assert_int_equal(status, ST_NO_MEMORY);
}

/* ---- RoPE ---- */

/* One query, three keys: attention over key 0, over none and over keys 1 and 2, merged. The part
 * without keys holds NaN, which must not count. */
static void merged_parts_are_attention_over_all_keys(void **state) {
    (void)state;
    enum { DIM = 4, KEYS = 3 };
    static const double q[DIM] = {0.5, -1, 2, 0.25};
    static const double k[KEYS * DIM] = {1, 2, 0.5, -1, -2, 0.5, 1, 1, 0, 1, -1, 3};
    static const double v[KEYS * DIM] = {1, 0, -3, 2, 5, 4, 0.5, -1, 2, 2, 1, -6};
    const RefAttention all = {.batch = 1,
                              .heads_q = 1,
                              .heads_kv = 1,
                              .head_dim = DIM,
                              .len_q = 1,
                              .len_kv = KEYS,
                              .window_left = -1,
                              .window_right = -1,
                              .scale = 0.5,
                              .q = q,
                              .k = k,
                              .v = v};
    RefAttention first = all, rest = all;
    first.len_kv = 1;
    rest.len_kv = KEYS - 1;
    rest.k = k + DIM;
    rest.v = v + DIM;
    double o[DIM], lse, parts[3 * DIM], lses[3], merged[DIM], merged_lse, magnitude[DIM];
    assert_int_equal(ref_attention(&all, o, &lse, NULL), ST_OK);
    assert_int_equal(ref_attention(&first, parts, lses, NULL), ST_OK);
    assert_int_equal(ref_attention(&rest, parts + 2 * DIM, lses + 2, NULL), ST_OK);
    lses[1] = -(double)INFINITY;
    for (int d = 0; d < DIM; d++) parts[DIM + d] = (double)NAN;
    const RefMerge m = {.parts = 3, .rows = 1, .head_dim = DIM, .o = parts, .lse = lses};
    ref_merge(&m, merged, &merged_lse, magnitude);
    for (int d = 0; d < DIM; d++) assert_true(fabs(merged[d] - o[d]) < 1e-14);
    assert_true(fabs(merged_lse - lse) < 1e-14);
    const RefMerge none = {
        .parts = 1, .rows = 1, .head_dim = DIM, .o = parts + DIM, .lse = lses + 1};
    ref_merge(&none, merged, &merged_lse, magnitude);
    for (int d = 0; d < DIM; d++) assert_true(merged[d] == 0);
    assert_true(isinf(merged_lse) && merged_lse < 0);
}

static void rope_agrees_with_pytorch(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(rope_vectors); c++) {
        const RopeVector *t = &rope_vectors[c];
        const int64_t n = t->tokens * t->heads * t->head_dim;
        double *x = decoded(t->x, n, t->dtype), *out = mem_alloc((size_t)n * sizeof *out);
        assert_non_null(out);
        /* The vector's tables begin at its first position: row 0 here. */
        const RefRope r = {.tokens = t->tokens,
                           .heads = t->heads,
                           .head_dim = t->head_dim,
                           .rotary_dim = t->rotary_dim,
                           .rotary_offset = t->rotary_offset,
                           .interleaved = t->interleaved != 0,
                           .x = x,
                           .cos = t->cos,
                           .sin = t->sin,
                           .table_rows = t->tokens};
        ref_rope(&r, out);
        assert_near(t->name, out, t->out, n, 1e-14);
        mem_free(x), mem_free(out);
    }
}

static void rope_leaves_tokens_without_a_table_row_as_they_are(void **state) {
    (void)state;
    const double x[6] = {1, 2, 3, 4, 5, 6}, cos[2] = {0, 1}, sin[2] = {1, 0};
    const int64_t positions[3] = {-1, 0, 2};
    double out[6];
    const RefRope r = {.tokens = 3,
                       .heads = 1,
                       .head_dim = 2,
                       .rotary_dim = 2,
                       .x = x,
                       .cos = cos,
                       .sin = sin,
                       .table_rows = 2,
                       .positions = positions};
    ref_rope(&r, out);
    const double want[6] = {1, 2, -4, 3, 5, 6};
    assert_memory_equal(out, want, sizeof want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_survives_decoding_and_encoding),
        cmocka_unit_test(every_code_decodes_as_the_bits_of_a_float_say),
        cmocka_unit_test(values_between_two_codes_round_to_the_nearer_and_ties_to_the_even_one),
        cmocka_unit_test(values_beyond_the_range_become_infinite),
        cmocka_unit_test(conversions_agree_with_pytorch),
        cmocka_unit_test(attention_agrees_with_pytorch),
        cmocka_unit_test(masks_look_as_drawn),
        cmocka_unit_test(rows_that_see_no_key_give_zero_and_minus_infinity),
        cmocka_unit_test(attention_reports_a_failed_allocation),
        cmocka_unit_test(merged_parts_are_attention_over_all_keys),
        cmocka_unit_test(rope_agrees_with_pytorch),
        cmocka_unit_test(rope_leaves_tokens_without_a_table_row_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
