#include "tests/kernels/compiled.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/map.h"

enum { KEY_CHARS = HASH_HEX_SIZE - 1 };

struct Compiled {
    Arena *arena;
    Map *keys; /* of the time of the open */
    int fd;
};

/* A line that a killed process left short is no key; the next line begins inside it then, and both
 * are compiled again. */
static bool read_keys(Compiled *compiled, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return errno == ENOENT;
    char line[HASH_HEX_SIZE + 1];
    bool good = true;
    Hash key;
    while (good && fgets(line, sizeof line, file)) {
        if (strlen(line) != KEY_CHARS + 1 || line[KEY_CHARS] != '\n') continue;
        line[KEY_CHARS] = '\0';
        if (hash_from_hex(line, &key)) good = map_put(compiled->keys, line, compiled);
    }
    good = good && !ferror(file);
    fclose(file);
    return good;
}

Compiled *compiled_open(const char *path) {
    Compiled *compiled = calloc(1, sizeof *compiled);
    if (!compiled) return NULL;
    compiled->fd = -1;
    compiled->arena = arena_new();
    compiled->keys = compiled->arena ? map_new(compiled->arena) : NULL;
    if (compiled->keys && read_keys(compiled, path))
        compiled->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (compiled->fd >= 0) return compiled;
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    compiled_close(compiled);
    return NULL;
}

void compiled_close(Compiled *compiled) {
    if (!compiled) return;
    if (compiled->fd >= 0) close(compiled->fd);
    arena_free(compiled->arena);
    free(compiled);
}

bool compiled_has(const Compiled *compiled, const Hash *key) {
    char hex[HASH_HEX_SIZE];
    hash_hex(key, hex);
    return map_has(compiled->keys, hex);
}

bool compiled_add(Compiled *compiled, const Hash *key) {
    char line[HASH_HEX_SIZE + 1];
    hash_hex(key, line);
    line[KEY_CHARS] = '\n';
    return write(compiled->fd, line, KEY_CHARS + 1) == KEY_CHARS + 1;
}
