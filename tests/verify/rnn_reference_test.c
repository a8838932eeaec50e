/* The recurrent reference against PyTorch's and ONNX's answers (vectors/), and against itself where
 * two ways must agree bit for bit. */
#include <math.h>

#include "tests/base/test.h"
#include "base/mem.h"
#include "tuner/verify/rnn_reference.h"

typedef struct RnnVector {
    const char *name;
    int gru;
    int64_t batch, steps, input, hidden, projection, layers, directions;
    int peephole, norm, reset_before, z_takes_new;
    double forget_bias, cell_clip, norm_eps;
    const int64_t *lens;
    const double *weights; /* of every layer and direction: as RefRnnWeights lists them */
    const double *x, *h_in, *c_in, *y, *h, *c;
} RnnVector;

#include "tests/verify/vectors/rnn_vectors.inc"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MAX_PARTS = 4, MAX_VALUES = 512 };

static RefRnn problem_of(const RnnVector *v) {
    return (RefRnn){.gru = v->gru != 0,
                    .batch = v->batch,
                    .steps = v->steps,
                    .input = v->input,
                    .hidden = v->hidden,
                    .projection = v->projection,
                    .reset_before = v->reset_before != 0,
                    .z_takes_new = v->z_takes_new != 0,
                    .forget_bias = v->forget_bias,
                    .cell_clip = v->cell_clip,
                    .norm_eps = v->norm_eps,
                    .lens = v->lens,
                    .x = v->x};
}

/* The next `n` numbers of the vector's weights; NULL when the cell has none. */
static const double *take(const double **at, bool has, int64_t n) {
    const double *here = *at;
    if (has) *at += n;
    return has ? here : NULL;
}

static void weights_of(const RnnVector *v, RefRnnWeights *out) {
    const RefRnn a = problem_of(v);
    const int64_t rows = ref_rnn_gates(&a) * v->hidden, state = ref_rnn_state(&a);
    const double *at = v->weights;
    for (int64_t i = 0; i < v->layers * v->directions; i++) {
        const int64_t input = i < v->directions ? v->input : v->directions * state;
        out[i].w = take(&at, true, rows * input);
        out[i].r = take(&at, true, rows * state);
        out[i].bias = take(&at, true, rows);
        out[i].hidden_bias = take(&at, true, rows);
        out[i].peephole = take(&at, v->peephole, 3 * v->hidden);
        out[i].projection = take(&at, v->projection > 0, state * v->hidden);
        out[i].norm_gain = take(&at, v->norm, 2 * rows);
        out[i].norm_shift = take(&at, v->norm, 2 * rows);
        out[i].cell_gain = take(&at, v->norm, v->hidden);
        out[i].cell_shift = take(&at, v->norm, v->hidden);
    }
}

static void assert_near(const char *name, const char *what, const double *got, const double *want,
                        int64_t n) {
    for (int64_t i = 0; want && i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-14))
            fail_msg("%s of %s, element %lld: %.17g, the vector says %.17g", what, name,
                     (long long)i, got[i], want[i]);
}

static void assert_agrees(const RnnVector *v, const RefRnnStack *s) {
    double y[MAX_VALUES], h[MAX_VALUES], c[MAX_VALUES];
    const int64_t state = ref_rnn_state(&s->first), parts = v->layers * v->directions;
    assert_true(v->batch * v->steps * v->directions * state <= MAX_VALUES);
    assert_int_equal(ref_rnn_stack(s, y, h, c, NULL), ST_OK);
    assert_near(v->name, "y", y, v->y, v->batch * v->steps * v->directions * state);
    assert_near(v->name, "h", h, v->h, parts * v->batch * state);
    assert_near(v->name, "c", c, v->c, parts * v->batch * v->hidden);
}

static void recurrent_cells_agree_with_pytorch_and_onnx(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(rnn_vectors); i++) {
        const RnnVector *v = &rnn_vectors[i];
        RefRnnWeights weights[MAX_PARTS];
        weights_of(v, weights);
        const RefRnnStack s = {.first = problem_of(v),
                               .layers = v->layers,
                               .directions = v->directions,
                               .weights = weights,
                               .h_in = v->h_in,
                               .c_in = v->c_in};
        assert_agrees(v, &s);
    }
}

