/* Recurrent layers through the public functions on the software GPU, or on a real one
 * (SEQTUNE_TEST_GPU=0): layers, directions, lengths and chunks against the fp64 reference, and
 * against each other bit for bit. */
#include "tests/runtime/rnn_fixture.h"

#include <dlfcn.h>

#include "base/mem.h"

static seqtune_rnn_desc layers_of(seqtune_rnn_cell cell, seqtune_dtype dtype, int64_t layers) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.cell = cell;
    d.dtype = dtype;
    d.layers = layers;
    d.batch = 5;
    d.input = 20;
    d.hidden = 24;
    d.max_steps = 7;
    return d;
}

static void check_case(const seqtune_rnn_desc *d, const int64_t *lens) {
    Bench b = bench_of(d, lens);
    Result r = run_whole(&b);
    check_reference(&b, &r);
    result_end(&r);
    bench_end(&b);
}

static const int64_t lens[5] = {7, 0, 1, 5, 7};

static void two_bidirectional_layers_of_padded_sequences(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F16, 2);
        d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
        d.device_lengths = 1;
        check_case(&d, lens);
    }
}

static void two_bidirectional_layers_of_packed_sequences(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_BF16, 2);
        d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
        d.packed = 1;
        d.total_tokens = 20;
        check_case(&d, lens);
    }
}

static void three_layers_of_odd_sizes_in_f32(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F32, 3);
        d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
        d.batch = 3;
        d.input = 9;
        d.hidden = 7;
        check_case(&d, NULL);
        d.dtype = SEQTUNE_F16; /* y of the second direction begins at an odd element */
        check_case(&d, NULL);
    }
}

static void a_reverse_layer(void **state) {
    (void)state;
    seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 1);
    d.direction = SEQTUNE_RNN_REVERSE;
    d.device_lengths = 1;
    check_case(&d, lens);
}

/* Every kind of cell, in two layers, as a sequence and by single steps. */
static void every_kind_of_cell(void **state) {
    (void)state;
    const struct {
        seqtune_rnn_cell cell;
        int peephole, projection, layer_norm, reset_before;
        float clip;
    } rows[] = {
        {SEQTUNE_LSTM, 1, 0, 0, 0, 0},     {SEQTUNE_LSTM, 0, 12, 0, 0, 0},
        {SEQTUNE_LSTM, 0, 0, 1, 0, 0},     {SEQTUNE_LSTM, 0, 0, 0, 0, 0.25f},
        {SEQTUNE_LSTM, 1, 12, 1, 0, 0.5f}, {SEQTUNE_GRU, 0, 0, 0, 1, 0},
        {SEQTUNE_GRU, 0, 0, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rnn_desc d = layers_of(rows[i].cell, SEQTUNE_F16, 2);
        d.max_steps = 4;
        d.peephole = rows[i].peephole;
        d.projection = rows[i].projection;
        d.layer_norm = rows[i].layer_norm;
        d.reset_before = rows[i].reset_before;
        d.cell_clip = rows[i].clip;
        seqtune_rnn_desc step = d;
        step.max_steps = 1;
        Bench b = bench_of(&d, NULL);
        Result whole = run_whole(&b), steps = run_pieces(&b, &step, 1);
        check_reference(&b, &whole);
        check_reference(&b, &steps);
        result_end(&whole);
        result_end(&steps);
        bench_end(&b);
    }
}

/* ---- against each other ---- */

static void chunks_of_the_plan_give_the_bits_of_the_whole(void **state) {
    (void)state;
    seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 2);
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    d.device_lengths = 1;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        d.cell = (seqtune_rnn_cell)cell;
        Bench b = bench_of(&d, lens);
        Result whole = run_whole(&b);
        for (int64_t chunk = 1; chunk <= 5; chunk += 2) {
            seqtune_rnn_desc chunked = d;
            chunked.chunk_steps = chunk;
            Result r = run_pieces(&b, &chunked, d.max_steps);
            assert_same(&r, &whole);
            result_end(&r);
        }
        result_end(&whole);
        bench_end(&b);
    }
}

