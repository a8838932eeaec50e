/* Plans of recurrent layers on the fake driver: which launches a run is made of, and what they are
 * told. What is refused: rnn_args_test.c. */
#include "tests/runtime/rnn_plan_fixture.h"

#include "base/mem.h"

static void a_sequence_is_an_input_projection_and_its_steps(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    const seqtune_rnn_desc d = lstm(50, 7);
    const Bench b = bench_of(&d);
    seqtune_rnn_args a = arguments();
    a.h_in = 0x50000000;
    a.c_out = 0x60000000;
    mem_fail_after(0);
    run(b.ctx, b.plan, &a);
    assert_int_equal(mem_fail_after(0), 0); /* no allocation */
    assert_int_equal(fake->launches, 2);
    assert_entry(0, "rnn_input");
    assert_entry(1, "rnn_step");
    assert_ptr_equal(fake->launch[1].stream, (void *)0x77);
    const RnnBlock w = rnn_block(&b.plan->desc.u.rnn, 0, 0);
    RnnParams p = params_of(0);
    assert_int_equal(p.x, a.x);
    assert_int_equal(p.dir[0].w, a.weights + (uint64_t)w.w);
    assert_int_equal(p.dir[0].bias, a.weights + (uint64_t)w.bias);
    assert_int_equal(p.dir[0].r, 0);
    assert_int_equal(p.x_step, 3 * 24);
    assert_int_equal(p.x_batch, 24);
    assert_int_equal(p.steps, 7);
    const RnnParams s = params_of(1);
    assert_int_equal(s.pre, p.pre);
    assert_true(s.pre >= WORKSPACE);
    assert_int_equal(s.dir[0].r, a.weights + (uint64_t)w.r);
    assert_int_equal(s.dir[0].bias, 0); /* is in pre */
    assert_int_equal(s.dir[0].y, a.y);
    assert_int_equal(s.dir[0].h_in, a.h_in);
    assert_int_equal(s.dir[0].c_in, 0);
    assert_int_equal(s.dir[0].h_out, 0);
    assert_int_equal(s.dir[0].c_out, a.c_out);
    assert_int_equal(s.y_step, 3 * 50);
    assert_int_equal(s.total_steps, 7);
    assert_int_equal(s.reverse, 0);
    assert_int_equal(s.error, 0);
    bench_end(b);
}

static void layers_pass_their_outputs_through_two_buffers_in_turn(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 4);
    d.layers = 4;
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    const Bench b = bench_of(&d);
    seqtune_rnn_args a = arguments();
    a.h_out = 0x50000000;
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 8);
    seqtune_device_ptr below = 0;
    for (unsigned layer = 0; layer < 4; layer++) {
        const RnnParams in = params_of(2 * layer), s = params_of(2 * layer + 1);
        const RnnBlock w = rnn_block(&b.plan->desc.u.rnn, layer, 1);
        assert_int_equal(in.x, layer == 0 ? a.x : below);
        assert_int_equal(in.parts, layer == 0 ? 1 : 2);
        assert_int_equal(in.input, layer == 0 ? 24 : 100);
        assert_int_equal(in.dir[1].w, a.weights + (uint64_t)w.w);
        assert_int_equal(s.dir[1].r, a.weights + (uint64_t)w.r);
        assert_int_equal(s.reverse, 2);
        assert_int_equal(s.dir[1].h_out, a.h_out + (2 * layer + 1) * 3 * 50 * 2);
        below = s.dir[0].y;
        if (layer == 3) {
            assert_int_equal(below, a.y);
            assert_int_equal(s.dir[1].y, a.y + 50 * 2);
            assert_int_equal(s.y_batch, 100);
        } else { /* a row is two halves of 64 elements */
            assert_int_equal(s.dir[1].y, below + 64 * 2);
            assert_int_equal(s.y_batch, 128);
            assert_int_equal(s.y_step, 3 * 128);
            assert_int_equal(params_of(2 * layer + 2).x_step, 3 * 128);
        }
    }
    assert_int_not_equal(params_of(1).dir[0].y, params_of(3).dir[0].y);
    assert_int_equal(params_of(1).dir[0].y, params_of(5).dir[0].y);
    bench_end(b);
}

