/* The artifact cache: whole or absent, in every way it can be damaged. */
#include "tests/runtime/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "runtime/cache.h"

static int warnings;

static void count_warnings(void *context, LogLevel level, const char *channel, const char *line) {
    (void)context;
    (void)channel;
    (void)line;
    if (level == LOG_WARN) warnings++;
}

static Artifact sample(int seed) {
    static char source[64], ptx[256];
    static const char cubin[] = "\177ELF with a \0 inside";
    snprintf(source, sizeof source, "kernel %d", seed);
    snprintf(ptx, sizeof ptx,
             ".version 9.0\n// seqtune-ptxas: entry=k%d registers=17 stack=0 spill_stores=0 "
             "spill_loads=4 smem=128\n",
             seed);
    Artifact a = {.source = source,
                  .source_size = strlen(source),
                  .ptx = ptx,
                  .ptx_size = strlen(ptx),
                  .cubin = cubin,
                  .cubin_size = sizeof cubin,
                  .log = "",
                  .seconds = 0.25};
    strcpy(a.toolchain, "nvrtc 13.0");
    a.key = hash_bytes(source, strlen(source));
    return a;
}

static void entry_path(const char *dir, const Artifact *a, const char *file, char *out,
                       size_t size) {
    char hex[HASH_HEX_SIZE];
    hash_hex(&a->key, hex);
    snprintf(out, size, "%s/artifacts/%s/%s", dir, hex, file);
}

static size_t count_entries(const char *dir) {
    char path[4200];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/artifacts", dir);
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *e = readdir(list); e != NULL; e = readdir(list)) n += e->d_name[0] != '.';
    closedir(list);
    return n;
}

static Cache *open_cache(const char *dir) {
    Error err = {0};
    Cache *cache = NULL;
    assert_ok(cache_open(dir, &cache, &err), err);
    return cache;
}

static void what_was_put_is_what_is_got(void **state) {
    (void)state;
    char *dir = scratch_make(), path[4300];
    Cache *cache = open_cache(dir);
    Arena *arena = arena_new();
    Artifact a = sample(1), b;
    assert_false(cache_get(cache, &a.key, arena, &b));
    assert_true(cache_put(cache, &a));
    assert_true(cache_get(cache, &a.key, arena, &b));
    assert_true(b.from_cache);
    assert_string_equal(b.source, a.source);
    assert_string_equal(b.ptx, a.ptx);
    assert_string_equal(b.log, a.log);
    assert_int_equal(b.cubin_size, a.cubin_size);
    assert_memory_equal(b.cubin, a.cubin, a.cubin_size);
    assert_string_equal(b.toolchain, a.toolchain);
    assert_true(b.seconds > 0.24 && b.seconds < 0.26);
    assert_int_equal(b.entry_count, 1);
    assert_string_equal(b.entries[0].name, "k1");
    assert_int_equal(b.entries[0].registers, 17);
    entry_path(dir, &a, "source.cu", path, sizeof path);
    assert_int_equal(access(path, R_OK), 0); /* the source lies beside the binary */
    assert_true(cache_put(cache, &a));       /* again is no error */
    assert_int_equal(count_entries(dir), 1);
    arena_free(arena);
    cache_close(cache);
    scratch_remove(dir);
}

static const char *const files[] = {"manifest", "source.cu", "kernel.ptx.zst", "kernel.cubin.zst",
                                    "compiler.log.zst"};

/* how: 0 truncates, 1 flips a byte in the middle, 2 removes, 3 empties the file. */
static void damage(const char *path, int how) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    FILE *f = NULL;
    switch (how) {
    case 0: assert_int_equal(truncate(path, info.st_size / 2), 0); break;
    case 1:
        f = fopen(path, "r+b");
        assert_non_null(f);
        assert_int_equal(fseek(f, info.st_size / 2, SEEK_SET), 0);
        int c = fgetc(f);
        assert_int_equal(fseek(f, info.st_size / 2, SEEK_SET), 0);
        fputc(c ^ 1, f);
        fclose(f);
        break;
    case 2: assert_int_equal(unlink(path), 0); break;
    default: assert_int_equal(truncate(path, 0), 0); break;
    }
}

static void every_damaged_part_is_found_logged_and_replaced(void **state) {
    (void)state;
    char *dir = scratch_make(), path[4300];
    Cache *cache = open_cache(dir);
    Arena *arena = arena_new();
    Artifact a = sample(2), b;
    log_set_sink(count_warnings, NULL);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        for (int how = 0; how < 4; how++) {
            assert_true(cache_put(cache, &a));
            entry_path(dir, &a, files[i], path, sizeof path);
            damage(path, how);
            warnings = 0;
            if (cache_get(cache, &a.key, arena, &b))
                fail_msg("%s damaged in way %d was believed", files[i], how);
            assert_int_equal(warnings, 1);
            assert_true(cache_put(cache, &a));
            assert_true(cache_get(cache, &a.key, arena, &b));
            assert_int_equal(count_entries(dir), 1);
        }
    log_set_sink(NULL, NULL);
    arena_free(arena);
    cache_close(cache);
    scratch_remove(dir);
}

static void an_entry_under_another_key_is_not_believed(void **state) {
    (void)state;
    char *dir = scratch_make(), from[4300], to[4300];
    Cache *cache = open_cache(dir);
    Arena *arena = arena_new();
    Artifact a = sample(3), got;
    assert_true(cache_put(cache, &a));
    Hash other = hash_bytes("other", 5);
    entry_path(dir, &a, "", from, sizeof from);
    Artifact b = a;
    b.key = other;
    entry_path(dir, &b, "", to, sizeof to);
    assert_int_equal(rename(from, to), 0);
    log_set_sink(count_warnings, NULL);
    assert_false(cache_get(cache, &other, arena, &got));
    log_set_sink(NULL, NULL);
    arena_free(arena);
    cache_close(cache);
    scratch_remove(dir);
}

