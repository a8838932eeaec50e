/* Device buffers, events, rounds. See bench.h for the policy. */
#include "tuner/bench.h"

#include "base/mem.h"
#include "runtime/plan.h"
#include "tuner/bench_inputs.h"
#include "tuner/process.h"
#include "tuner/stats.h"

enum {
    WARMUP = 3,     /* the first launches pay for instruction cache and clock ramp */
    MIN_ROUNDS = 7, /* 7 medians are within 2.3 % of the truth on public data, 1 within 8.5 % */
    MAX_ROUNDS = 31,
    FILL_BYTES = 1 << 20, /* one random block, repeated: power draw depends on toggling bits */
};
static const double enough_s = 0.4;        /* of device time per configuration */
static const size_t flush_least = 1 << 26; /* when the driver does not tell the L2 size */

struct Bench {
    seqtune_context *ctx;
    const Driver *driver;
    const GenProblem *problem;
    PlanDesc desc;
    CuDeviceptr buffer[BENCH_MAX_BUFFERS]; /* 0: the description asks for none */
    CuDeviceptr flush, workspace;
    size_t flush_bytes, workspace_bytes;
    CuStream stream;
    CuEvent begin, end;
    seqtune_plan *plan[BENCH_MAX_PLANS];
    size_t plan_count;
    bool pushed; /* the context was made current by bench_open */
    bool sample; /* launches run sampled blocks */
};

#define TRY(call, name)                                                                            \
    do {                                                                                           \
        Status try_status = driver_check(b->driver, b->driver->call, name, err);                   \
        if (try_status != ST_OK) return try_status;                                                \
    } while (0)

/* Halves in (-1, 1) from a fixed linear congruential sequence (Knuth's MMIX constants). Both f16
 * and bf16 read sign and mantissa bits as ordinary numbers: the exponent field is kept at
 * 0x38/0x3e. */
static Status fill(Bench *b, CuDeviceptr at, size_t bytes, Error *err) {
    uint16_t *block = mem_alloc(FILL_BYTES);
    if (!block) return err_no_memory(err, FILL_BYTES);
    uint64_t x = 1;
    for (size_t i = 0; i < FILL_BYTES / 2; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        block[i] = (uint16_t)(((x >> 48) & 0x83ff) | 0x3800);
    }
    Status st = ST_OK;
    for (size_t done = 0; done < bytes && st == ST_OK; done += FILL_BYTES) {
        size_t n = bytes - done < FILL_BYTES ? bytes - done : FILL_BYTES;
        st = driver_check(b->driver, b->driver->MemcpyHtoD(at + done, block, n), "cuMemcpyHtoD",
                          err);
    }
    mem_free(block);
    return st;
}

/* Sampled launches do not look at contents, but at lengths and tables. */
static Status buffer(Bench *b, const BenchBuffer *wanted, CuDeviceptr *at, Error *err) {
    if (wanted->bytes > 1e15)
        return err_set(err, ST_LIMIT, "a tensor of %.3g bytes", wanted->bytes);
    const size_t size = wanted->bytes < 16 ? 16 : (size_t)wanted->bytes;
    TRY(MemAlloc(at, size), "cuMemAlloc");
    if (wanted->ints != NULL)
        return driver_check(b->driver,
                            b->driver->MemcpyHtoD(*at, wanted->ints, (size_t)wanted->bytes),
                            "cuMemcpyHtoD", err);
    return b->sample ? ST_OK : fill(b, *at, size, err);
}

static Status buffers(Bench *b, Error *err) {
    BenchBuffer all[BENCH_MAX_BUFFERS] = {{0}};
    Arena *arena = arena_new();
    if (arena == NULL) return err_no_memory(err, 1);
    Status st = bench_inputs(&b->desc, arena, all, err);
    for (int i = 0; i < BENCH_MAX_BUFFERS && st == ST_OK; i++)
        if (all[i].bytes > 0) st = buffer(b, &all[i], &b->buffer[i], err);
    arena_free(arena);
    return st;
}

