/* Fuzz target: any bytes as a PTX module; what loads is executed, a few warps of its first kernel.
 *
 * Hostile PTX may be refused or may fault, but never harm the host: no stray access, no leak, no
 * endless loop, no more memory than the model has. Checked besides: a failure has a message and
 * leaves no module, figures of a kernel are in range, and a second run gives the same bytes and the
 * same fault. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/exec/exec.h"
#include "softgpu/exec/module.h"
#include "softgpu/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Undefined behaviour ends the run as a stray access does. */
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) {
    return "halt_on_error=1:print_stacktrace=1";
}

enum {
    MAX_TEXT = 1 << 16,
    BUFFER = 4096,       /* every 64-bit parameter points at one buffer of this size */
    PARAMS = 32768,      /* the most that a launch can have, rounded up */
    INSTRUCTIONS = 4096, /* of the grid, about: warps are stopped between turns */
    SPINS = 4096,
    DYNAMIC_SMEM = 256,
    MAX_LOCAL = 1 << 16, /* bytes per thread; more is legal and only slow */
    DRIVER = 13000
};

static void check(bool condition) {
    if (!condition) abort();
}

typedef struct Run {
    Status status;
    SgFault fault;
    uint8_t buffer[BUFFER];
} Run;

/* What the driver refuses before it executes (cuLaunchKernel, cuFuncSetAttribute). */
static bool launchable(const SgKernelInfo *info, const GpuArch *arch) {
    check(info->static_smem >= 0 && info->local_bytes >= 0);
    check(info->param_bytes >= 0 && info->param_bytes <= PARAMS);
    return info->static_smem + DYNAMIC_SMEM <= arch->smem_block && info->local_bytes <= MAX_LOCAL;
}

static void fill_params(const SgKernelInfo *info, uint64_t buffer, uint8_t *params) {
    memset(params, 7, PARAMS);
    for (size_t i = 0; i < info->param_count; i++) {
        check(info->param_offset[i] + info->param_size[i] <= (uint32_t)info->param_bytes);
        if (info->param_size[i] == 8) memcpy(params + info->param_offset[i], &buffer, 8);
    }
}

static void run(const SgKernel *kernel, const GpuModel *model, uint64_t buffer, uint8_t *params,
                uint32_t warps, Run *out) {
    Arena *arena = arena_new();
    Error err = {.status = ST_OK, .message = ""};
    uint8_t *const bytes = (uint8_t *)(uintptr_t)buffer;
    for (int i = 0; i < BUFFER; i++) bytes[i] = (uint8_t)(i * 37);
    fill_params(sg_kernel_info(kernel), buffer, params);
    SgLaunch launch = {.kernel = kernel,
                       .grid = {2, 1, 1},
                       .block = {20, warps, 1}, /* part of a warp, or a warp and a quarter */
                       .dynamic_smem = DYNAMIC_SMEM,
                       .params = params,
                       .resident = 2,
                       .threads = 1,
                       .model = model,
                       .spin_limit = SPINS,
                       .instruction_limit = INSTRUCTIONS};
    memset(out, 0, sizeof *out);
    if (arena) out->status = sg_execute(&launch, arena, &err);
    check(out->status == ST_OK || err.message[0]);
    check(!launch.fault.faulted || (launch.fault.cuda_result && launch.fault.text[0]));
    out->fault = launch.fault;
    memcpy(out->buffer, bytes, BUFFER);
    arena_free(arena);
}

/* %clock and atomics on a location that both blocks reach are the same too: one host thread. */
static void use(const SgModule *module, const GpuModel *model, uint8_t *params, size_t size) {
    static Run first, second;
    static uint64_t buffer; /* kept: releasing walks the whole address range */
    const SgKernel *const kernel = module->kernel_count ? &module->kernels[0] : NULL;
    Error err;
    if (!kernel || !launchable(sg_kernel_info(kernel), model->arch)) return;
    check(sg_module_kernel(module, sg_kernel_info(kernel)->name) != NULL);
    if (!buffer && sg_mem_alloc(0, &buffer, BUFFER, UINT64_MAX, &buffer, &err) != ST_OK) return;
    const uint32_t warps = 1 + (uint32_t)(size & 1);
    run(kernel, model, buffer, params, warps, &first);
    /* With variables of the module the first run may have left them changed. */
    if (module->global_count == 0 && size % 8 < 2) {
        run(kernel, model, buffer, params, warps, &second);
        check(first.status == second.status && first.fault.faulted == second.fault.faulted);
        check(first.fault.cuda_result == second.fault.cuda_result);
        check(memcmp(first.buffer, second.buffer, BUFFER) == 0);
    }
}

/* --- mutation: PTX stays PTX when whole lines and whole words move --- */

typedef struct Span {
    size_t at, length;
} Span;

