/* The artifact cache on disk.
 *
 * A write goes to a directory of its own (<hex>.new.PID.N) that is renamed into place; losing that
 * race to another process is success, since equal keys hold equal contents. No fsync: a torn entry
 * fails its hashes and is made again. */
#include "runtime/cache.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

/* Largest part that is read or believed; sources and cubins are far below. */
static const size_t part_max = (size_t)256 << 20;
static const int zstd_level = 3; /* the library's default: 1 ms per cubin */

struct Cache {
    char *dir;  /* "" when there is none */
    char *root; /* dir/artifacts */
    bool usable;
    atomic_bool warned;
    atomic_bool swept;
    atomic_uint counter;
};

typedef struct Part {
    const char *name;
    const char *file;
    bool compressed;
    size_t data, size; /* offsets in Artifact */
} Part;

static const Part parts[] = {
    {"source", "source.cu", false, offsetof(Artifact, source), offsetof(Artifact, source_size)},
    {"ptx", "kernel.ptx.zst", true, offsetof(Artifact, ptx), offsetof(Artifact, ptx_size)},
    {"cubin", "kernel.cubin.zst", true, offsetof(Artifact, cubin), offsetof(Artifact, cubin_size)},
    {"log", "compiler.log.zst", true, offsetof(Artifact, log), offsetof(Artifact, log_size)},
};
enum { PARTS = sizeof parts / sizeof parts[0] };

static const void *part_data(const Artifact *artifact, const Part *part) {
    const void *data;
    memcpy(&data, (const char *)artifact + part->data, sizeof data);
    return data;
}

static size_t part_size(const Artifact *artifact, const Part *part) {
    size_t size;
    memcpy(&size, (const char *)artifact + part->size, sizeof size);
    return size;
}

static void part_set(Artifact *artifact, const Part *part, const void *data, size_t size) {
    memcpy((char *)artifact + part->data, &data, sizeof data);
    memcpy((char *)artifact + part->size, &size, sizeof size);
}

/* Once per Cache: a broken cache must be seen, not repeated for each kernel. */
static void warn_once(Cache *cache, const char *text) {
    if (!atomic_exchange(&cache->warned, true))
        log_write(LOG_WARN, "jit", "artifact cache: %s; going on without it", text);
}

Status cache_open(const char *dir, Cache **out, Error *err) {
    *out = NULL;
    Arena *arena = arena_new();
    Cache *cache = mem_alloc(sizeof *cache);
    if (arena == NULL || cache == NULL) {
        arena_free(arena);
        mem_free(cache);
        return err_no_memory(err, sizeof *cache);
    }
    if (dir == NULL) dir = files_cache_dir(arena);
    if (dir == NULL) dir = "";
    const char *root = arena_printf(arena, "%s/artifacts", dir);
    cache->dir = mem_strdup(dir);
    cache->root = root != NULL ? mem_strdup(root) : NULL;
    arena_free(arena);
    if (cache->dir == NULL || cache->root == NULL) {
        cache_close(cache);
        return err_no_memory(err, strlen(dir));
    }
    *out = cache;
    if (cache->dir[0] == '\0') return ST_OK;
    Error why = {0};
    Status st = files_make_dirs(cache->root, 0700, &why);
    if (st != ST_OK && files_exists(cache->root)) st = ST_OK; /* there, though not ours to make */
    if (st == ST_OK) st = files_check_owner(cache->dir, &why);
    if (st == ST_OK) st = files_check_owner(cache->root, &why);
    cache->usable = st == ST_OK;
    if (st != ST_OK) warn_once(cache, why.message);
    return ST_OK;
}

void cache_close(Cache *cache) {
    if (cache == NULL) return;
    mem_free(cache->dir);
    mem_free(cache->root);
    mem_free(cache);
}

const char *cache_dir(const Cache *cache) {
    return cache->usable ? cache->dir : "";
}

/* ---- reading ---- */

static Status read_file(Arena *arena, const char *dir, const char *file, char **data, size_t *size,
                        Error *err) {
    const char *path = arena_printf(arena, "%s/%s", dir, file);
    if (path == NULL) return err_no_memory(err, strlen(dir));
    Status st = files_check_owner(path, err);
    return st != ST_OK ? st : files_read(arena, path, part_max, data, size, err);
}

static Status expand(Arena *arena, const char *file, char **data, size_t *size, size_t want,
                     Error *err) {
    unsigned long long bytes = ZSTD_getFrameContentSize(*data, *size);
    if (bytes != want || want > part_max)
        return err_set(err, ST_CORRUPT, "%s is not the compressed form of %zu bytes", file, want);
    char *plain = arena_alloc(arena, want + 1);
    if (plain == NULL) return err_no_memory(err, want + 1);
    size_t got = ZSTD_decompress(plain, want, *data, *size);
    if (ZSTD_isError(got) || got != want)
        return err_set(err, ST_CORRUPT, "%s: %s", file,
                       ZSTD_isError(got) ? ZSTD_getErrorName(got) : "ends early");
    plain[want] = '\0';
    *data = plain;
    *size = want;
    return ST_OK;
}

