/* SEQTUNE_RNN_GIVEN_INPUT: layers whose W x + bias the caller computed, against the fp64 reference,
 * which computes it from x. What no step reads is NaN. */
#include "tests/runtime/rnn_fixture.h"

#include <math.h>

/* W x + bias of a gate of a unit for a token of `x`. */
static double sum_of(const Bench *b, int64_t block, int64_t gate, int64_t unit, const double *x) {
    const int64_t row = gate * b->d.hidden + unit;
    const bool inside = b->gates == 3 && gate == 2 && !b->d.reset_before; /* b_hn is in R h */
    double sum = 0;
    for (int64_t k = 0; k < b->d.input; k++) sum += b->exact[block][W][row * b->d.input + k] * x[k];
    if (b->d.layer_norm) return sum;
    sum += b->exact[block][BIAS_W][row];
    return inside ? sum : sum + b->exact[block][BIAS_R][row];
}

/* [directions, steps, batch, rows] on the device. */
static seqtune_device_ptr given_of(const Bench *b) {
    const int64_t steps = b->d.max_steps, batch = b->d.batch;
    const size_t count = (size_t)(b->directions * steps * batch * b->rows);
    float *pre = calloc(count, sizeof *pre), *at = pre;
    assert_non_null(pre);
    for (int64_t d = 0; d < b->directions; d++)
        for (int64_t s = 0; s < steps; s++)
            for (int64_t n = 0; n < batch; n++, at += b->rows) {
                const int64_t len = b->lens != NULL ? b->lens[n] : steps;
                const bool back = d == 1 || b->d.direction == SEQTUNE_RNN_REVERSE;
                const int64_t token = back ? len - 1 - s : s;
                for (int64_t i = 0; i < b->rows && s >= len; i++) at[i] = NAN;
                for (int64_t i = 0; i < b->gates * b->d.hidden && s < len; i++) {
                    const int64_t unit = i / b->gates, gate = i % b->gates;
                    at[unit / 8 * 8 * b->gates + gate * 8 + unit % 8] =
                        (float)sum_of(b, d, gate, unit, &b->x[(n * steps + token) * b->d.input]);
                }
            }
    const seqtune_device_ptr out = to_device(pre, count * sizeof *pre);
    free(pre);
    return out;
}

static void check_given(const seqtune_rnn_desc *d, const int64_t *lens) {
    seqtune_rnn_desc given = *d;
    given.flags = SEQTUNE_RNN_GIVEN_INPUT;
    Bench b = bench_of(d, lens);
    Rig rig = rig_of(&b, &given);
    seqtune_rnn_args a = args_of(&b, &rig, 0, d->max_steps, 0);
    a.x = given_of(&b);
    CHECK(seqtune_run_rnn(rig.plan, &a, rig.workspace, NULL));
    Result r = fetch(&b, &rig, 0);
    check_reference_and_gates(&b, &r);
    CHECK(seqtune_device_free(ctx, a.x));
    result_end(&r);
    rig_end(&rig);
    bench_end(&b);
}

static seqtune_rnn_desc layer_of(seqtune_rnn_cell cell, seqtune_dtype dtype) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.cell = cell;
    d.dtype = dtype;
    d.batch = 3;
    d.input = 12;
    d.hidden = 21;
    d.layers = 1;
    d.max_steps = 6;
    d.store_gates = 1;
    return d;
}

static void the_given_sums_are_what_w_x_gives(void **state) {
    (void)state;
    static const int64_t lens[] = {6, 0, 4};
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++)
        for (int dtype = SEQTUNE_F16; dtype <= SEQTUNE_F32; dtype++) {
            const seqtune_rnn_desc plain = layer_of((seqtune_rnn_cell)cell, (seqtune_dtype)dtype);
            seqtune_rnn_desc both = plain, step = plain, norm = plain;
            check_given(&plain, NULL);
            both.direction = SEQTUNE_RNN_BIDIRECTIONAL;
            both.device_lengths = 1;
            check_given(&both, lens);
            step.max_steps = 1;
            check_given(&step, NULL);
            norm.layer_norm = 1;
            check_given(&norm, NULL);
        }
}

/* R in the whole GPU, R read in every step, the reset gate before the product, packed tokens. */
static void every_tier_takes_given_sums(void **state) {
    (void)state;
    static const int64_t lens[] = {3, 1, 2};
    seqtune_rnn_desc d = layer_of(SEQTUNE_GRU, SEQTUNE_F16);
    d.reset_before = 1;
    check_given(&d, NULL);
    d.reset_before = 0;
    d.packed = 1;
    d.max_steps = 3;
    check_given(&d, lens);
    d = layer_of(SEQTUNE_LSTM, SEQTUNE_F16);
    d.max_steps = 2;
    d.hidden = 256;
    check_given(&d, NULL);
    d.hidden = 1100;
    d.projection = 8;
    check_given(&d, NULL);
}

/* Nothing of the sums is in the workspace, however many steps there are. */
static void given_sums_are_not_cut_into_chunks(void **state) {
    (void)state;
    seqtune_rnn_desc d = layer_of(SEQTUNE_LSTM, SEQTUNE_F16);
    seqtune_plan *plan = NULL;
    d.flags = SEQTUNE_RNN_GIVEN_INPUT;
    d.max_steps = 1 << 20;
    d.hidden = 64;
    CHECK(seqtune_plan_rnn(ctx, &d, &plan));
    assert_true(seqtune_plan_workspace(plan) < 4096);
    seqtune_plan_destroy(plan);
}

static void what_given_sums_leave_no_room_for_is_refused(void **state) {
    (void)state;
    const seqtune_rnn_desc plain = layer_of(SEQTUNE_LSTM, SEQTUNE_F16);
    seqtune_rnn_desc bad[4] = {plain, plain, plain, plain};
    static const char *const said[] = {
        "layers is 2: ", "x_stride_step is 12: ", "x_stride_batch is 12: ", "chunk_steps is 2: "};
    bad[0].layers = 2;
    bad[1].x_stride_step = 12;
    bad[2].x_stride_batch = 12;
    bad[3].chunk_steps = 2;
    for (int i = 0; i < 4; i++) {
        seqtune_plan *plan = NULL;
        bad[i].flags = SEQTUNE_RNN_GIVEN_INPUT;
        assert_int_equal(seqtune_plan_rnn(ctx, &bad[i], &plan), SEQTUNE_INVALID);
        assert_non_null(strstr(seqtune_last_error(ctx), said[i]));
        assert_non_null(strstr(seqtune_last_error(ctx), "SEQTUNE_RNN_GIVEN_INPUT"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_given_sums_are_what_w_x_gives),
        cmocka_unit_test(every_tier_takes_given_sums),
        cmocka_unit_test(given_sums_are_not_cut_into_chunks),
        cmocka_unit_test(what_given_sums_leave_no_room_for_is_refused),
    };
    return cmocka_run_group_tests(tests, rnn_setup, rnn_teardown);
}
