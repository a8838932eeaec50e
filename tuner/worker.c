/* Worker processes: a loop of requests. A compile worker has NVRTC and no driver; an execution
 * worker has one context on one device, as has one that runs a PTX file of the user's. Whatever
 * goes wrong in here costs one trial. */
#include "tuner/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "runtime/context.h"
#include "tuner/bench.h"
#include "tuner/message.h"
#include "tuner/process.h"
#include "tuner/ptx_requests.h"
#include "tuner/stats.h"
#include "tuner/verify/verify.h"

typedef struct WorkerSetup {
    const char *kind;   /* "compile", "run" */
    const char *driver; /* as driver_open takes it */
    const char *cache;  /* NULL: default */
    long long device, driver_version;
    const char *fault; /* NULL: none */
} WorkerSetup;

typedef struct State {
    WorkerSetup setup;
    Nvrtc *nvrtc;
    Cache *cache;
    seqtune_context *ctx;
    PtxRun *ptx;  /* kind "ptx" */
    Arena *arena; /* reset per request */
    int fault_seen;
} State;

/* ---- compile ---- */

static void read_list(const Message *m, const char *prefix, const char **out, size_t max) {
    for (size_t i = 0; i + 1 < max; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s%zu", prefix, i);
        out[i] = message_get(m, key);
        if (!out[i]) return;
    }
    out[max - 1] = NULL;
}

static Status read_output(const Message *m, GenOutput *out, Error *err) {
    *out = (GenOutput){.name = message_get(m, "name"), .arch = message_get(m, "arch")};
    out->source = message_get_bytes(m, "source", &out->source_size);
    const char *hex = message_get(m, "key");
    if (!out->source || !out->name || !out->arch || !hex || !hash_from_hex(hex, &out->key)) {
        return err_set(err, ST_CORRUPT, "a compile request lacks a field");
    }
    read_list(m, "option", out->options, sizeof out->options / sizeof out->options[0]);
    read_list(m, "entry", out->entries, sizeof out->entries / sizeof out->entries[0]);
    return ST_OK;
}

static void put_artifact(const Artifact *a, bool stored, Message *reply) {
    char hex[HASH_HEX_SIZE];
    hash_hex(&a->key, hex);
    message_put(reply, "artifact", hex);
    Hash content = hash_bytes(a->ptx, a->ptx_size);
    hash_hex(&content, hex);
    message_put(reply, "content", hex);
    message_put_int(reply, "registers", artifact_registers(a));
    message_put_int(reply, "spill", artifact_spill_bytes(a));
    message_put_int(reply, "smem", artifact_smem(a));
    message_put_int(reply, "cached", a->from_cache);
    message_put_int(reply, "stored", stored);
    message_put_num(reply, "seconds", a->seconds);
}

static Status do_compile(State *s, const Message *request, Message *reply, Error *err) {
    GenOutput output;
    Status st = read_output(request, &output, err);
    if (st != ST_OK) return st;
    if (!s->nvrtc && (st = nvrtc_open((int)s->setup.driver_version, &s->nvrtc, err)) != ST_OK) {
        /* Not a fault of this variant: the tuner ends with this message. */
        message_put_int(reply, "toolchain", 0);
        return st;
    }
    if (!s->cache && (st = cache_open(s->setup.cache, &s->cache, err)) != ST_OK) return st;
    Hash key = build_key(&output, s->nvrtc->toolchain);
    Artifact artifact = {0};
    bool stored = cache_get(s->cache, &key, s->arena, &artifact);
    if (!stored) {
        st = build_compile(s->nvrtc, &output, s->arena, &artifact, err);
        if (st != ST_OK) return st;
        stored = cache_put(s->cache, &artifact);
    }
    put_artifact(&artifact, stored, reply);
    message_put_int(reply, "nvrtc_version", s->nvrtc->version);
    return ST_OK;
}

/* ---- run ---- */

static Status do_open(State *s, const Message *request, Message *reply, Error *err) {
    (void)request;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = s->setup.driver;
    options.device = (int)s->setup.device;
    options.database = "";
    options.cache_dir = s->setup.cache;
    seqtune_status rc = seqtune_open(&s->ctx, &options);
    if (rc != SEQTUNE_OK) return err_set(err, (Status)rc, "%s", seqtune_open_error());
    message_put_int(reply, "deterministic", s->ctx->device.traits.deterministic);
    return ST_OK;
}