/* One manifest line "NAME SIZE HASH" and the part it describes. */
static Status read_part(Arena *arena, const char *dir, const Part *part, const char *line,
                        Artifact *out, Error *err) {
    char name[16], hex[HASH_HEX_SIZE];
    size_t want = 0, size = 0;
    char *data = NULL;
    Hash hash;
    if (sscanf(line, "%15s %zu %64s", name, &want, hex) != 3 || strcmp(name, part->name) != 0 ||
        !hash_from_hex(hex, &hash) || want > part_max)
        return err_set(err, ST_CORRUPT, "the manifest has no line for %s", part->name);
    Status st = read_file(arena, dir, part->file, &data, &size, err);
    if (st != ST_OK) return st;
    if (part->compressed && (st = expand(arena, part->file, &data, &size, want, err)) != ST_OK)
        return st;
    Hash got = hash_bytes(data, size);
    if (size != want || !hash_equal(&got, &hash))
        return err_set(err, ST_CORRUPT, "%s is not what the manifest says", part->file);
    part_set(out, part, data, size);
    return ST_OK;
}

/* Checks the manifest's own hash (its last line) and splits it into lines. */
static Status split_manifest(char *text, const Hash *key, char *lines[], size_t max, Error *err) {
    char hex[HASH_HEX_SIZE];
    char *end = strstr(text, "\nend ");
    Hash sum = {{0}}, got = {{0}};
    if (end != NULL && sscanf(end, "\nend %64s", hex) == 1 && hash_from_hex(hex, &sum))
        got = hash_bytes(text, (size_t)(end + 1 - text));
    if (end == NULL || !hash_equal(&sum, &got))
        return err_set(err, ST_CORRUPT, "the manifest is damaged");
    size_t n = 0;
    for (char *p = text; p < end && n < max; n++) {
        lines[n] = p;
        p += strcspn(p, "\n");
        *p++ = '\0';
    }
    char want[HASH_HEX_SIZE];
    hash_hex(key, want);
    if (n < max || strcmp(lines[0], "seqtune-artifact 1") != 0 || !str_starts(lines[1], "key ") ||
        strcmp(lines[1] + 4, want) != 0)
        return err_set(err, ST_CORRUPT, "the manifest is of another version or key");
    return ST_OK;
}

static Status read_entry(const char *dir, const Hash *key, Arena *arena, Artifact *out,
                         Error *err) {
    enum { HEAD = 4 }; /* version, key, toolchain, seconds */
    char *text = NULL, *lines[HEAD + PARTS] = {NULL};
    size_t size = 0;
    Status st = files_check_owner(dir, err);
    if (st == ST_OK) st = read_file(arena, dir, "manifest", &text, &size, err);
    if (st == ST_OK) st = split_manifest(text, key, lines, HEAD + PARTS, err);
    if (st != ST_OK) return st;
    *out = (Artifact){.key = *key, .from_cache = true};
    if (!str_starts(lines[2], "toolchain ") || !str_starts(lines[3], "seconds ") ||
        !str_to_f64(lines[3] + strlen("seconds "), &out->seconds))
        return err_set(err, ST_CORRUPT, "the manifest lacks toolchain or seconds");
    snprintf(out->toolchain, sizeof out->toolchain, "%s", lines[2] + strlen("toolchain "));
    for (size_t i = 0; i < PARTS && st == ST_OK; i++)
        st = read_part(arena, dir, &parts[i], lines[HEAD + i], out, err);
    if (st != ST_OK) return st;
    return build_parse_comments(out->ptx, out->entries, ARTIFACT_MAX_ENTRIES, &out->entry_count,
                                err);
}

static void remove_dir(const char *dir) {
    char path[4096];
    DIR *list = opendir(dir);
    if (list == NULL) return;
    for (struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
        int n = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' && n < (int)sizeof path) (void)unlink(path);
    }
    closedir(list);
    (void)rmdir(dir);
}

/* Out of the way first, so that no reader sees half of it. */
static void discard(Cache *cache, Arena *arena, const char *dir) {
    const char *away = arena_printf(arena, "%s.bad.%ld.%u", dir, (long)getpid(),
                                    atomic_fetch_add(&cache->counter, 1));
    if (away != NULL && rename(dir, away) == 0) remove_dir(away);
}

static const char *entry_dir(const Cache *cache, Arena *arena, const Hash *key) {
    char hex[HASH_HEX_SIZE];
    hash_hex(key, hex);
    return arena_printf(arena, "%s/%s", cache->root, hex);
}

bool cache_get(Cache *cache, const Hash *key, Arena *arena, Artifact *out) {
    if (!cache->usable) return false;
    const char *dir = entry_dir(cache, arena, key);
    if (dir == NULL || !files_exists(dir)) return false;
    Error why = {0};
    Status st = read_entry(dir, key, arena, out, &why);
    if (st == ST_OK) return true;
    if (st == ST_CORRUPT || st == ST_NOT_FOUND || st == ST_LIMIT || st == ST_IO) {
        log_write(LOG_WARN, "jit", "artifact cache: %s: %s; compiling again", dir, why.message);
        discard(cache, arena, dir);
    } else {
        warn_once(cache, why.message);
    }
    return false;
}