static void pieces_and_single_steps_give_the_bits_of_the_whole(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++)
        for (int dtype = SEQTUNE_F16; dtype <= SEQTUNE_F32; dtype += 2) {
            const seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, (seqtune_dtype)dtype, 2);
            seqtune_rnn_desc step = d;
            Bench b = bench_of(&d, NULL);
            Result whole = run_whole(&b);
            Result pieces = run_pieces(&b, &d, 3);
            assert_same(&pieces, &whole);
            step.max_steps = 1;
            step.flags = SEQTUNE_RNN_SEQUENCE_ORDER;
            step.order_steps = d.max_steps;
            Result steps = run_pieces(&b, &step, 1);
            assert_same(&steps, &whole);
            result_end(&whole);
            result_end(&pieces);
            result_end(&steps);
            bench_end(&b);
        }
}

/* Three layers, the lower two as a wavefront of two pieces and a tail; pieces too short for one. */
static void a_wavefront_gives_the_bits_of_layer_after_layer(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++)
        for (int64_t layers = 2; layers <= 3; layers++) {
            seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F16, layers);
            d.hidden = 32;
            d.batch = 2;
            d.max_steps = 129;
            d.store_gates = 1;
            Bench b = bench_of(&d, NULL);
            Result whole = run_whole(&b), pieces = run_pieces(&b, &d, 100);
            check_reference_and_gates(&b, &whole);
            assert_same(&pieces, &whole);
            result_end(&whole);
            result_end(&pieces);
            bench_end(&b);
        }
}

static void steps_of_the_cell_kernel_agree_with_the_reference(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        const seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F16, 2);
        seqtune_rnn_desc step = d;
        Bench b = bench_of(&d, NULL);
        step.max_steps = 1;
        Result r = run_pieces(&b, &step, 1);
        check_reference(&b, &r);
        result_end(&r);
        bench_end(&b);
    }
}

/* As run_pieces, but c has one buffer: c_out is c_in. */
static Result run_c_in_place(const Bench *b, const seqtune_rnn_desc *d, int64_t piece) {
    Rig rig = rig_of(b, d);
    const size_t count = (size_t)(b->blocks * b->d.batch * b->d.hidden);
    float *c = calloc(count, sizeof *c);
    assert_non_null(c);
    for (size_t i = 0; i < count; i++) c[i] = (float)b->c_in[i];
    CHECK(seqtune_device_upload(ctx, rig.c[0], c, count * sizeof *c));
    free(c);
    int turn = 0;
    for (int64_t first = 0; first < b->d.max_steps; first += piece, turn = 1 - turn) {
        seqtune_rnn_args a = args_of(b, &rig, first, piece, turn);
        a.c_in = a.c_out = rig.c[0];
        CHECK(seqtune_run_rnn(rig.plan, &a, rig.workspace, NULL));
    }
    Rig seen = rig;
    seen.c[1] = rig.c[0];
    const Result r = fetch(b, &seen, 1 - turn);
    rig_end(&rig);
    return r;
}

/* Single steps by the kernels of rnn_cell, for many sequences (f16) and for few (f32), and pieces
 * of a sequence. */
static void c_in_place_gives_the_same_bits(void **state) {
    (void)state;
    const struct {
        int peephole, projection, layer_norm;
        float clip;
    } rows[] = {{0, 0, 0, 0}, {1, 0, 0, 0.5f}, {0, 12, 0, 0}, {0, 0, 1, 0}, {1, 12, 1, 0.5f}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int dtype = SEQTUNE_F16; dtype <= SEQTUNE_F32; dtype += 2) {
            seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, (seqtune_dtype)dtype, 2);
            d.max_steps = 3;
            d.peephole = rows[i].peephole;
            d.projection = rows[i].projection;
            d.layer_norm = rows[i].layer_norm;
            d.cell_clip = rows[i].clip;
            seqtune_rnn_desc step = d;
            step.max_steps = 1;
            Bench b = bench_of(&d, NULL);
            Result steps = run_pieces(&b, &step, 1), pieces = run_pieces(&b, &d, 2);
            Result one_c = run_c_in_place(&b, &step, 1), pieces_c = run_c_in_place(&b, &d, 2);
            assert_same(&one_c, &steps);
            assert_same(&pieces_c, &pieces);
            Result *all[] = {&steps, &pieces, &one_c, &pieces_c};
            for (size_t k = 0; k < 4; k++) result_end(all[k]);
            bench_end(&b);
        }
}