static void long_sequences_run_in_chunks_that_pass_the_state_on(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 100000); /* a step of pre is 3 * 256 floats */
    const int64_t chunk = 100000 / 5;      /* 64 MiB hold 21845 steps: 5 chunks, none shorter */
    const Bench b = bench_of(&d);
    seqtune_rnn_args a = arguments();
    a.h_in = 0x50000000;
    a.c_in = 0x60000000;
    a.h_out = 0x70000000;
    a.c_out = 0x80000000;
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 2 * 5);
    assert_true(seqtune_plan_workspace(b.plan) < 65 << 20);
    for (unsigned i = 0; i < 5; i++) {
        const RnnParams p = params_of(2 * i + 1);
        assert_int_equal(p.first_step, i * chunk);
        assert_int_equal(p.steps, chunk);
        assert_int_equal(p.total_steps, 100000);
        assert_int_equal(params_of(2 * i).first_step, p.first_step);
        assert_int_not_equal(p.dir[0].h_in, p.dir[0].h_out);
        assert_int_equal(p.dir[0].h_in, i == 0 ? a.h_in : params_of(2 * i - 1).dir[0].h_out);
        assert_int_equal(p.dir[0].c_in, i == 0 ? a.c_in : params_of(2 * i - 1).dir[0].c_out);
    }
    assert_int_equal(params_of(9).dir[0].h_out, a.h_out);
    assert_int_equal(params_of(9).dir[0].c_out, a.c_out);
    a.steps = 5; /* fewer steps: one chunk, the caller's own states */
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 2);
    assert_int_equal(fake->launch[0].grid[0], 5);
    assert_int_equal(params_of(1).dir[0].h_out, a.h_out);
    a.steps = SEQTUNE_LENGTH_ZERO;
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 0);
    bench_end(b);
}

/* Pieces of 100 of 301 steps: in A, steps A; in A, in B, both; the same; in B, steps B; a tail of
 * one step, A and B. */
static void two_layers_run_as_a_wavefront(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(64, 301);
    d.layers = 2;
    d.store_gates = 1;
    const Bench b = bench_of(&d);
    seqtune_rnn_args a = arguments();
    a.gates = 0x50000000;
    a.h_in = 0x60000000;
    a.h_out = 0x70000000;
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 2 + 3 + 3 + 2 + 4);
    const unsigned second = 2, both = 4;
    const RnnParams one = params_of(1), in = params_of(second + 1), two = params_of(both);
    const uint64_t gates = 301 * 3 * 256 * 2;
    assert_int_equal(fake->launch[1].grid[2], 1);
    assert_int_equal(fake->launch[both].grid[2], 2);
    assert_int_equal(in.x, one.dir[0].y); /* the lower layer's output */
    assert_int_equal(in.first_step, 0);
    assert_int_equal(in.pre, two.pre + 100 * 3 * 256 * 4);
    assert_int_equal(two.first_step, 100);
    assert_int_equal(two.steps, 100);
    assert_int_equal(two.dir[0].y, one.dir[0].y);
    assert_int_equal(two.dir[0].h_in, one.dir[0].h_out);
    assert_int_equal(two.dir[0].gates, a.gates);
    /* The upper layer is at step 0: what is told apart by step is moved back by 100. */
    assert_int_equal(two.dir[1].y, a.y - 100 * 3 * 64 * 2);
    assert_int_equal(two.dir[1].gates, a.gates + gates - 100 * 3 * 256 * 2);
    assert_int_equal(two.dir[1].h_in, a.h_in + 3 * 64 * 2);
    assert_int_not_equal(two.dir[1].h_out, two.dir[0].h_out);
    const RnnParams next = params_of(both + 3), last = params_of(9), tail = params_of(13);
    assert_int_equal(next.dir[1].h_in, two.dir[1].h_out);
    assert_int_equal(last.dir[0].h_in, next.dir[1].h_out);
    assert_int_equal(last.first_step, 200);
    assert_int_equal(last.dir[0].y, a.y);
    assert_int_equal(tail.first_step, 300);
    assert_int_equal(tail.steps, 1);
    assert_int_equal(tail.dir[0].h_in, last.dir[0].h_out);
    assert_int_equal(tail.dir[0].h_out, a.h_out + 3 * 64 * 2);
    a.steps = 127; /* not worth two pieces: layer after layer */
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 4);
    bench_end(b);
}

