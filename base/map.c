/* Map: open addressing over an insertion-ordered entry list.
 *
 * Invariant: at most half of the slots are used; a slot holds entry index + 1, 0 = empty. */
#include "base/map.h"

#include <stdint.h>
#include <string.h>

typedef struct Entry {
    const char *key;
    void *value;
} Entry;

struct Map {
    Arena *arena;
    Entry *entries;
    uint32_t *slots;
    size_t count;
    size_t slot_count; /* power of two; entries has half as many places */
};

enum { FIRST_SLOTS = 16 };

static uint64_t key_hash(const char *key) {
    uint64_t h = 14695981039346656037u; /* FNV-1a, 64 bits */
    for (; *key; key++) h = (h ^ (unsigned char)*key) * 1099511628211u;
    return h ^ h >> 32;
}

/* The slot of `key`, or the empty slot where it belongs. */
static size_t find_slot(const Map *map, const char *key) {
    size_t i = key_hash(key) & (map->slot_count - 1);
    while (map->slots[i] && strcmp(map->entries[map->slots[i] - 1].key, key) != 0) {
        i = (i + 1) & (map->slot_count - 1);
    }
    return i;
}

static bool grow(Map *map) {
    size_t slots = map->slot_count ? map->slot_count * 2 : FIRST_SLOTS;
    if (slots > UINT32_MAX) return false;
    Entry *entries = ARENA_ARRAY(map->arena, Entry, slots / 2);
    uint32_t *table = ARENA_ARRAY(map->arena, uint32_t, slots);
    if (!entries || !table) return false;
    if (map->count) memcpy(entries, map->entries, map->count * sizeof *entries);
    map->entries = entries; /* the old blocks stay in the arena: at most as much again */
    map->slots = table;
    map->slot_count = slots;
    for (size_t i = 0; i < map->count; i++) {
        table[find_slot(map, entries[i].key)] = (uint32_t)(i + 1);
    }
    return true;
}

Map *map_new(Arena *arena) {
    Map *map = ARENA_NEW(arena, Map);
    if (map) map->arena = arena;
    return map && grow(map) ? map : NULL;
}

bool map_put(Map *map, const char *key, void *value) {
    size_t slot = find_slot(map, key);
    if (map->slots[slot]) {
        map->entries[map->slots[slot] - 1].value = value;
        return true;
    }
    char *copy = arena_strdup(map->arena, key);
    if (!copy) return false;
    if (map->count == map->slot_count / 2) {
        if (!grow(map)) return false;
        slot = find_slot(map, key);
    }
    map->entries[map->count++] = (Entry){copy, value};
    map->slots[slot] = (uint32_t)map->count;
    return true;
}

void *map_get(const Map *map, const char *key) {
    uint32_t i = map->slots[find_slot(map, key)];
    return i ? map->entries[i - 1].value : NULL;
}

bool map_has(const Map *map, const char *key) {
    return map->slots[find_slot(map, key)] != 0;
}

size_t map_count(const Map *map) {
    return map->count;
}

const char *map_key(const Map *map, size_t i) {
    return map->entries[i].key;
}

void *map_value(const Map *map, size_t i) {
    return map->entries[i].value;
}
