/* How PTX is mutated, for the targets that take PTX: it stays PTX when whole lines and whole words
 * move. Defines LLVMFuzzerCustomMutator; a target's one source includes it. */
#ifndef SEQTUNE_TESTS_FUZZ_MUTATE_PTX_H
#define SEQTUNE_TESTS_FUZZ_MUTATE_PTX_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/gpus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Undefined behaviour ends the run as a stray access does. */
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) {
    return "halt_on_error=1:print_stacktrace=1";
}

enum { MAX_TEXT = 1 << 16, DRIVER = 13000 };

static void check(bool condition) {
    if (!condition) abort();
}

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

/* The newest GPU takes what others take, but for code of sm_90a alone. */
static const GpuModel *model_for(const uint8_t *data, size_t size) {
    return gpu_model_find(memmem(data, size, "sm_90a", 6) ? "h100" : "rtx5090");
}

#endif