static void layers_that_fill_the_gpu_run_one_after_the_other(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    for (int i = 0; i < 4; i++) {
        seqtune_rnn_desc d = lstm(i == 0 ? 60 : i == 1 ? 128 : 64, 130);
        d.layers = 2; /* hidden 60: other strides than the caller's y; 128: 128 blocks that wait */
        d.device_lengths = i == 2;
        d.direction = i == 3 ? SEQTUNE_RNN_REVERSE : SEQTUNE_RNN_FORWARD;
        const Bench b = bench_of(&d);
        seqtune_rnn_args a = arguments();
        a.lens = i == 2 ? 0xa0000000 : 0;
        run(b.ctx, b.plan, &a);
        assert_int_equal(fake->launches, i == 1 ? 6 : 4);
        bench_end(b);
    }
}

static void steps_that_run_in_rounds_are_launched_one_by_one(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    const seqtune_rnn_desc d = lstm(600, 6);
    const Bench b = bench_of(&d);
    const seqtune_rnn_args a = arguments();
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 7);
    for (unsigned i = 1; i < 7; i++) {
        assert_entry(i, "rnn_step");
        assert_int_equal(params_of(i).round, i - 1);
    }
    bench_end(b);
}

static void blocks_that_wait_are_launched_cooperatively_with_an_error_word(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    const seqtune_rnn_desc d = lstm(200, 6);
    for (int able = 0; able < 2; able++) {
        reset();
        fake->not_cooperative = !able;
        seqtune_context *ctx = open_fake();
        seqtune_plan *plan = plan_of(ctx, &d);
        seqtune_rnn_args a = arguments();
        run(ctx, plan, &a);
        assert_int_equal(fake->launches, 3);
        assert_entry(1, "rnn_reset");
        assert_entry(2, "rnn_grid");
        assert_false(fake->launch[1].cooperative);
        assert_int_equal(fake->launch[2].cooperative, able);
        assert_true(params_of(2).error >= WORKSPACE); /* so that later launches do not wait again */
        assert_true(params_of(2).spin_limit > 0);
        assert_int_equal(fake->memset32, params_of(2).error);
        a.error = 0x90000000;
        run(ctx, plan, &a);
        assert_int_equal(params_of(2).error, a.error);
        assert_int_equal(fake->memset32, a.error);
        seqtune_plan_destroy(plan);
        seqtune_close(ctx);
    }
}

static void a_grid_that_cannot_be_resident_is_refused_with_the_numbers(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    fake->blocks_sm = 1;
    seqtune_context *ctx = open_fake();
    seqtune_rnn_desc d = lstm(108, 6); /* as many blocks as SMs */
    seqtune_plan_destroy(plan_of(ctx, &d));
    d.hidden = 109;
    seqtune_plan *plan = NULL;
    assert_int_equal(seqtune_plan_rnn(ctx, &d, &plan), SEQTUNE_UNSUPPORTED);
    assert_null(plan);
    assert_has(seqtune_last_error(ctx), "rnn_grid: its 109 blocks wait for each other");
    assert_has(seqtune_last_error(ctx), "room for 108: 108 SMs with 1 blocks of 64 threads");
    seqtune_close(ctx);
}

static void a_smaller_grid_is_taken_where_the_default_does_not_fit(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    fake->blocks_sm = 1;
    seqtune_context *ctx = open_fake();
    seqtune_rnn_desc d = lstm(110, 6);
    d.batch = 4; /* the tree has a second seed for it */
    seqtune_plan *plan = plan_of(ctx, &d);
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    assert_int_equal(seqtune_plan_get_info(plan, &info), SEQTUNE_OK);
    assert_string_equal(info.config, "order=2");
    assert_int_equal(info.rung, SEQTUNE_RUNG_DEFAULT);
    const seqtune_rnn_args a = arguments();
    run(ctx, plan, &a);
    assert_int_equal(fake->launch[2].grid[0], 55);
    seqtune_plan_destroy(plan);
    plan = NULL;
    d.hidden = 220; /* neither fits: the message is the default's */
    assert_int_equal(seqtune_plan_rnn(ctx, &d, &plan), SEQTUNE_UNSUPPORTED);
    assert_has(seqtune_last_error(ctx), "its 220 blocks wait");
    seqtune_close(ctx);
}

