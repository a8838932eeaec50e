/* The texts of one source tree: read from a checkout or taken from the program itself.
 *
 * Invariant: paths are relative to the root, use '/', and are sorted, so that everything built
 * from a tree is the same on every machine. Only the files named by `folders` are seen; links are
 * followed, hidden names are not read. */
#include "generator/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/embedded.h"
#include "base/files.h"

extern const EmbeddedFile gen_embedded[];

enum {
    MAX_FILE = 1 << 20, /* a text a person wrote; also what bounds a template's output */
    MAX_FILES = 4096,
    MAX_DEPTH = 8,
};

static const struct {
    const char *folder;
    const char *suffixes[3];
} folders[] = {
    {"scripts", {".lua"}},
    {"templates", {".cu", ".cuh"}},
    {"runtime/params", {".h"}},
};

typedef struct Reader {
    Arena *arena;
    const char *root;
    GenFile *files;
    size_t count, cap;
    const char *const *suffixes;
} Reader;

static Status add_file(Reader *r, GenFile file, Error *err) {
    if (r->count == MAX_FILES)
        return err_set(err, ST_LIMIT, "%s: more than %d script and template files", r->root,
                       MAX_FILES);
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        GenFile *grown = ARENA_ARRAY(r->arena, GenFile, cap);
        if (!grown) return err_no_memory(err, cap * sizeof *grown);
        if (r->count) memcpy(grown, r->files, r->count * sizeof *grown);
        r->files = grown;
        r->cap = cap;
    }
    r->files[r->count++] = file;
    return ST_OK;
}

static bool wanted(const Reader *r, const char *name) {
    for (size_t i = 0; i < 3 && r->suffixes[i]; i++)
        if (str_ends(name, r->suffixes[i])) return true;
    return false;
}

static Status read_folder(Reader *r, const char *folder, int depth, Error *err);

static Status read_entry(Reader *r, const char *folder, const char *name, int depth, Error *err) {
    const char *path = arena_printf(r->arena, "%s/%s", folder, name);
    const char *full = path ? arena_printf(r->arena, "%s/%s", r->root, path) : NULL;
    if (!full) return err_no_memory(err, strlen(name));
    struct stat st;
    if (stat(full, &st) != 0) return ST_OK; /* gone meanwhile, or a broken link */
    if (S_ISDIR(st.st_mode)) return read_folder(r, path, depth + 1, err);
    if (!S_ISREG(st.st_mode) || !wanted(r, name)) return ST_OK;
    char *text = NULL;
    size_t size = 0;
    Status status = files_read(r->arena, full, MAX_FILE, &text, &size, err);
    if (status != ST_OK) return status;
    return add_file(r, (GenFile){.path = path, .text = text, .size = size}, err);
}

static Status read_folder(Reader *r, const char *folder, int depth, Error *err) {
    if (depth > MAX_DEPTH)
        return err_set(err, ST_LIMIT, "%s/%s: folders nest deeper than %d", r->root, folder,
                       MAX_DEPTH);
    const char *full = arena_printf(r->arena, "%s/%s", r->root, folder);
    if (!full) return err_no_memory(err, strlen(folder));
    DIR *dir = opendir(full);
    if (!dir) {
        if (errno == ENOENT) return ST_OK;
        return err_set(err, ST_IO, "%s: %s", full, strerror(errno));
    }
    Status status = ST_OK;
    for (struct dirent *e; status == ST_OK && (e = readdir(dir));)
        if (e->d_name[0] != '.') status = read_entry(r, folder, e->d_name, depth, err);
    closedir(dir);
    return status;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const GenFile *)a)->path, ((const GenFile *)b)->path);
}

static Status read_root(Reader *r, Error *err) {
    struct stat st;
    if (stat(r->root, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ST_NOT_FOUND,
                       "%s: not a folder; name a source tree with scripts/ and templates/",
                       r->root);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        r->suffixes = folders[i].suffixes;
        Status status = read_folder(r, folders[i].folder, 0, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

Status gen_tree_load(Arena *arena, const char *root, GenTree *out, Error *err) {
    Reader r = {.arena = arena, .root = root};
    Status status = ST_OK;
    if (root) {
        status = read_root(&r, err);
    } else {
        r.root = "built-in tree";
        for (const EmbeddedFile *e = gen_embedded; status == ST_OK && e->name; e++)
            status = add_file(&r, (GenFile){e->name, e->text, e->size}, err);
    }
    if (status != ST_OK) return status;
    if (r.count) qsort(r.files, r.count, sizeof *r.files, by_path);
    *out = (GenTree){.files = r.files, .count = r.count};
    return ST_OK;
}

const GenFile *gen_tree_find(const GenTree *tree, const char *path) {
    GenFile key = {.path = path};
    return tree->count ? bsearch(&key, tree->files, tree->count, sizeof key, by_path) : NULL;
}

size_t gen_tree_range(const GenTree *tree, const char *prefix, size_t *count) {
    size_t first = 0;
    while (first < tree->count && !str_starts(tree->files[first].path, prefix)) first++;
    size_t end = first;
    while (end < tree->count && str_starts(tree->files[end].path, prefix)) end++;
    *count = end - first;
    return first;
}

Status gen_tree_names(Arena *arena, const GenTree *tree, const char *prefix, const char *suffix,
                      const char *const **names, size_t *count, Error *err) {
    size_t n = 0, first = gen_tree_range(tree, prefix, &n);
    const char **list = ARENA_ARRAY(arena, const char *, n + 1);
    if (!list) return err_no_memory(err, n * sizeof *list);
    *count = 0;
    for (size_t i = first; i < first + n; i++) {
        const char *base = tree->files[i].path + strlen(prefix);
        if (!str_ends(base, suffix)) continue;
        char *name = arena_strndup(arena, base, strlen(base) - strlen(suffix));
        if (!name) return err_no_memory(err, strlen(base));
        list[(*count)++] = name;
    }
    *names = list;
    return ST_OK;
}