/* The problem of a request in this process's library, checked. */
static Status read_problem(State *s, const Message *m, GenProblem *out, Error *err) {
    const char *op = message_get(m, "op"), *text = message_get(m, "problem");
    if (!s->ctx || !op || !text) return err_set(err, ST_CORRUPT, "a request lacks a field");
    const GenSpec *spec = gen_spec_find(s->ctx->library, op);
    if (!spec) return err_set(err, ST_NOT_FOUND, "no kernel '%s'", op);
    gen_problem_init(spec, out);
    Status st = gen_problem_parse(out, text, err);
    return st == ST_OK ? gen_problem_check(out, err) : st;
}

static Status read_config(const Message *m, const char *key, const GenProblem *problem,
                          GenConfig *out, Error *err) {
    const char *text = message_get(m, key);
    if (!text) return err_set(err, ST_CORRUPT, "a request lacks '%s'", key);
    return gen_config_parse(problem->spec, text, out, err);
}

static Status do_verify(State *s, const Message *request, Message *reply, Error *err) {
    GenProblem problem;
    GenConfig config;
    Status st = read_problem(s, request, &problem, err);
    if (st == ST_OK) st = read_config(request, "config", &problem, &config, err);
    if (st != ST_OK) return st;
    VerifyResult result = {0};
    st = verify_variant(s->ctx, gen_spec_name(problem.spec), &problem, &config, VERIFY_QUICK,
                        &result, err);
    if (st != ST_OK) return st;
    /* Written so that a NaN is out as well. */
    if (!(result.worst_ratio <= 1)) {
        return err_set(err, ST_WRONG, "error is %.3g times the limit: %s", result.worst_ratio,
                       result.failed_case);
    }
    message_put_num(reply, "ratio", result.worst_ratio);
    message_put_num(reply, "error", result.max_abs_error);
    return ST_OK;
}

static Status do_time(State *s, const Message *request, Message *reply, Error *err) {
    GenProblem problem;
    GenConfig config;
    Bench *bench = NULL;
    double seconds[STATS_MAX];
    size_t index = 0, count = 0;
    Status st = read_problem(s, request, &problem, err);
    if (st == ST_OK) st = read_config(request, "config", &problem, &config, err);
    if (st == ST_OK) st = bench_open(s->ctx, &problem, false, &bench, err);
    if (st == ST_OK) st = bench_add(bench, &config, &index, err);
    if (st == ST_OK) {
        st = bench_time(bench, index, message_get_num(request, "limit", 0), seconds, STATS_MAX,
                        &count, err);
    }
    if (st == ST_OK) message_put_nums(reply, "times", seconds, count);
    bench_close(bench);
    return st;
}

static Status do_final(State *s, const Message *request, Message *reply, Error *err) {
    GenProblem problem;
    Bench *bench = NULL;
    double seconds[BENCH_MAX_PLANS * STATS_MAX];
    size_t rounds = 0, count = 0;
    Status st = read_problem(s, request, &problem, err);
    if (st == ST_OK) st = bench_open(s->ctx, &problem, false, &bench, err);
    for (size_t i = 0; st == ST_OK && i < BENCH_MAX_PLANS; i++) {
        char key[32];
        snprintf(key, sizeof key, "config%zu", i);
        if (!message_get(request, key)) break;
        GenConfig config;
        st = read_config(request, key, &problem, &config, err);
        if (st == ST_OK) st = bench_add(bench, &config, &count, err);
        count = i + 1;
    }
    if (st == ST_OK) st = bench_rounds(bench, seconds, STATS_MAX, &rounds, err);
    for (size_t i = 0; st == ST_OK && i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "times%zu", i);
        message_put_nums(reply, key, seconds + i * STATS_MAX, rounds);
    }
    bench_close(bench);
    return st;
}

/* ---- kernels of others ---- */

static Status do_ptx_open(State *s, const Message *request, Message *reply, Error *err) {
    return ptx_serve_open(&s->ptx, s->setup.driver, (int)s->setup.device, request, reply, err);
}

static Status do_ptx_step(State *s, const Message *request, Message *reply, Error *err) {
    return ptx_serve_step(s->ptx, request, reply, err);
}

/* ---- the loop ---- */

