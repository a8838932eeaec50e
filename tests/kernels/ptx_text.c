/* Reads PTX line by line; NVRTC writes one instruction per line. It checks nothing. */
#include "tests/kernels/ptx_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *strip(char *line) {
    while (isspace((unsigned char)*line)) line++;
    size_t n = strlen(line);
    while (n > 0 && isspace((unsigned char)line[n - 1])) line[--n] = '\0';
    return line;
}

bool ptx_text_open(const char *ptx, PtxText *out) {
    *out = (PtxText){.text = strdup(ptx)};
    size_t lines = 1;
    for (const char *p = ptx; *p; p++) lines += *p == '\n';
    out->lines = calloc(lines, sizeof *out->lines);
    if (!out->text || !out->lines) return false;
    for (char *p = out->text, *end; p; p = end) {
        end = strchr(p, '\n');
        if (end) *end++ = '\0';
        out->lines[out->count++] = strip(p);
    }
    return true;
}

void ptx_text_close(PtxText *t) {
    free(t->lines);
    free(t->text);
    *t = (PtxText){0};
}

/* An instruction starts with a letter and is no label; its guard ("@%p1 ") is skipped. */
static char *instruction_of(char *line) {
    if (*line == '@') {
        line = strchr(line, ' ');
        if (!line) return NULL;
        line = strip(line);
    }
    if (!isalpha((unsigned char)*line)) return NULL;
    return line[strlen(line) - 1] == ':' ? NULL : line;
}

static bool label_line(const PtxText *t, const char *name, size_t length, size_t *at) {
    for (size_t i = 0; i < t->count; i++)
        if (strncmp(t->lines[i], name, length) == 0 && strcmp(t->lines[i] + length, ":") == 0) {
            *at = i;
            return true;
        }
    return false;
}

static bool backward_branch(const PtxText *t, size_t i, size_t *target) {
    char *text = instruction_of(t->lines[i]);
    if (!text || strncmp(text, "bra", 3) != 0) return false;
    const char *name = strpbrk(text, " \t");
    if (!name) return false;
    name += strspn(name, " \t");
    return label_line(t, name, strcspn(name, ";"), target) && *target < i;
}

static size_t mma_between(const PtxText *t, size_t from, size_t to) {
    size_t n = 0;
    for (size_t i = from; i <= to; i++) n += strstr(t->lines[i], "mma.sync") != NULL;
    return n;
}

bool ptx_hot_loop(const PtxText *t, PtxLoop *out) {
    *out = (PtxLoop){0};
    size_t from = 0, to = 0;
    for (size_t i = 0; i < t->count; i++) {
        size_t target;
        if (!backward_branch(t, i, &target)) continue;
        const size_t mma = mma_between(t, target, i);
        if (mma == 0 || mma < out->mma) continue;
        out->mma = mma;
        from = target;
        to = i;
    }
    if (out->mma == 0) return false;
    out->lines = calloc(to - from + 1, sizeof *out->lines);
    if (!out->lines) return false;
    for (size_t i = from; i <= to; i++) {
        char *text = instruction_of(t->lines[i]);
        if (text) out->lines[out->count++] = text;
    }
    return true;
}

void ptx_loop_close(PtxLoop *loop) {
    free(loop->lines);
    *loop = (PtxLoop){0};
}

size_t ptx_count(const PtxLoop *loop, const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < loop->count; i++)
        n += strncmp(loop->lines[i], prefix, strlen(prefix)) == 0;
    return n;
}

/* How often the register occurs in the loop, and how often inside an address's brackets. */
static void uses(const PtxLoop *loop, const char *name, size_t *all, size_t *in_address) {
    const size_t length = strlen(name);
    *all = *in_address = 0;
    for (size_t i = 0; i < loop->count; i++)
        for (const char *p = loop->lines[i]; (p = strstr(p, name)) != NULL; p += length) {
            if (isdigit((unsigned char)p[length])) continue;
            ++*all;
            *in_address += p > loop->lines[i] && p[-1] == '[';
        }
}

static bool only_an_address(const PtxLoop *loop, const char *line) {
    char result[16], source[16];
    int constant;
    if (sscanf(line, "add.s%*d %15[%a-z0-9], %15[%a-z0-9], %d;", result, source, &constant) != 3)
        return false;
    size_t all, in_address;
    uses(loop, result, &all, &in_address);
    return in_address > 0 && all == in_address + 1; /* its definition is the other one */
}

size_t ptx_count_kept(const PtxLoop *loop) {
    size_t kept = 0;
    for (size_t i = 0; i < loop->count; i++) {
        const char *line = loop->lines[i];
        if (strncmp(line, "mov.", 4) == 0 || only_an_address(loop, line)) continue;
        kept++;
    }
    return kept;
}
