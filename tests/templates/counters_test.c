/* What attn_prefill's default configuration does on the software GPU, counted by it: shared memory
 * without bank conflicts, no local memory, asynchronous copies in flight, and exactly the products
 * that the visible tiles need; and what attn_decode's blocks without keys do: nothing. Numbers
 * written are judged elsewhere (tests/verify). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/context.h"
#include "runtime/plan.h"
#include "tests/verify/devices.h"

typedef struct Shape {
    int head_dim, heads, length;
    seqtune_mask mask;
    int window_left; /* -1: none */
} Shape;

static const Shape shapes[] = {
    {64, 2, 300, SEQTUNE_MASK_CAUSAL, -1},  {64, 2, 256, SEQTUNE_MASK_NONE, -1},
    {96, 2, 300, SEQTUNE_MASK_CAUSAL, -1},  {96, 2, 300, SEQTUNE_MASK_CAUSAL, 70},
    {128, 2, 300, SEQTUNE_MASK_CAUSAL, -1}, {128, 2, 300, SEQTUNE_MASK_NONE, -1},
    {128, 2, 300, SEQTUNE_MASK_CAUSAL, 70},
};

static void must(seqtune_context *ctx, seqtune_status status) {
    if (status != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
}

static int64_t axis(const seqtune_plan *plan, const char *name) {
    int64_t value = 0;
    assert_true(gen_config_get(plan_get_problem(plan)->spec, plan_get_config(plan), name, &value));
    return value;
}

/* mma of one head, from the definition of the mask: a block of rows needs every tile of which some
 * row of it sees some key. */
static uint64_t expected_mma(const Shape *shape, const seqtune_plan *plan, bool k8) {
    const int64_t m = axis(plan, "block_m"), n = axis(plan, "block_n"), length = shape->length;
    uint64_t tiles = 0;
    for (int64_t row = 0; row < length; row += m) {
        const int64_t last_row = row + m < length ? row + m - 1 : length - 1;
        for (int64_t key = 0; key < length; key += n) {
            const int64_t last_key = key + n < length ? key + n - 1 : length - 1;
            bool seen = shape->mask == SEQTUNE_MASK_NONE || key <= last_row;
            if (shape->window_left >= 0) seen = seen && last_key >= row - shape->window_left;
            tiles += seen;
        }
    }
    /* Q K^T and P V: m/16 x n/8 x d/16 products each, two of half the depth on sm_75. */
    return tiles * (uint64_t)(m * n * shape->head_dim / 1024) * (k8 ? 2 : 1);
}

static seqtune_plan *make_plan(seqtune_context *ctx, const Shape *shape) {
    seqtune_attention_desc desc = SEQTUNE_ATTENTION_DESC_INIT;
    seqtune_plan *plan = NULL;
    desc.dtype = SEQTUNE_F16;
    desc.heads_q = shape->heads;
    desc.head_dim = shape->head_dim;
    desc.max_len_q = shape->length;
    desc.mask = shape->mask;
    if (shape->window_left >= 0)
        desc.window = (seqtune_window){SEQTUNE_WINDOW_LEFT, shape->window_left, 0};
    must(ctx, seqtune_plan_attention(ctx, &desc, &plan));
    return plan;
}

/* f16 values between 0.5 and 1, different from one another. */
static void upload(seqtune_context *ctx, seqtune_device_ptr to, size_t count) {
    uint16_t *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) values[i] = (uint16_t)(0x3800u + i * 37u % 1024u);
    must(ctx, seqtune_device_upload(ctx, to, values, count * sizeof *values));
    free(values);
}

static void run(seqtune_context *ctx, const Shape *shape, seqtune_plan *plan,
                DeviceLaunchStats *stats) {
    const size_t count = (size_t)shape->heads * (size_t)shape->length * (size_t)shape->head_dim;
    seqtune_attention_args args = SEQTUNE_ATTENTION_ARGS_INIT;
    seqtune_device_ptr *const buffers[] = {&args.q, &args.k, &args.v, &args.o};
    for (size_t i = 0; i < 4; i++) {
        must(ctx, seqtune_device_alloc(ctx, count * 2, buffers[i]));
        if (i < 3) upload(ctx, *buffers[i], count);
    }
    must(ctx, seqtune_run_attention(plan, &args, 0, NULL));
    must(ctx, seqtune_device_synchronize(ctx));
    *stats = (DeviceLaunchStats){.size = sizeof *stats};
    assert_non_null(ctx->driver->LastLaunch);
    assert_int_equal(ctx->driver->CtxPushCurrent(ctx->device.context), 0);
    assert_int_equal(ctx->driver->LastLaunch(stats), 0);
    CuContext popped;
    assert_int_equal(ctx->driver->CtxPopCurrent(&popped), 0);
    for (size_t i = 0; i < 4; i++) must(ctx, seqtune_device_free(ctx, *buffers[i]));
}

static void check(const char *gpu, const Shape *shape, const seqtune_plan *plan,
                  const DeviceLaunchStats *stats) {
    const bool turing = strcmp(gpu, "t4") == 0;
    const uint64_t heads = (uint64_t)shape->heads;
    if (stats->shared_conflicts || stats->local_access)
        fail_msg("%s head_dim %d: %llu bank conflicts, %llu local accesses", gpu, shape->head_dim,
                 stats->shared_conflicts, stats->local_access);
    assert_int_equal(stats->mma, heads * expected_mma(shape, plan, turing));
    if (turing)
        assert_int_equal(stats->cp_async, 0);
    else
        assert_true(stats->max_async_groups >= 2);
}

