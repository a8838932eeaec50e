/* Reads, publication on a full disk and in unwritable places, owners, environment. */
#include "tests/base/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "base/mem.h"

typedef struct Place {
    char dir[64];
    char path[96];
    Arena *arena;
} Place;

static int setup(void **state) {
    static Place place;
    snprintf(place.dir, sizeof place.dir, "/tmp/seqtune-files-XXXXXX");
    if (!mkdtemp(place.dir)) return -1;
    snprintf(place.path, sizeof place.path, "%s/file", place.dir);
    place.arena = arena_new();
    *state = &place;
    return place.arena ? 0 : -1;
}

static int teardown(void **state) {
    Place *p = *state;
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+w '%s'; rm -rf '%s'", p->dir, p->dir);
    arena_free(p->arena);
    return system(command);
}

static int entries(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void a_published_file_reads_back_and_replaces(void **state) {
    Place *p = *state;
    Error err;
    char *text;
    size_t size;
    assert_int_equal(files_publish(p->path, "old", 3, 0644, &err), ST_OK);
    assert_int_equal(files_publish(p->path, "ne\0w", 4, 0600, &err), ST_OK);
    assert_int_equal(files_read(p->arena, p->path, 4, &text, &size, &err), ST_OK);
    assert_int_equal(size, 4);
    assert_memory_equal(text, "ne\0w", 5);
    assert_int_equal(entries(p->dir), 1);
    struct stat info;
    assert_int_equal(stat(p->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_true(files_exists(p->path));
}

static void a_read_names_the_path_and_the_limit(void **state) {
    Place *p = *state;
    Error err;
    char *text;
    assert_int_equal(files_read(p->arena, p->path, 10, &text, NULL, &err), ST_NOT_FOUND);
    assert_contains(err.message, p->path);
    assert_int_equal(files_publish(p->path, "12345", 5, 0644, &err), ST_OK);
    assert_int_equal(files_read(p->arena, p->path, 4, &text, NULL, &err), ST_LIMIT);
    assert_contains(err.message, "limit of 4 bytes");
    assert_int_equal(files_read(p->arena, p->dir, 4, &text, NULL, &err), ST_IO);
    assert_contains(err.message, p->dir);
}

/* A full disk by RLIMIT_FSIZE in a child: the write stops part of the way, with EFBIG. */
static void a_full_disk_leaves_the_old_file_and_no_temporary(void **state) {
    Place *p = *state;
    Error err;
    assert_int_equal(files_publish(p->path, "old", 3, 0644, &err), ST_OK);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
        static char big[100000];
        Status st = files_publish(p->path, big, sizeof big, 0644, &err);
        _exit(st == ST_IO && strstr(err.message, p->path) && strstr(err.message, "large") ? 0 : 1);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    assert_int_equal(entries(p->dir), 1);
    char *text;
    assert_int_equal(files_read(p->arena, p->path, 100, &text, NULL, &err), ST_OK);
    assert_string_equal(text, "old");
}

/* As another user, since root may write anywhere. */
static void an_unwritable_directory_is_named(void **state) {
    Place *p = *state;
    assert_int_equal(chmod(p->dir, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
        Error err;
        char below[128];
        snprintf(below, sizeof below, "%s/a/b", p->dir);
        if (files_publish(p->path, "x", 1, 0644, &err) != ST_PERMISSION) _exit(3);
        if (!strstr(err.message, p->path)) _exit(4);
        if (files_make_dirs(below, 0755, &err) != ST_PERMISSION) _exit(5);
        if (!strstr(err.message, below)) _exit(6);
        _exit(0);
    }
    int code;
    waitpid(child, &code, 0);
    assert_int_equal(code, 0);
    assert_int_equal(entries(p->dir), 0);
}

static void a_missing_directory_is_an_error_and_make_dirs_makes_it(void **state) {
    Place *p = *state;
    Error err;
    char dir[128], path[160];
    snprintf(dir, sizeof dir, "%s/a/b//c/", p->dir);
    snprintf(path, sizeof path, "%s/file", dir);
    assert_int_equal(files_publish(path, "x", 1, 0644, &err), ST_NOT_FOUND);
    assert_int_equal(files_make_dirs(dir, 0755, &err), ST_OK);
    assert_int_equal(files_make_dirs(dir, 0755, &err), ST_OK);
    assert_int_equal(files_publish(path, "x", 1, 0644, &err), ST_OK);
    snprintf(dir, sizeof dir, "%s/a/b/c/file/d", p->dir);
    assert_int_not_equal(files_make_dirs(dir, 0755, &err), ST_OK);
    assert_contains(err.message, dir);
}

static void publishing_over_a_directory_fails_cleanly(void **state) {
    Place *p = *state;
    Error err;
    assert_int_equal(mkdir(p->path, 0755), 0);
    assert_int_equal(files_publish(p->path, "x", 1, 0644, &err), ST_IO);
    assert_contains(err.message, "cannot replace");
    assert_int_equal(entries(p->dir), 1);
}

static void a_fifo_is_written_and_stays_a_fifo(void **state) {
    Place *p = *state;
    Error err;
    struct stat info;
    char text[16] = "";
    assert_int_equal(mkfifo(p->path, 0600), 0);
    int fd = open(p->path, O_RDONLY | O_NONBLOCK); /* the writer would wait for a reader */
    assert_true(fd >= 0);
    assert_int_equal(files_publish(p->path, "piped", 5, 0644, &err), ST_OK);
    assert_int_equal(read(fd, text, sizeof text), 5);
    assert_string_equal(text, "piped");
    close(fd);
    assert_int_equal(lstat(p->path, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_int_equal(entries(p->dir), 1);
}

static void a_link_stays_a_link_and_its_file_is_replaced(void **state) {
    Place *p = *state;
    Error err;
    struct stat info;
    char link[128], *text;
    snprintf(link, sizeof link, "%s/link", p->dir);
    assert_int_equal(symlink("file", link), 0);
    assert_int_equal(files_publish(link, "new", 3, 0644, &err), ST_NOT_FOUND);
    assert_contains(err.message, "cannot follow this link");
    assert_int_equal(files_publish(p->path, "old", 3, 0644, &err), ST_OK);
    assert_int_equal(files_publish(link, "new", 3, 0644, &err), ST_OK);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(files_read(p->arena, p->path, 100, &text, NULL, &err), ST_OK);
    assert_string_equal(text, "new");
}

static void files_that_others_may_write_are_refused(void **state) {
    Place *p = *state;
    Error err;
    assert_int_equal(files_check_owner(p->path, &err), ST_NOT_FOUND);
    assert_int_equal(files_publish(p->path, "x", 1, 0644, &err), ST_OK);
    assert_int_equal(files_check_owner(p->path, &err), ST_OK);
    assert_int_equal(chmod(p->path, 0664), 0);
    assert_int_equal(files_check_owner(p->path, &err), ST_PERMISSION);
    assert_contains(err.message, "chmod go-w");
    assert_int_equal(chmod(p->path, 0644), 0);
    if (geteuid() != 0) return; /* only root can give a file away */
    assert_int_equal(chown(p->path, 65534, 65534), 0);
    assert_int_equal(files_check_owner(p->path, &err), ST_PERMISSION);
    assert_contains(err.message, "65534");
}

static void directories_follow_the_environment(void **state) {
    Place *p = *state;
    setenv("HOME", "/h", 1);
    unsetenv("SEQTUNE_CACHE_DIR");
    unsetenv("XDG_CACHE_HOME");
    assert_string_equal(files_cache_dir(p->arena), "/h/.cache/seqtune");
    setenv("XDG_CACHE_HOME", "relative", 1);
    assert_string_equal(files_cache_dir(p->arena), "/h/.cache/seqtune");
    setenv("XDG_CACHE_HOME", "/x", 1);
    assert_string_equal(files_cache_dir(p->arena), "/x/seqtune");
    setenv("SEQTUNE_CACHE_DIR", "/own", 1);
    assert_string_equal(files_cache_dir(p->arena), "/own");
    setenv("SEQTUNE_CACHE_DIR", "", 1);
    assert_null(files_env("SEQTUNE_CACHE_DIR"));
    unsetenv("SEQTUNE_DATA_DIR");
    unsetenv("XDG_DATA_HOME");
    assert_string_equal(files_data_dir(p->arena), "/h/.local/share/seqtune");
}

static void out_of_memory_is_reported_and_leaves_nothing(void **state) {
    Place *p = *state;
    Error err;
    char *text;
    for (unsigned long n = 1;; n++) {
        mem_fail_after(n);
        Status st = files_publish(p->path, "data", 4, 0644, &err);
        if (st == ST_OK) st = files_read(p->arena, p->path, 100, &text, NULL, &err);
        unsigned long made = mem_fail_after(0);
        if (st == ST_OK && made < n) break;
        if (st != ST_OK) assert_int_equal(st, ST_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_int_equal(entries(p->dir), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_published_file_reads_back_and_replaces),
        TEST(a_read_names_the_path_and_the_limit),
        TEST(a_full_disk_leaves_the_old_file_and_no_temporary),
        TEST(an_unwritable_directory_is_named),
        TEST(a_missing_directory_is_an_error_and_make_dirs_makes_it),
        TEST(publishing_over_a_directory_fails_cleanly),
        TEST(a_fifo_is_written_and_stays_a_fifo),
        TEST(a_link_stays_a_link_and_its_file_is_replaced),
        TEST(files_that_others_may_write_are_refused),
        TEST(directories_follow_the_environment),
        TEST(out_of_memory_is_reported_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
