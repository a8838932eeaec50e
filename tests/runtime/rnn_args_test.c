/* Plans of recurrent layers on the fake driver: arguments and descriptions that are refused, and
 * what fails on the way. */
#include "tests/runtime/rnn_plan_fixture.h"

#include "base/mem.h"

/* Not by the length of a row, which is no stride. */
static void packed_rows_of_x_are_aligned_by_the_stride_of_tokens(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    static const struct {
        int64_t input, stride;
        int align;
    } rows[] = {{33, 40, 16}, {33, 36, 8}, {32, 34, 4}, {32, 33, 2}, {33, 0, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rnn_desc d = lstm(50, 9);
        d.packed = 1;
        d.total_tokens = 20;
        d.input = rows[i].input;
        d.x_stride_step = rows[i].stride;
        const Bench b = bench_of(&d);
        seqtune_rnn_args a = arguments();
        a.cu_seqlens = 0xa0000000;
        a.x += (unsigned)rows[i].align;
        run(b.ctx, b.plan, &a);
        a.x -= (unsigned)rows[i].align / 2;
        assert_int_equal(seqtune_run_rnn(b.plan, &a, WORKSPACE, NULL), SEQTUNE_INVALID);
        char want[64];
        snprintf(want, sizeof want, "must be %d-byte aligned", rows[i].align);
        assert_has(seqtune_last_error(b.ctx), want);
        bench_end(b);
    }
}

static void bad_arguments_are_refused_with_their_names(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    const seqtune_rnn_desc d = lstm(50, 7);
    const Bench b = bench_of(&d);
    const struct {
        size_t offset;
        uint64_t value;
        const char *part;
    } rows[] = {
#define BAD(field, value, part) {offsetof(seqtune_rnn_args, field), value, part}
        BAD(size, 8, "SEQTUNE_RNN_ARGS_INIT"),
        BAD(weights, 0, "weights is a null device pointer"),
        BAD(weights, 0x10000080, "weights is 0x10000080: must be 256-byte aligned"),
        BAD(x, 0x20000008, "x is 0x20000008: must be 16-byte aligned"),
        BAD(y, 0x30000001, "y is 0x30000001: must be 2-byte aligned"),
        BAD(h_in, 0x50000008, "h_in is 0x50000008: must be 16-byte aligned"),
        BAD(c_out, 0x50000002, "c_out is 0x50000002: must be 4-byte aligned"),
        BAD(lens, 0x50000000, "lens is given, but the description has no device_lengths = 1"),
        BAD(cu_seqlens, 0x50000000, "the description has no packed = 1"),
        BAD(gates, 0x50000000, "the description has no store_gates = 1"),
        BAD(steps, 8, "steps is 8: must be 0..7"),
#undef BAD
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rnn_args a = arguments();
        memcpy((char *)&a + rows[i].offset, &rows[i].value, 8);
        assert_int_equal(seqtune_run_rnn(b.plan, &a, WORKSPACE, NULL), SEQTUNE_INVALID);
        assert_has(seqtune_last_error(b.ctx), rows[i].part);
    }
    seqtune_rnn_args a = arguments();
    a.h_in = a.h_out = 0x50000000;
    assert_int_equal(seqtune_run_rnn(b.plan, &a, WORKSPACE, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(b.ctx), "h_out is h_in");
    a.h_out = 0;
    assert_int_equal(seqtune_run_rnn(b.plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(b.ctx), "workspace is a null device pointer");
    bench_end(b);
}

/* h may not be where it was, c may; neither may lie across. */
static void states_that_overlap_are_refused(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    enum { H = 0x50000000, C = 0x60000000, H_BYTES = 2 * 3 * 64 * 2, C_BYTES = 2 * 3 * 64 * 4 };
    static const struct {
        uint64_t h_out, c_out;
        const char *part; /* NULL: runs */
    } rows[] = {
        {H, C, "h_out is h_in: blocks read the state that others write; use two buffers of 768"},
        {H + H_BYTES - 16, C, "h_out overlaps h_in"},
        {H - H_BYTES + 16, C, "h_out overlaps h_in"},
        {H + H_BYTES, C + 4, "c_out overlaps c_in: must be c_in, or 1536 bytes away"},
        {H + H_BYTES, C - C_BYTES + 4, "c_out overlaps c_in"},
        {H + H_BYTES, C, NULL},
        {H - H_BYTES, C + C_BYTES, NULL},
        {0, C - C_BYTES, NULL},
        {0, 0, NULL},
    };
    seqtune_rnn_desc d = lstm(64, 1);
    d.layers = 2;
    const Bench b = bench_of(&d);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rnn_args a = arguments();
        a.h_in = H;
        a.c_in = C;
        a.h_out = rows[i].h_out;
        a.c_out = rows[i].c_out;
        assert_int_equal(seqtune_run_rnn(b.plan, &a, WORKSPACE, NULL),
                         rows[i].part ? SEQTUNE_INVALID : SEQTUNE_OK);
        if (rows[i].part) assert_has(seqtune_last_error(b.ctx), rows[i].part);
    }
    bench_end(b);
}

static void what_no_kernel_serves_is_told_without_compiling(void **state) {
    (void)state;
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_rnn_desc d = lstm(50, 7);
    const unsigned loads = fake->loads;
    assert_int_equal(seqtune_supports_rnn(ctx, &d), SEQTUNE_OK);
    d.max_steps = 1;
    assert_int_equal(seqtune_supports_rnn(ctx, &d), SEQTUNE_OK);
    d.max_steps = 7;
    d.peephole = 1; /* the tree's kernels have none */
    assert_int_equal(seqtune_supports_rnn(ctx, &d), SEQTUNE_UNSUPPORTED);
    assert_has(seqtune_last_error(ctx), "seqtune_supports_rnn: rnn_seq has no peephole");
    d.peephole = 0;
    d.max_steps = -1;
    assert_int_equal(seqtune_supports_rnn(ctx, &d), SEQTUNE_INVALID);
    assert_int_equal(fake->loads, loads);
    seqtune_close(ctx);
}

static void a_failed_launch_ends_the_run(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 7);
    d.layers = 3;
    const Bench b = bench_of(&d);
    const seqtune_rnn_args a = arguments();
    fake->launch_result = CUDA_ERROR_LAUNCH_FAILED;
    assert_int_equal(seqtune_run_rnn(b.plan, &a, WORKSPACE, NULL), SEQTUNE_DRIVER);
    assert_has(seqtune_last_error(b.ctx), "seqtune_run_rnn");
    assert_has(seqtune_last_error(b.ctx), "rnn_input");
    fake->launch_result = CUDA_SUCCESS;
    bench_end(b);
}

static void memory_that_runs_out_while_planning_is_an_error_without_leaks(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_rnn_desc d = lstm(64, 130); /* with a kernel for two layers */
    d.layers = 3;
    seqtune_plan_destroy(plan_of(ctx, &d)); /* compiled and cached */
    seqtune_status st = SEQTUNE_NO_MEMORY;
    for (unsigned long n = 1; st != SEQTUNE_OK; n++) {
        seqtune_plan *plan = NULL;
        mem_fail_after(n);
        st = seqtune_plan_rnn(ctx, &d, &plan);
        mem_fail_after(0);
        if (st != SEQTUNE_OK) assert_int_equal(st, SEQTUNE_NO_MEMORY);
        assert_int_equal(plan != NULL, st == SEQTUNE_OK);
        seqtune_plan_destroy(plan);
    }
    seqtune_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_rows_of_x_are_aligned_by_the_stride_of_tokens),
        cmocka_unit_test(bad_arguments_are_refused_with_their_names),
        cmocka_unit_test(states_that_overlap_are_refused),
        cmocka_unit_test(what_no_kernel_serves_is_told_without_compiling),
        cmocka_unit_test(a_failed_launch_ends_the_run),
        cmocka_unit_test(memory_that_runs_out_while_planning_is_an_error_without_leaks),
    };
    return cmocka_run_group_tests(tests, rnn_plan_setup, rnn_plan_teardown);
}