/* "time:crash:2": true when this request is the second `time`. */
static bool fault_due(State *s, const char *request, char kind[16]) {
    char name[16];
    int at = 1;
    if (!s->setup.fault || sscanf(s->setup.fault, "%15[a-z]:%15[a-z]:%d", name, kind, &at) < 2) {
        return false;
    }
    return strcmp(name, request) == 0 && ++s->fault_seen == at;
}

/* Breaks this worker in the way named; returns only for "sticky", as a device error would. */
static Status break_down(const char *kind, Error *err) {
    if (strcmp(kind, "crash") == 0) raise(SIGILL);
    if (strcmp(kind, "exit") == 0) _exit(7);
    if (strcmp(kind, "hang") == 0) {
        for (;;) pause();
    }
    if (strcmp(kind, "garbage") == 0) {
        ssize_t n = write(WORKER_REPLY_FD, "not a frame at all", 18);
        _exit(n == 18 ? 0 : 1);
    }
    return err_set(err, ST_DRIVER, "CUDA_ERROR_ILLEGAL_ADDRESS (asked for by the test)");
}

static const struct {
    const char *name, *kind;
    Status (*serve)(State *s, const Message *request, Message *reply, Error *err);
} requests[] = {
    {"compile", "compile", do_compile}, {"open", "run", do_open},   {"verify", "run", do_verify},
    {"time", "run", do_time},           {"final", "run", do_final}, {"ptx", "ptx", do_ptx_open},
    {"step", "ptx", do_ptx_step},
};

static Status serve(State *s, const Message *request, Message *reply, Error *err) {
    const char *name = message_get(request, "request");
    char kind[16] = "";
    for (size_t i = 0; name && i < sizeof requests / sizeof requests[0]; i++) {
        if (strcmp(requests[i].name, name) != 0 || strcmp(requests[i].kind, s->setup.kind) != 0) {
            continue;
        }
        if (fault_due(s, name, kind)) return break_down(kind, err);
        return requests[i].serve(s, request, reply, err);
    }
    return err_set(err, ST_CORRUPT, "unknown request '%s'", name ? name : "");
}

static int loop(State *s) {
    MessageReader reader = {0};
    Message request = {0}, reply = {0}, whole = {0};
    int code = 1;
    for (;;) {
        Error err = {0};
        Status st = message_read(&reader, WORKER_REQUEST_FD, &request, &err);
        if (st != ST_OK) {
            code = st == ST_NOT_FOUND ? 0 : 1;
            break;
        }
        message_clear(&reply);
        message_clear(&whole);
        arena_reset(s->arena);
        st = serve(s, &request, &reply, &err);
        message_put_int(&whole, "status", st);
        if (st != ST_OK) message_put(&whole, "message", err.message);
        if (reply.body.len > 0) str_append(&whole.body, reply.body.data, reply.body.len);
        if (message_write(WORKER_REPLY_FD, &whole, &err) != ST_OK) break;
    }
    message_reader_free(&reader);
    message_free(&request);
    message_free(&reply);
    message_free(&whole);
    return code;
}

static bool parse_setup(int argc, char *const *argv, WorkerSetup *out) {
    *out = (WorkerSetup){.kind = "", .device = -1};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--worker") == 0)
            out->kind = value;
        else if (strcmp(name, "--driver") == 0)
            out->driver = value;
        else if (strcmp(name, "--cache") == 0)
            out->cache = value;
        else if (strcmp(name, "--fault") == 0)
            out->fault = value;
        else if (strcmp(name, "--device") == 0 && str_to_i64(value, &out->device))
            continue;
        else if (strcmp(name, "--driver-version") == 0 && str_to_i64(value, &out->driver_version))
            continue;
        else
            return false;
    }
    return strcmp(out->kind, "compile") == 0 || strcmp(out->kind, "run") == 0 ||
           strcmp(out->kind, "ptx") == 0;
}

int worker_main(int argc, char *const *argv) {
    State s = {0};
    worker_child_init();
    if (!parse_setup(argc, argv, &s.setup)) return 2;
    /* Verification runs with every content check unless the user says otherwise. */
    if (strcmp(s.setup.kind, "run") == 0) (void)setenv("SOFTGPU_CHECKS", "all", 0);
    s.arena = arena_new();
    int code = s.arena ? loop(&s) : 1;
    run_close(s.ptx);
    seqtune_close(s.ctx);
    nvrtc_close(s.nvrtc);
    cache_close(s.cache);
    arena_free(s.arena);
    return code;
}