static void one_step_is_one_kernel_per_layer(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 1);
    d.layers = 2;
    const Bench b = bench_of(&d);
    const seqtune_rnn_args a = arguments();
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 2);
    for (unsigned i = 0; i < 2; i++) {
        const RnnParams p = params_of(i);
        const RnnBlock w = rnn_block(&b.plan->desc.u.rnn, i, 0);
        assert_entry(i, "rnn_cell");
        assert_int_equal(p.dir[0].w, a.weights + (uint64_t)w.w);
        assert_int_equal(p.dir[0].r, a.weights + (uint64_t)w.r);
        assert_int_equal(p.dir[0].bias, a.weights + (uint64_t)w.bias);
        assert_int_equal(p.pre, 0);
    }
    assert_int_equal(params_of(1).x, params_of(0).dir[0].y);
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    assert_int_equal(seqtune_plan_get_info(b.plan, &info), SEQTUNE_OK);
    assert_string_equal(info.kernel, "rnn_cell");
    bench_end(b);
}

/* rnn_cell of the tree has no lengths. */
static void one_step_that_the_cell_does_not_serve_is_a_short_sequence(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 1);
    d.device_lengths = 1;
    const Bench b = bench_of(&d);
    seqtune_rnn_args a = arguments();
    a.lens = 0xa0000000;
    run(b.ctx, b.plan, &a);
    assert_int_equal(fake->launches, 2);
    assert_entry(1, "rnn_step");
    assert_int_equal(params_of(1).lens, a.lens);
    bench_end(b);
}

static void sequence_order_takes_the_configuration_of_the_sequence(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 1);
    d.flags = SEQTUNE_RNN_SEQUENCE_ORDER;
    for (int i = 0; i < 2; i++) {
        d.order_steps = i == 0 ? 7 : 8;
        const Bench b = bench_of(&d);
        seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
        assert_int_equal(seqtune_plan_get_info(b.plan, &info), SEQTUNE_OK);
        assert_string_equal(info.kernel, "rnn_seq");
        assert_string_equal(info.config, i == 0 ? "order=1" : "order=2");
        bench_end(b);
    }
}

static void layer_norm_gets_the_bias_after_the_norm(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 3);
    d.layer_norm = 1;
    const Bench b = bench_of(&d);
    const seqtune_rnn_args a = arguments();
    run(b.ctx, b.plan, &a);
    const RnnBlock w = rnn_block(&b.plan->desc.u.rnn, 0, 0);
    assert_int_equal(params_of(0).dir[0].bias, 0);
    assert_int_equal(params_of(1).dir[0].bias, a.weights + (uint64_t)w.bias);
    assert_int_equal(params_of(1).dir[0].norm, a.weights + (uint64_t)w.norm);
    assert_true(params_of(1).norm_eps == 1e-5f);
    bench_end(b);
}

static void packed_sequences_step_by_token(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    seqtune_rnn_desc d = lstm(50, 9);
    d.packed = 1;
    d.layers = 2;
    d.total_tokens = 20;
    const Bench b = bench_of(&d);
    seqtune_rnn_args a = arguments();
    a.cu_seqlens = 0xa0000000;
    run(b.ctx, b.plan, &a);
    assert_int_equal(params_of(0).x_step, 24);
    assert_int_equal(params_of(1).y_step, 64);
    assert_int_equal(params_of(2).x_step, 64);
    assert_int_equal(params_of(3).y_step, 50);
    assert_int_equal(params_of(3).cu_seqlens, a.cu_seqlens);
    bench_end(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_is_an_input_projection_and_its_steps),
        cmocka_unit_test(layers_pass_their_outputs_through_two_buffers_in_turn),
        cmocka_unit_test(long_sequences_run_in_chunks_that_pass_the_state_on),
        cmocka_unit_test(two_layers_run_as_a_wavefront),
        cmocka_unit_test(layers_that_fill_the_gpu_run_one_after_the_other),
        cmocka_unit_test(steps_that_run_in_rounds_are_launched_one_by_one),
        cmocka_unit_test(blocks_that_wait_are_launched_cooperatively_with_an_error_word),
        cmocka_unit_test(a_grid_that_cannot_be_resident_is_refused_with_the_numbers),
        cmocka_unit_test(a_smaller_grid_is_taken_where_the_default_does_not_fit),
        cmocka_unit_test(one_step_is_one_kernel_per_layer),
        cmocka_unit_test(one_step_that_the_cell_does_not_serve_is_a_short_sequence),
        cmocka_unit_test(sequence_order_takes_the_configuration_of_the_sequence),
        cmocka_unit_test(layer_norm_gets_the_bias_after_the_norm),
        cmocka_unit_test(packed_sequences_step_by_token),
    };
    return cmocka_run_group_tests(tests, rnn_plan_setup, rnn_plan_teardown);
}