static uint64_t random_next(uint64_t *state) { /* xorshift64 */
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static size_t random_below(uint64_t *state, size_t n) {
    return n ? (size_t)(random_next(state) % n) : 0;
}

static bool is_word(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '%' || c == '$';
}

/* The line, with its newline, around a random place. */
static Span random_line(const uint8_t *data, size_t size, uint64_t *state) {
    size_t first = random_below(state, size), last = first;
    while (first > 0 && data[first - 1] != '\n') first--;
    while (last < size && data[last] != '\n') last++;
    return (Span){first, last - first + (last < size)};
}

/* The word at or behind a random place; empty at the end of the text. */
static Span random_word(const uint8_t *data, size_t size, uint64_t *state) {
    size_t first = random_below(state, size);
    while (first < size && !is_word(data[first])) first++;
    while (first > 0 && first < size && is_word(data[first - 1])) first--;
    size_t last = first;
    while (last < size && is_word(data[last])) last++;
    return (Span){first, last - first};
}

/* A word that could stand where `to` stands: the same first two characters ("%r", ".u"). */
static Span like_word(const uint8_t *data, size_t size, Span to, uint64_t *state) {
    Span from = {0, 0};
    for (int tries = 0; tries < 16; tries++) {
        from = random_word(data, size, state);
        if (from.length > 1 && to.length > 1 && memcmp(data + from.at, data + to.at, 2) == 0) break;
    }
    return from;
}

static size_t put(uint8_t *data, size_t size, size_t max_size, Span to, const char *text,
                  size_t length) {
    if (size - to.length + length > max_size) return size;
    memmove(data + to.at + length, data + to.at + to.length, size - to.at - to.length);
    memcpy(data + to.at, text, length);
    return size - to.length + length;
}

/* Words that make instructions of other types, and values at the edges. */
static const char *const words[] = {
    "u8",         "s16",
    "u32",        "s32",
    "b32",        "u64",
    "b64",        "f16",
    "f32",        "f64",
    "f16x2",      "bf16",
    "bf16x2",     "pred",
    "v2",         "v4",
    "cc",         "sat",
    "ftz",        "rn",
    "rz",         "approx",
    "wide",       "lo",
    "hi",         "shared",
    "global",     "local",
    "param",      "const",
    "x1",         "trans",
    "sync",       "0",
    "1",          "-1",
    "4096",       "0x7fffffff",
    "31",         "%r1",
    "%rd1",       "%p1",
    "%tid",       "%clock64",
    "data",       "0f7F800000",
    "%ctaid",     "volatile",
    "relaxed",    "acquire",
    "gpu",        "add",
    "sub",        "mul",
    "ld",         "st",
    "atom",       "cvt",
    "setp",       "bra",
    "4294967296", "18446744073709551615",
    "align",      "extern",
    "maxntid",    "branchtargets",
    "call",
};

static size_t mutate_once(uint8_t *data, size_t size, size_t max_size, uint64_t *state) {
    static char copy[MAX_TEXT];
    const size_t how = random_below(state, 8);
    const bool line = how < 4;
    Span to = (line ? random_line : random_word)(data, size, state);
    const Span from = line ? random_line(data, size, state) : like_word(data, size, to, state);
    const char *const word = words[random_below(state, sizeof words / sizeof *words)];
    if (from.length > sizeof copy) return size;
    memcpy(copy, data + from.at, from.length);
    if (how == 0) return put(data, size, max_size, to, "", 0);
    if (how == 7) return put(data, size, max_size, to, word, strlen(word));
    if (how < 3) to.length = 0; /* insert the line; else replace */
    return put(data, size, max_size, to, copy, from.length);
}

/* Mostly one line or word, so that much of what loaded loads again; one in sixteen times bytes as
 * libFuzzer changes them. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    random_next(&state);
    if (size == 0 || random_below(&state, 16) == 0) return LLVMFuzzerMutate(data, size, max_size);
    const size_t times = random_below(&state, 4) ? 1 : 2 + random_below(&state, 4);
    for (size_t i = 0; i < times; i++) size = mutate_once(data, size, max_size, &state);
    return size;
}

static bool mentions(const uint8_t *data, size_t size, const char *word) {
    return memmem(data, size, word, strlen(word)) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > MAX_TEXT) return 0;
    /* The newest GPU takes what others take, but for code of sm_90a alone. */
    const GpuModel *const model =
        gpu_model_find(mentions(data, size, "sm_90a") ? "h100" : "rtx5090");
    char *const text = malloc(size ? size : 1); /* exact size: reading past the end is caught */
    uint8_t *const params = malloc(PARAMS);
    SgModule *module = NULL;
    Error err = {.status = ST_OK, .message = ""};
    if (text && params) {
        memcpy(text, data, size);
        const Status st = sg_module_load(text, size, model->arch, DRIVER, &module, &err);
        check(st == ST_OK ? module != NULL : module == NULL && err.message[0]);
        check(st == ST_OK || st == err.status);
        if (st == ST_OK) use(module, model, params, size);
    }
    sg_module_free(module);
    free(params);
    free(text);
    return 0;
}