static void a_directory_that_others_may_write_is_not_used(void **state) {
    (void)state;
    char *dir = scratch_make();
    assert_int_equal(chmod(dir, 0777), 0);
    log_set_sink(count_warnings, NULL);
    warnings = 0;
    Cache *cache = open_cache(dir);
    assert_int_equal(warnings, 1);
    assert_string_equal(cache_dir(cache), "");
    Artifact a = sample(4);
    assert_false(cache_put(cache, &a));
    assert_int_equal(warnings, 1); /* said once */
    cache_close(cache);
    log_set_sink(NULL, NULL);
    scratch_remove(dir);
}

static void an_entry_that_others_may_write_is_not_used(void **state) {
    (void)state;
    char *dir = scratch_make(), path[4300];
    Cache *cache = open_cache(dir);
    Arena *arena = arena_new();
    Artifact a = sample(5), b;
    assert_true(cache_put(cache, &a));
    entry_path(dir, &a, "kernel.cubin.zst", path, sizeof path);
    assert_int_equal(chmod(path, 0666), 0);
    log_set_sink(count_warnings, NULL);
    warnings = 0;
    assert_false(cache_get(cache, &a.key, arena, &b));
    assert_false(cache_get(cache, &a.key, arena, &b));
    assert_int_equal(warnings, 1);
    log_set_sink(NULL, NULL);
    arena_free(arena);
    cache_close(cache);
    scratch_remove(dir);
}

static void a_directory_that_cannot_be_made_is_said_once_and_lived_without(void **state) {
    (void)state;
    char *dir = scratch_make(), path[4200];
    snprintf(path, sizeof path, "%s/file", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    strcat(path, "/below"); /* a directory below a file: refused for root too */
    log_set_sink(count_warnings, NULL);
    warnings = 0;
    Cache *cache = open_cache(path);
    Arena *arena = arena_new();
    Artifact a = sample(6), b;
    assert_false(cache_put(cache, &a));
    assert_false(cache_get(cache, &a.key, arena, &b));
    assert_int_equal(warnings, 1);
    log_set_sink(NULL, NULL);
    arena_free(arena);
    cache_close(cache);
    scratch_remove(dir);
}

static void no_cache_is_silent(void **state) {
    (void)state;
    log_set_sink(count_warnings, NULL);
    warnings = 0;
    Cache *cache = open_cache("");
    Arena *arena = arena_new();
    Artifact a = sample(7), b;
    assert_false(cache_put(cache, &a));
    assert_false(cache_get(cache, &a.key, arena, &b));
    assert_int_equal(warnings, 0);
    log_set_sink(NULL, NULL);
    arena_free(arena);
    cache_close(cache);
}

static void what_a_killed_process_left_is_swept_when_it_is_old(void **state) {
    (void)state;
    char *dir = scratch_make(), old[4300], fresh[4300], file[4400];
    Cache *cache = open_cache(dir);
    snprintf(old, sizeof old, "%s/artifacts/%064d.new.1.0", dir, 1);
    snprintf(fresh, sizeof fresh, "%s/artifacts/%064d.new.2.0", dir, 2);
    assert_int_equal(mkdir(old, 0700), 0);
    assert_int_equal(mkdir(fresh, 0700), 0);
    snprintf(file, sizeof file, "%s/source.cu", old);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fclose(f);
    const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, old, long_ago, 0), 0);
    Artifact a = sample(8);
    assert_true(cache_put(cache, &a));
    assert_int_not_equal(access(old, F_OK), 0);
    assert_int_equal(access(fresh, F_OK), 0);
    cache_close(cache);
    scratch_remove(dir);
}

/* Puts and gets 40 entries in its own order; exit status 0 when all that is got is right. */
static int worker(const char *dir, int step) {
    Error err = {0};
    Cache *cache = NULL;
    if (cache_open(dir, &cache, &err) != ST_OK) return 1;
    Arena *arena = arena_new();
    for (int i = 0; i < 400; i++) {
        Artifact a = sample(i * step % 40), b;
        if (cache_get(cache, &a.key, arena, &b) && strcmp(b.source, a.source) != 0) return 2;
        if (!cache_put(cache, &a)) return 3;
        if (!cache_get(cache, &a.key, arena, &b) || strcmp(b.ptx, a.ptx) != 0) return 4;
        arena_reset(arena);
    }
    arena_free(arena);
    cache_close(cache);
    return 0;
}

static void two_processes_may_use_one_directory_at_once(void **state) {
    (void)state;
    char *dir = scratch_make();
    static const int steps[] = {1, 7, 11};
    pid_t child[3];
    for (int i = 0; i < 3; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) _exit(worker(dir, steps[i]));
    }
    for (int i = 0; i < 3; i++) {
        int status = 0;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_entries(dir), 40); /* and no temporaries are left */
    scratch_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_what_is_got),
        cmocka_unit_test(every_damaged_part_is_found_logged_and_replaced),
        cmocka_unit_test(an_entry_under_another_key_is_not_believed),
        cmocka_unit_test(a_directory_that_others_may_write_is_not_used),
        cmocka_unit_test(an_entry_that_others_may_write_is_not_used),
        cmocka_unit_test(a_directory_that_cannot_be_made_is_said_once_and_lived_without),
        cmocka_unit_test(no_cache_is_silent),
        cmocka_unit_test(what_a_killed_process_left_is_swept_when_it_is_old),
        cmocka_unit_test(two_processes_may_use_one_directory_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