static void what_is_not_wanted_is_not_written(void **state) {
    (void)state;
    const seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 1);
    Bench b = bench_of(&d, NULL);
    Result r = run_whole(&b);
    Rig rig = rig_of(&b, &d);
    seqtune_rnn_args a = args_of(&b, &rig, 0, d.max_steps, 0);
    a.y = a.c_out = 0;
    CHECK(seqtune_run_rnn(rig.plan, &a, rig.workspace, NULL));
    Result got = fetch(&b, &rig, 0);
    assert_memory_equal(got.h, r.h, r.h_bytes);
    for (size_t i = 0; i < r.y_bytes; i++) assert_int_equal((unsigned char)got.y[i], 0xa5);
    for (size_t i = 0; i < r.c_bytes; i++) assert_int_equal((unsigned char)got.c[i], 0xa5);
    rig_end(&rig);
    result_end(&r);
    result_end(&got);
    bench_end(&b);
}

/* Two buffers in turn stay right when there was nothing to run: h and c are handed on. */
static void a_run_of_no_steps_hands_the_states_on(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F16, 2);
        d.hidden = 3; /* an odd number of halves */
        Bench b = bench_of(&d, NULL);
        Rig rig = rig_of(&b, &d);
        const int32_t fill = 77;
        int32_t word = 0;
        seqtune_rnn_args a = args_of(&b, &rig, 0, d.max_steps, 0);
        a.steps = SEQTUNE_LENGTH_ZERO;
        a.x = a.y = 0;
        a.error = to_device(&fill, sizeof fill);
        CHECK(seqtune_run_rnn(rig.plan, &a, 0, NULL));
        CHECK(seqtune_device_download(ctx, &word, a.error, sizeof word));
        assert_int_equal(word, 0);
        Result r = fetch(&b, &rig, 0);
        for (size_t i = 0; i < r.h_bytes / 2; i++)
            assert_true(dtype_load(DTYPE_F16, r.h, (int64_t)i) == b.h_in[i]);
        for (size_t i = 0; i < r.c_bytes / 4 && cell == SEQTUNE_LSTM; i++)
            assert_true(dtype_load(DTYPE_F32, r.c, (int64_t)i) == b.c_in[i]);
        result_end(&r);
        a.h_in = a.c_in = 0;
        CHECK(seqtune_run_rnn(rig.plan, &a, 0, NULL));
        r = fetch(&b, &rig, 0);
        for (size_t i = 0; i < r.h_bytes; i++) assert_int_equal(r.h[i], 0);
        for (size_t i = 0; i < r.c_bytes && cell == SEQTUNE_LSTM; i++) assert_int_equal(r.c[i], 0);
        result_end(&r);
        a.h_in = a.h_out + 16;
        assert_int_equal(seqtune_run_rnn(rig.plan, &a, 0, NULL), SEQTUNE_INVALID);
        CHECK(seqtune_device_free(ctx, a.error));
        rig_end(&rig);
        bench_end(&b);
    }
}