/* ---- against itself ---- */

/* One layer and direction of vector v; y, h, c, gates and c_steps end up in `values`. */
enum { AT_Y, AT_H, AT_C, AT_GATES, AT_CELLS, PARTS };

typedef struct Answer {
    double value[PARTS][MAX_VALUES];
} Answer;

static void answer(const RefRnn *a, Answer *out) {
    *out = (Answer){0};
    const RefRnnOut to = {out->value[AT_Y], out->value[AT_H], out->value[AT_C],
                          out->value[AT_GATES], out->value[AT_CELLS]};
    assert_int_equal(ref_rnn(a, &to, NULL), ST_OK);
}

static RefRnn single(const RnnVector *v, RefRnnWeights *weights) {
    weights_of(v, weights);
    RefRnn a = problem_of(v);
    a.weights = weights;
    a.h_in = v->h_in;
    a.c_in = v->c_in;
    return a;
}

/* What rnn_input computes, by step, for a forward direction. */
static void project(const RefRnn *a, double *pre) {
    const int64_t rows = ref_rnn_gates(a) * a->hidden;
    for (int64_t t = 0; t < a->steps; t++)
        for (int64_t b = 0; b < a->batch; b++)
            ref_rnn_project(1, a->input, rows, a->weights->w,
                            a->weights->norm_gain ? NULL : a->weights->bias,
                            a->x + (b * a->steps + t) * a->input, pre + (t * a->batch + b) * rows);
}

static void a_projected_input_gives_the_same_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(rnn_vectors); i++) {
        RefRnnWeights weights[MAX_PARTS];
        double pre[MAX_VALUES];
        Answer whole, given;
        RefRnn a = single(&rnn_vectors[i], weights);
        if (a.lens) continue; /* steps are tokens only without lengths */
        answer(&a, &whole);
        project(&a, pre);
        a.pre = pre;
        a.x = NULL;
        answer(&a, &given);
        assert_memory_equal(&whole, &given, sizeof whole);
    }
}

static void single_steps_that_carry_the_state_give_the_bits_of_the_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(rnn_vectors); i++) {
        RefRnnWeights weights[MAX_PARTS];
        double pre[MAX_VALUES];
        Answer whole, part;
        RefRnn a = single(&rnn_vectors[i], weights);
        if (a.lens) continue;
        project(&a, pre);
        a.pre = pre;
        answer(&a, &whole);
        double h[MAX_VALUES], c[MAX_VALUES];
        const int64_t steps = a.steps, rows = ref_rnn_gates(&a) * a.hidden;
        const size_t n = (size_t)(a.batch * ref_rnn_state(&a)) * sizeof *h;
        a.steps = 1;
        for (int64_t s = 0; s < steps; s++) {
            a.pre = pre + s * a.batch * rows;
            answer(&a, &part);
            memcpy(h, part.value[AT_H], n);
            memcpy(c, part.value[AT_C], (size_t)(a.batch * a.hidden) * sizeof *c);
            a.h_in = h;
            a.c_in = c;
            for (int64_t b = 0; b < a.batch; b++)
                assert_memory_equal(part.value[AT_Y] + b * ref_rnn_state(&a),
                                    whole.value[AT_Y] + (b * steps + s) * ref_rnn_state(&a),
                                    (size_t)ref_rnn_state(&a) * sizeof *h);
        }
        assert_memory_equal(h, whole.value[AT_H], n);
    }
}

static void lengths_leave_the_state_alone_and_the_rest_of_y_zero(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) { /* LSTM and GRU, batch 2 */
        const int64_t lens[2] = {0, 3};
        RefRnnWeights weights[MAX_PARTS];
        Answer cut;
        RefRnn a = single(&rnn_vectors[i], weights);
        const int64_t state_size = ref_rnn_state(&a);
        const size_t row = (size_t)state_size * sizeof(double);
        for (int reverse = 0; reverse < 2; reverse++) {
            a.lens = lens;
            a.reverse = reverse != 0;
            answer(&a, &cut);
            assert_memory_equal(cut.value[AT_H], a.h_in, row);
            for (int64_t t = 0; t < a.steps; t++)
                for (int64_t u = 0; u < state_size; u++) {
                    assert_true(cut.value[AT_Y][t * state_size + u] == 0);
                    const double y = cut.value[AT_Y][(a.steps + t) * state_size + u];
                    assert_true((y == 0) == (t >= 3));
                }
            const int64_t last = a.steps + (reverse ? 0 : 2);
            assert_memory_equal(cut.value[AT_Y] + last * state_size, cut.value[AT_H] + state_size,
                                row);
        }
    }
}