/* ---- writing ---- */

static Status write_file(Arena *arena, const char *dir, const char *file, const void *data,
                         size_t size, Error *err) {
    const char *path = arena_printf(arena, "%s/%s", dir, file);
    if (path == NULL) return err_no_memory(err, strlen(dir));
    FILE *f = fopen(path, "wbx");
    if (f == NULL) return err_set(err, ST_IO, "cannot write %s: %s", path, strerror(errno));
    bool ok = fwrite(data, 1, size, f) == size;
    int why = errno;
    if (fclose(f) != 0 && ok) {
        ok = false;
        why = errno;
    }
    return ok ? ST_OK : err_set(err, ST_IO, "cannot write %s: %s", path, strerror(why));
}

static Status write_part(Arena *arena, const char *dir, const Part *part, const Artifact *artifact,
                         Str *manifest, Error *err) {
    const void *data = part_data(artifact, part);
    size_t size = part_size(artifact, part);
    char hex[HASH_HEX_SIZE];
    Hash hash = hash_bytes(data, size);
    hash_hex(&hash, hex);
    str_printf(manifest, "%s %zu %s\n", part->name, size, hex);
    if (!part->compressed) return write_file(arena, dir, part->file, data, size, err);
    size_t bound = ZSTD_compressBound(size);
    void *packed = arena_alloc(arena, bound);
    if (packed == NULL) return err_no_memory(err, bound);
    size_t n = ZSTD_compress(packed, bound, data, size, zstd_level);
    if (ZSTD_isError(n))
        return err_set(err, ST_INTERNAL, "zstd: %s: %s", part->file, ZSTD_getErrorName(n));
    return write_file(arena, dir, part->file, packed, n, err);
}

static Status write_entry(Arena *arena, const char *dir, const Artifact *artifact, Error *err) {
    char hex[HASH_HEX_SIZE];
    Str manifest = {0};
    hash_hex(&artifact->key, hex);
    str_printf(&manifest, "seqtune-artifact 1\nkey %s\ntoolchain %s\nseconds %.6f\n", hex,
               artifact->toolchain, artifact->seconds);
    Status st = ST_OK;
    for (size_t i = 0; i < PARTS && st == ST_OK; i++)
        st = write_part(arena, dir, &parts[i], artifact, &manifest, err);
    Hash sum = hash_bytes(str_text(&manifest), manifest.len);
    hash_hex(&sum, hex);
    str_printf(&manifest, "end %s\n", hex);
    if (st == ST_OK && manifest.failed) st = err_no_memory(err, manifest.len);
    if (st == ST_OK) st = write_file(arena, dir, "manifest", manifest.data, manifest.len, err);
    str_free(&manifest);
    return st;
}

static Status publish(Cache *cache, Arena *arena, const Artifact *artifact, Error *err) {
    const char *dir = entry_dir(cache, arena, &artifact->key);
    const char *fresh = dir == NULL ? NULL
                                    : arena_printf(arena, "%s.new.%ld.%u", dir, (long)getpid(),
                                                   atomic_fetch_add(&cache->counter, 1));
    if (fresh == NULL) return err_no_memory(err, 1);
    if (mkdir(fresh, 0700) != 0)
        return err_set(err, ST_IO, "cannot make %s: %s", fresh, strerror(errno));
    Status st = write_entry(arena, fresh, artifact, err);
    if (st == ST_OK && rename(fresh, dir) == 0) return ST_OK;
    int why = errno;
    remove_dir(fresh);
    if (st != ST_OK || why == EEXIST || why == ENOTEMPTY) return st;
    return err_set(err, ST_IO, "cannot rename %s into place: %s", fresh, strerror(why));
}

/* Directories that a killed process left half written; an hour is longer than any compilation. */
static void sweep(const Cache *cache) {
    enum { STALE_SECONDS = 3600 };
    char path[4096];
    struct stat info;
    DIR *list = opendir(cache->root);
    if (list == NULL) return;
    for (struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
        if (strstr(e->d_name, ".new.") == NULL && strstr(e->d_name, ".bad.") == NULL) continue;
        int n = snprintf(path, sizeof path, "%s/%s", cache->root, e->d_name);
        if (n < (int)sizeof path && stat(path, &info) == 0 &&
            difftime(time(NULL), info.st_mtime) > STALE_SECONDS)
            remove_dir(path);
    }
    closedir(list);
}

bool cache_put(Cache *cache, const Artifact *artifact) {
    if (!cache->usable) return false;
    if (!atomic_exchange(&cache->swept, true)) sweep(cache);
    Error why = {0};
    Arena *arena = arena_new();
    Status st = arena == NULL ? err_no_memory(&why, 1) : publish(cache, arena, artifact, &why);
    arena_free(arena);
    if (st != ST_OK) warn_once(cache, why.message);
    return st == ST_OK;
}