static void the_default_has_no_conflicts_and_only_needed_products(void **state) {
    (void)state;
    for (int d = 0; d < devices.count; d++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            DeviceLaunchStats stats;
            seqtune_plan *plan = make_plan(devices.ctx[d], &shapes[i]);
            run(devices.ctx[d], &shapes[i], plan, &stats);
            check(devices.name[d], &shapes[i], plan, &stats);
            seqtune_plan_destroy(plan);
        }
    }
}

/* ---- blocks that their sequence has no keys for ---- */

enum { DECODE_DIM = 128, DECODE_GROUP = 4, OWN_KEYS = 200, GROWTH = 64 };

/* Q, K, V, O; returns the plan's arguments. */
static seqtune_attention_args decode_args(seqtune_context *ctx, size_t capacity) {
    const int length = OWN_KEYS;
    seqtune_attention_args args = SEQTUNE_ATTENTION_ARGS_INIT;
    seqtune_device_ptr *const buffers[] = {&args.q, &args.k, &args.v, &args.o};
    seqtune_device_ptr lens = 0;
    for (size_t i = 0; i < 4; i++) {
        const size_t count = (i % 3 ? capacity : DECODE_GROUP) * DECODE_DIM;
        must(ctx, seqtune_device_alloc(ctx, count * 2, buffers[i]));
        upload(ctx, *buffers[i], count);
    }
    must(ctx, seqtune_device_alloc(ctx, sizeof length, &lens));
    must(ctx, seqtune_device_upload(ctx, lens, &length, sizeof length));
    args.lens_kv = lens;
    return args;
}

static void decode_release(seqtune_context *ctx, const seqtune_attention_args *args) {
    const seqtune_device_ptr all[] = {args->q, args->k, args->v, args->o, args->lens_kv};
    for (size_t i = 0; i < 5; i++) must(ctx, seqtune_device_free(ctx, all[i]));
}

/* What attn_decode's first kernel does for OWN_KEYS keys under a plan for `capacity`; returns the
 * warps of a block. */
static uint64_t run_decode(seqtune_context *ctx, int capacity, DeviceLaunchStats *stats) {
    seqtune_attention_desc desc = SEQTUNE_ATTENTION_DESC_INIT;
    seqtune_plan *plan = NULL;
    seqtune_device_ptr workspace = 0;
    const Driver *const driver = ctx->driver;
    char entry[64] = "";
    CuContext popped;
    desc.heads_q = DECODE_GROUP;
    desc.heads_kv = 1;
    desc.head_dim = DECODE_DIM;
    desc.max_len_q = 1;
    desc.max_len_kv = capacity;
    desc.device_lengths = 1;
    must(ctx, seqtune_plan_attention(ctx, &desc, &plan));
    const seqtune_attention_args args = decode_args(ctx, (size_t)capacity);
    const size_t bytes = seqtune_plan_workspace(plan);
    if (bytes > 0) must(ctx, seqtune_device_alloc(ctx, bytes, &workspace));
    *stats = (DeviceLaunchStats){.size = sizeof *stats};
    assert_int_equal(driver->CtxPushCurrent(ctx->device.context), 0);
    assert_int_equal(driver->SetProfile(1), 0);
    must(ctx, seqtune_run_attention(plan, &args, workspace, NULL));
    must(ctx, seqtune_device_synchronize(ctx));
    assert_int_equal(driver->SelectLaunch(0, entry, sizeof entry), 0);
    assert_int_equal(driver->LastLaunch(stats), 0);
    assert_int_equal(driver->SetProfile(0), 0);
    assert_int_equal(driver->CtxPopCurrent(&popped), 0);
    assert_string_equal(entry, "attn_decode");
    must(ctx, seqtune_device_free(ctx, workspace));
    decode_release(ctx, &args);
    const uint64_t warps = (uint64_t)axis(plan, "warps");
    seqtune_plan_destroy(plan);
    return warps;
}

/* A captured plan has room for 64 times the keys: the blocks for them read the length, which is a
 * sector per warp, and nothing of Q, K or V. */
static void empty_blocks_end_before_any_load(void **state) {
    (void)state;
    for (int d = 0; d < devices.count; d++) {
        DeviceLaunchStats own, room;
        const uint64_t warps = run_decode(devices.ctx[d], OWN_KEYS, &own);
        const uint64_t same = run_decode(devices.ctx[d], OWN_KEYS * GROWTH, &room);
        const uint64_t more = room.blocks - own.blocks;
        assert_int_equal(same, warps);
        assert_true(room.blocks > 4 * own.blocks);
        assert_int_equal(room.blocks_run, room.blocks);
        assert_int_equal(room.mma, own.mma);
        assert_int_equal(room.cp_async, own.cp_async);
        assert_int_equal(room.ldmatrix, own.ldmatrix);
        assert_in_range(room.global_sectors, own.global_sectors, own.global_sectors + more * warps);
    }
}

int main(void) {
    if (getenv("SEQTUNE_TEST_GPU")) return 0; /* a real GPU counts nothing for us */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_has_no_conflicts_and_only_needed_products),
        cmocka_unit_test(empty_blocks_end_before_any_load),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