/* Replays of one captured run, the lengths changed between them. */
static void a_captured_run_serves_other_lengths(void **state) {
    (void)state;
    const Driver *cu = ctx->driver;
    seqtune_rnn_desc d = layers_of(SEQTUNE_GRU, SEQTUNE_F16, 2);
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    d.device_lengths = 1;
    static const int64_t other[5] = {2, 7, 0, 7, 1};
    int32_t on_device[5];
    Bench b = bench_of(&d, lens);
    Rig rig = rig_of(&b, &d);
    const seqtune_rnn_args a = args_of(&b, &rig, 0, d.max_steps, 0);
    CuStream stream = NULL;
    CuGraph graph = NULL;
    CuGraphExec exec = NULL;
    bool pushed = false;
    assert_int_equal(driver_enter(cu, ctx->device.context, &pushed), 0);
    assert_int_equal(cu->StreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
    assert_int_equal(cu->StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), 0);
    CHECK(seqtune_run_rnn(rig.plan, &a, rig.workspace, stream));
    assert_int_equal(cu->StreamEndCapture(stream, &graph), 0);
    assert_int_equal(cu->GraphInstantiate(&exec, graph, 0), 0);
    for (int i = 0; i < 2; i++) {
        b.lens = i == 0 ? lens : other;
        for (int k = 0; k < 5; k++) on_device[k] = (int32_t)b.lens[k];
        CHECK(seqtune_device_upload(ctx, b.at_lens, on_device, sizeof on_device));
        assert_int_equal(cu->GraphLaunch(exec, stream), 0);
        assert_int_equal(cu->StreamSynchronize(stream), 0);
        Result r = fetch(&b, &rig, 0);
        check_reference(&b, &r);
        result_end(&r);
    }
    assert_int_equal(cu->GraphExecDestroy(exec), 0);
    assert_int_equal(cu->GraphDestroy(graph), 0);
    assert_int_equal(cu->StreamDestroy(stream), 0);
    driver_leave(cu, pushed);
    rig_end(&rig);
    bench_end(&b);
}

/* A run that may not allocate, as a graph. */
static CuGraphExec capture(const Rig *rig, const seqtune_rnn_args *a, CuStream stream) {
    const Driver *cu = ctx->driver;
    CuGraph graph = NULL;
    CuGraphExec exec = NULL;
    assert_int_equal(cu->StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), 0);
    mem_fail_after(1);
    const seqtune_status st = seqtune_run_rnn(rig->plan, a, rig->workspace, stream);
    mem_fail_after(0);
    CHECK(st);
    assert_int_equal(cu->StreamEndCapture(stream, &graph), 0);
    assert_int_equal(cu->GraphInstantiate(&exec, graph, 0), 0);
    assert_int_equal(cu->GraphDestroy(graph), 0);
    return exec;
}

/* The steps of b by single ones: two graphs, from state buffer 0 to 1 and back, serve any number;
 * x and y of a step are copied from and to where the graphs have them. */