static Status prepare(Bench *b, Error *err) {
    Status st = plan_desc_of_problem(b->problem, &b->desc, err);
    if (st != ST_OK) return st;
    TRY(StreamCreate(&b->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    TRY(EventCreate(&b->begin, 0), "cuEventCreate");
    TRY(EventCreate(&b->end, 0), "cuEventCreate");
    if (!b->ctx->device.traits.deterministic) {
        /* Twice the L2, so that nothing of the last launch stays whatever the replacement rule. */
        size_t l2 = (size_t)b->ctx->device.gpu.l2_bytes;
        b->flush_bytes = 2 * l2 > flush_least ? 2 * l2 : flush_least;
        TRY(MemAlloc(&b->flush, b->flush_bytes), "cuMemAlloc");
    }
    return buffers(b, err);
}

Status bench_open(seqtune_context *ctx, const GenProblem *problem, bool full, Bench **out,
                  Error *err) {
    *out = NULL;
    Bench *b = mem_alloc(sizeof *b);
    if (!b) return err_no_memory(err, sizeof *b);
    b->ctx = ctx;
    b->driver = ctx->driver;
    b->problem = problem;
    b->sample = !full && ctx->device.traits.can_sample != 0;
    Status st = driver_check(b->driver, driver_enter(b->driver, ctx->device.context, &b->pushed),
                             "cuCtxPushCurrent", err);
    if (st == ST_OK) st = prepare(b, err);
    if (st != ST_OK) {
        bench_close(b);
        return st;
    }
    *out = b;
    return ST_OK;
}

void bench_close(Bench *b) {
    if (!b) return;
    for (size_t i = 0; i < b->plan_count; i++) seqtune_plan_destroy(b->plan[i]);
    for (int i = 0; i < BENCH_MAX_BUFFERS; i++)
        if (b->buffer[i]) b->driver->MemFree(b->buffer[i]);
    if (b->workspace) b->driver->MemFree(b->workspace);
    if (b->flush) b->driver->MemFree(b->flush);
    if (b->begin) b->driver->EventDestroy(b->begin);
    if (b->end) b->driver->EventDestroy(b->end);
    if (b->stream) b->driver->StreamDestroy(b->stream);
    driver_leave(b->driver, b->pushed);
    mem_free(b);
}

/* Plans run in turn, so one workspace of the largest size serves all. */
static Status grow_workspace(Bench *b, size_t bytes, Error *err) {
    if (bytes <= b->workspace_bytes) return ST_OK;
    if (b->workspace) b->driver->MemFree(b->workspace);
    b->workspace = 0;
    b->workspace_bytes = 0;
    TRY(MemAlloc(&b->workspace, bytes), "cuMemAlloc (workspace)");
    b->workspace_bytes = bytes;
    return ST_OK;
}

Status bench_add(Bench *b, const GenConfig *config, size_t *index, Error *err) {
    if (b->plan_count == BENCH_MAX_PLANS) {
        return err_set(err, ST_LIMIT, "more than %d plans side by side", BENCH_MAX_PLANS);
    }
    seqtune_plan *plan;
    Status st = plan_create(b->ctx, gen_spec_name(b->problem->spec), &b->desc, config, &plan, err);
    if (st != ST_OK) return st;
    b->plan[b->plan_count] = plan;
    *index = b->plan_count++;
    return grow_workspace(b, seqtune_plan_workspace(plan), err);
}

const seqtune_plan *bench_plan(const Bench *b, size_t index) {
    return b->plan[index];
}

Status bench_set_keys(Bench *b, int64_t len_kv, Error *err) {
    int64_t count = 0;
    const CuDeviceptr lens = bench_lengths(&b->desc, b->buffer, &count);
    if (!lens) return err_set(err, ST_UNSUPPORTED, "this problem has no lengths on the device");
    TRY(MemsetD32Async(lens, (unsigned)len_kv, (size_t)count, b->stream), "cuMemsetD32Async");
    b->sample = false;
    return ST_OK;
}

Status bench_launch(Bench *b, size_t index, double *seconds, Error *err) {
    float ms = 0;
    Status st = driver_set_mode(b->driver, b->sample ? LAUNCH_TIMING : LAUNCH_FULL, err);
    if (st != ST_OK) return st;
    if (b->flush) {
        TRY(MemsetD32Async(b->flush, 0x5a5a5a5au, b->flush_bytes / 4, b->stream), "cuMemsetD32");
    }
    TRY(EventRecord(b->begin, b->stream), "cuEventRecord");
    st = bench_run(b->ctx, &b->desc, b->plan[index], b->buffer, b->workspace, b->stream, err);
    if (st == ST_OK) {
        TRY(EventRecord(b->end, b->stream), "cuEventRecord");
        TRY(EventSynchronize(b->end), "the launch");
        TRY(EventElapsedTime(&ms, b->begin, b->end), "cuEventElapsedTime");
        *seconds = 1e-3 * (double)ms;
    }
    Status off = driver_set_mode(b->driver, LAUNCH_FULL, st == ST_OK ? err : NULL);
    return st != ST_OK ? st : off;
}

Status bench_time(Bench *b, size_t index, double limit_s, double *seconds, size_t max,
                  size_t *count, Error *err) {
    bool once = b->ctx->device.traits.deterministic != 0;
    Status st = ST_OK;
    double ignored, started = process_now();
    *count = 0;
    for (int i = 0; i < WARMUP && !once && st == ST_OK; i++) {
        st = bench_launch(b, index, &ignored, err);
    }
    while (st == ST_OK && *count < max && *count < MAX_ROUNDS) {
        if ((st = bench_launch(b, index, &seconds[*count], err)) != ST_OK) break;
        ++*count;
        if (once) break;
        if (*count < MIN_ROUNDS) continue;
        if (process_now() - started > enough_s) break;
        /* Racing: this one cannot win any more. */
        if (limit_s > 0 && stats_spread(seconds, *count).low > limit_s) break;
    }
    return st;
}

Status bench_rounds(Bench *b, double *seconds, size_t max, size_t *rounds, Error *err) {
    Status st = ST_OK;
    double ignored;
    for (size_t i = 0; i < b->plan_count * WARMUP && st == ST_OK; i++) {
        st = bench_launch(b, i % b->plan_count, &ignored, err);
    }
    double started = process_now();
    *rounds = 0;
    while (st == ST_OK && *rounds < max && *rounds < MAX_ROUNDS) {
        for (size_t i = 0; i < b->plan_count && st == ST_OK; i++) {
            /* Who goes first rotates: the first after a pause sees another clock. */
            size_t plan = (i + *rounds) % b->plan_count;
            st = bench_launch(b, plan, &seconds[plan * max + *rounds], err);
        }
        if (st != ST_OK) break;
        ++*rounds;
        if (*rounds >= MIN_ROUNDS && process_now() - started > enough_s * (double)b->plan_count) {
            break;
        }
    }
    return st;
}
