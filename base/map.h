/* Map: names to pointers, insertion order kept, memory from an arena. Not thread-safe. */
#ifndef SEQTUNE_BASE_MAP_H
#define SEQTUNE_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

typedef struct Map Map;

Map *map_new(Arena *arena); /* NULL when there is no memory; lives as long as the arena */
/* Copies the key; replaces an old value. False when there is no memory. */
bool map_put(Map *map, const char *key, void *value);
void *map_get(const Map *map, const char *key); /* NULL when absent */
bool map_has(const Map *map, const char *key);
size_t map_count(const Map *map);
const char *map_key(const Map *map, size_t i); /* i-th in insertion order */
void *map_value(const Map *map, size_t i);

#endif
