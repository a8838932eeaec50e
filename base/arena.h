/* Arena: many small allocations with one lifetime (a spec load, one generation, one query).
 *
 * Invariant: what arena_* returns lives until arena_free or arena_reset. Not thread-safe. */
#ifndef SEQTUNE_BASE_ARENA_H
#define SEQTUNE_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

Arena *arena_new(void); /* NULL when there is no memory; free with arena_free */
void arena_free(Arena *arena);
void arena_reset(Arena *arena); /* frees everything, keeps the arena */

/* Zeroed, aligned to 16 bytes; NULL when there is no memory (count * size is checked). */
void *arena_alloc(Arena *arena, size_t size);
void *arena_array(Arena *arena, size_t count, size_t size);
char *arena_strdup(Arena *arena, const char *s);
char *arena_strndup(Arena *arena, const char *s, size_t n);
char *arena_printf(Arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t arena_bytes(const Arena *arena); /* bytes handed out, for limits and tests */

#define ARENA_NEW(arena, type)      ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, n) ((type *)arena_array((arena), (n), sizeof(type)))

#endif