static Result replay_steps(const Bench *b, const Rig *rig, CuStream stream) {
    const Driver *cu = ctx->driver;
    const size_t x = (size_t)(b->d.batch * b->d.input) * 2;
    const size_t y = (size_t)(b->d.batch * b->d.hidden) * 2;
    seqtune_device_ptr at_x = 0, at_y = 0;
    CuGraphExec exec[2] = {NULL, NULL};
    CHECK(seqtune_device_alloc(ctx, x, &at_x));
    CHECK(seqtune_device_alloc(ctx, y, &at_y));
    for (int to = 0; to < 2; to++) {
        seqtune_rnn_args a = args_of(b, rig, 1, 1, to); /* a later step: from 1 - to */
        a.x = at_x;
        a.y = at_y;
        exec[to] = capture(rig, &a, stream);
    }
    const size_t states = (size_t)(b->blocks * b->d.batch * b->d.hidden);
    assert_int_equal(cu->MemcpyDtoD(rig->h[1], b->at_h, states * 2), 0);
    assert_int_equal(cu->MemcpyDtoD(rig->c[1], b->at_c, states * 4), 0);
    CHECK(seqtune_device_synchronize(ctx)); /* the host does not wait for such copies */
    for (int64_t s = 0; s < b->d.max_steps; s++) {
        assert_int_equal(cu->MemcpyDtoDAsync(at_x, b->at_x + (uint64_t)s * x, x, stream), 0);
        assert_int_equal(cu->GraphLaunch(exec[s % 2], stream), 0);
        assert_int_equal(cu->MemcpyDtoDAsync(rig->y + (uint64_t)s * y, at_y, y, stream), 0);
    }
    assert_int_equal(cu->StreamSynchronize(stream), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(cu->GraphExecDestroy(exec[i]), 0);
    CHECK(seqtune_device_free(ctx, at_x));
    CHECK(seqtune_device_free(ctx, at_y));
    return fetch(b, rig, (int)(b->d.max_steps - 1) % 2);
}

static void two_graphs_of_a_step_serve_a_stream(void **state) {
    (void)state;
    const Driver *cu = ctx->driver;
    seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 2);
    CuStream stream = NULL;
    bool pushed = false;
    Bench b = bench_of(&d, NULL);
    d.max_steps = 1;
    Result steps = run_pieces(&b, &d, 1);
    Rig rig = rig_of(&b, &d);
    assert_int_equal(driver_enter(cu, ctx->device.context, &pushed), 0);
    assert_int_equal(cu->StreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
    Result replayed = replay_steps(&b, &rig, stream);
    assert_same(&replayed, &steps);
    assert_int_equal(cu->StreamDestroy(stream), 0);
    driver_leave(cu, pushed);
    result_end(&replayed);
    result_end(&steps);
    rig_end(&rig);
    bench_end(&b);
}

/* One SM, blocks that wait for each other (a cooperative launch), a launch per step. */
static void runs_of_every_tier_can_be_captured(void **state) {
    (void)state;
    static const struct { int64_t hidden, projection; } rows[] = {{24, 0}, {288, 0}, {250, 100}};
    const Driver *cu = ctx->driver;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 2);
        d.max_steps = 4;
        d.hidden = rows[i].hidden;
        d.projection = rows[i].projection;
        Bench b = bench_of(&d, NULL);
        Result whole = run_whole(&b);
        Rig rig = rig_of(&b, &d);
        const seqtune_rnn_args a = args_of(&b, &rig, 0, d.max_steps, 0);
        CuStream stream = NULL;
        bool pushed = false;
        assert_int_equal(driver_enter(cu, ctx->device.context, &pushed), 0);
        assert_int_equal(cu->StreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
        const CuGraphExec exec = capture(&rig, &a, stream);
        for (int k = 0; k < 2; k++) assert_int_equal(cu->GraphLaunch(exec, stream), 0);
        assert_int_equal(cu->StreamSynchronize(stream), 0);
        Result r = fetch(&b, &rig, 0);
        assert_same(&r, &whole);
        assert_int_equal(cu->GraphExecDestroy(exec), 0);
        assert_int_equal(cu->StreamDestroy(stream), 0);
        driver_leave(cu, pushed);
        result_end(&r);
        result_end(&whole);
        rig_end(&rig);
        bench_end(&b);
    }
}

/* A block of the grid dies: the others give up, the word says in which step, the layer above does
 * not wait again, and the next run is as if nothing had been. */
