/* Arena: a chain of blocks, each twice the last up to a limit; big requests get their own block.
 *
 * Invariant: every pointer handed out is 16-byte aligned and zeroed. */
#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { ALIGN = 16, FIRST_BLOCK = 4096, MAX_BLOCK = 1 << 20 };

typedef struct Block {
    struct Block *next;
    size_t size; /* bytes after the header */
    size_t used;
    size_t pad; /* header stays a multiple of ALIGN */
} Block;

struct Arena {
    Block *head; /* the block that allocations come from */
    size_t next_size;
    size_t bytes;
};

_Static_assert(sizeof(Block) % ALIGN == 0, "block data must start aligned");

Arena *arena_new(void) {
    Arena *arena = mem_alloc(sizeof *arena);
    if (arena) arena->next_size = FIRST_BLOCK;
    return arena;
}

void arena_reset(Arena *arena) {
    for (Block *b = arena->head; b;) {
        Block *next = b->next;
        mem_free(b);
        b = next;
    }
    *arena = (Arena){.next_size = FIRST_BLOCK};
}

void arena_free(Arena *arena) {
    if (!arena) return;
    arena_reset(arena);
    mem_free(arena);
}

/* A request larger than half a block goes behind the head, so that the head keeps its free rest. */
static Block *add_block(Arena *arena, size_t size) {
    bool own = size > arena->next_size / 2;
    size_t room = own ? size : arena->next_size;
    Block *b = mem_alloc(sizeof *b + room);
    if (!b) return NULL;
    b->size = room;
    if (own && arena->head) {
        b->next = arena->head->next;
        arena->head->next = b;
    } else {
        b->next = arena->head;
        arena->head = b;
    }
    if (!own && arena->next_size < MAX_BLOCK) arena->next_size *= 2;
    return b;
}

void *arena_alloc(Arena *arena, size_t size) {
    if (size > SIZE_MAX / 2) return NULL;
    size_t need = (size + (size == 0) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    Block *b = arena->head;
    if (!b || b->size - b->used < need) b = add_block(arena, need);
    if (!b) return NULL;
    void *p = (char *)(b + 1) + b->used;
    b->used += need;
    arena->bytes += size;
    return p;
}

void *arena_array(Arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    return arena_alloc(arena, bytes);
}

char *arena_strndup(Arena *arena, const char *s, size_t n) {
    char *copy = arena_alloc(arena, n + 1);
    if (copy) memcpy(copy, s, n); /* arena memory is zeroed: the NUL is there */
    return copy;
}

char *arena_strdup(Arena *arena, const char *s) {
    return arena_strndup(arena, s, strlen(s));
}

char *arena_printf(Arena *arena, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : arena_alloc(arena, (size_t)n + 1);
    if (!text) return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    return text;
}

size_t arena_bytes(const Arena *arena) {
    return arena->bytes;
}