/* The gates that are handed out are those of the new c: c = f c_old + i g (LSTM). */
static void stored_gates_explain_every_step(void **state) {
    (void)state;
    RefRnnWeights weights[MAX_PARTS];
    Answer out;
    RefRnn a = single(&rnn_vectors[0], weights);
    answer(&a, &out);
    const int64_t n = a.hidden, cells = a.batch * n;
    for (int64_t s = 0; s < a.steps; s++)
        for (int64_t j = 0; j < cells; j++) {
            const double *gate = out.value[AT_GATES] + (s * a.batch + j / n) * 4 * n + j % n;
            const double old = s == 0 ? a.c_in[j] : out.value[AT_CELLS][(s - 1) * cells + j];
            const double c = gate[n] * old + gate[0] * gate[2 * n];
            const double h = gate[3 * n] * tanh(c);
            assert_true(c == out.value[AT_CELLS][s * cells + j]);
            assert_true(h == out.value[AT_Y][((j / n) * a.steps + s) * n + j % n]);
        }
}

static void the_naive_run_keeps_state_and_outputs_in_the_dtype(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) { /* LSTM, GRU, projected */
        RefRnnWeights weights[MAX_PARTS];
        double y[MAX_VALUES], c[MAX_VALUES], exact[MAX_VALUES], worst = 0;
        RefRnn a = single(&rnn_vectors[i], weights);
        const RefRnnOut naive = {.y = y, .c_steps = c}, right = {.y = exact};
        assert_int_equal(ref_rnn_naive(&a, DTYPE_BF16, &naive, NULL), ST_OK);
        assert_int_equal(ref_rnn(&a, &right, NULL), ST_OK);
        for (int64_t j = 0; j < a.batch * a.steps * ref_rnn_state(&a); j++) {
            assert_true(y[j] == dtype_round(DTYPE_BF16, y[j]));
            worst = fmax(worst, fabs(y[j] - exact[j]));
        }
        for (int64_t j = 0; j < a.batch * a.steps * a.hidden && !a.gru; j++)
            assert_true(c[j] == dtype_round(DTYPE_BF16, c[j]));
        assert_true(worst > 1e-4 && worst < 0.1);
    }
}

static void a_failed_allocation_is_reported(void **state) {
    (void)state;
    Error err;
    RefRnnWeights weights[MAX_PARTS];
    const RefRnn a = single(&rnn_vectors[0], weights);
    const RefRnnStack s = {.first = a, .layers = 1, .directions = 1, .weights = weights};
    const RefRnnOut out = {0};
    mem_fail_after(1);
    const Status alone = ref_rnn(&a, &out, &err);
    mem_fail_after(1);
    const Status stack = ref_rnn_stack(&s, NULL, NULL, NULL, &err);
    mem_fail_after(2);
    const Status inside = ref_rnn_stack(&s, NULL, NULL, NULL, &err);
    mem_fail_after(0);
    assert_int_equal(alone, ST_NO_MEMORY);
    assert_int_equal(stack, ST_NO_MEMORY);
    assert_int_equal(inside, ST_NO_MEMORY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recurrent_cells_agree_with_pytorch_and_onnx),
        cmocka_unit_test(a_projected_input_gives_the_same_bits),
        cmocka_unit_test(single_steps_that_carry_the_state_give_the_bits_of_the_whole),
        cmocka_unit_test(lengths_leave_the_state_alone_and_the_rest_of_y_zero),
        cmocka_unit_test(stored_gates_explain_every_step),
        cmocka_unit_test(the_naive_run_keeps_state_and_outputs_in_the_dtype),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