static void a_dead_block_ends_in_the_error_word(void **state) {
    (void)state;
    int (*kill_block)(const char *, unsigned long long, unsigned long long) = NULL;
    void *symbol = dlsym(ctx->driver->handle, "softgpuKillBlock");
    memcpy(&kill_block, &symbol, sizeof symbol);
    if (kill_block == NULL) skip(); /* a real GPU */
    seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 2);
    d.hidden = 288;
    Bench b = bench_of(&d, NULL);
    Rig rig = rig_of(&b, &d);
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    CHECK(seqtune_plan_get_info(rig.plan, &info));
    assert_has(info.config, "tier=2");
    seqtune_rnn_args a = args_of(&b, &rig, 0, d.max_steps, 0);
    int32_t words[3] = {0}, fill = 77;
    a.error = to_device(&fill, sizeof fill);
    for (int run = 0; run < 3; run++) {
        assert_int_equal(kill_block(run == 1 ? "rnn_seq_grid" : NULL, 3, 2000), 0);
        CHECK(seqtune_run_rnn(rig.plan, &a, rig.workspace, NULL));
        CHECK(seqtune_device_synchronize(ctx));
        CHECK(seqtune_device_download(ctx, &words[run], a.error, 4));
    }
    assert_int_equal(words[0], 0);
    assert_in_range(words[1], 1, d.max_steps);
    assert_int_equal(words[2], 0);
    Result r = fetch(&b, &rig, 0);
    check_reference(&b, &r);
    result_end(&r);
    CHECK(seqtune_device_free(ctx, a.error));
    rig_end(&rig);
    bench_end(&b);
}

static void every_tier_gives_the_same_bits_in_pieces(void **state) {
    (void)state;
    const struct {
        seqtune_rnn_cell cell;
        int64_t hidden, projection;
        const char *tier; /* that the default has on an A100 */
    } rows[] = {
        {SEQTUNE_GRU, 64, 0, "tier=1"},
        {SEQTUNE_GRU, 288, 0, "tier=2"},
        {SEQTUNE_LSTM, 288, 0, "tier=2"},
        {SEQTUNE_LSTM, 250, 100, "tier=3"},
    };
    const bool soft = getenv("SEQTUNE_TEST_GPU") == NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rnn_desc d = layers_of(rows[i].cell, SEQTUNE_F16, 1);
        d.batch = 2;
        d.hidden = rows[i].hidden;
        d.projection = rows[i].projection;
        d.max_steps = 4;
        seqtune_rnn_desc step = d;
        step.max_steps = 1;
        step.flags = SEQTUNE_RNN_SEQUENCE_ORDER;
        step.order_steps = d.max_steps;
        Bench b = bench_of(&d, NULL);
        Rig rig = rig_of(&b, &d);
        seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
        CHECK(seqtune_plan_get_info(rig.plan, &info));
        if (soft) assert_has(info.config, rows[i].tier);
        rig_end(&rig);
        Result whole = run_whole(&b), pieces = run_pieces(&b, &d, 3);
        Result steps = run_pieces(&b, &step, 1);
        check_reference(&b, &whole);
        assert_same(&pieces, &whole);
        assert_same(&steps, &whole);
        result_end(&whole);
        result_end(&pieces);
        result_end(&steps);
        bench_end(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_bidirectional_layers_of_padded_sequences),
        cmocka_unit_test(two_bidirectional_layers_of_packed_sequences),
        cmocka_unit_test(three_layers_of_odd_sizes_in_f32),
        cmocka_unit_test(a_reverse_layer),
        cmocka_unit_test(every_kind_of_cell),
        cmocka_unit_test(chunks_of_the_plan_give_the_bits_of_the_whole),
        cmocka_unit_test(pieces_and_single_steps_give_the_bits_of_the_whole),
        cmocka_unit_test(a_wavefront_gives_the_bits_of_layer_after_layer),
        cmocka_unit_test(steps_of_the_cell_kernel_agree_with_the_reference),
        cmocka_unit_test(c_in_place_gives_the_same_bits),
        cmocka_unit_test(what_is_not_wanted_is_not_written),
        cmocka_unit_test(a_run_of_no_steps_hands_the_states_on),
        cmocka_unit_test(a_captured_run_serves_other_lengths),
        cmocka_unit_test(two_graphs_of_a_step_serve_a_stream),
        cmocka_unit_test(runs_of_every_tier_can_be_captured),
        cmocka_unit_test(a_dead_block_ends_in_the_error_word),
        cmocka_unit_test(every_tier_gives_the_same_bits_in_pieces),
    };
    return cmocka_run_group_tests(tests, rnn_setup, rnn_teardown);
}
