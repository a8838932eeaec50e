/* What base promises to many threads: evaluating one formula, logging, allocating, hashing,
 * publishing one file. Meant for --tsan; without it, it checks the values. */
#include "tests/base/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/expr.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

enum { THREADS = 8, ROUNDS = 200 };

static const Expr *shared;
static char path[64];
static atomic_int lines, wrong;

static bool lookup(const void *context, const char *name, ExprValue *out) {
    (void)name;
    *out = expr_int(*(const int *)context);
    return true;
}

static void count_line(void *context, LogLevel level, const char *channel, const char *line) {
    (void)context;
    (void)level;
    (void)channel;
    (void)line;
    atomic_fetch_add(&lines, 1);
}

static void *work(void *argument) {
    int number = *(int *)argument;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t value;
        const ExprEnv env = {.lookup = lookup, .context = &number};
        Error err;
        if (expr_eval_int(shared, &env, &value, &err) != ST_OK || value != number * 3 + 1) wrong++;
        char *text = mem_strdup("abc");
        Hash h = hash_bytes(text, 3), same = hash_bytes("abc", 3);
        if (!hash_equal(&h, &same)) wrong++;
        mem_free(text);
        log_write(LOG_WARN, "gen", "round number=%d", i);
        if (i % 50 == 0 && files_publish(path, "whole", 5, 0644, &err) != ST_OK) wrong++;
    }
    return NULL;
}

static void threads_share_formulas_log_heap_and_files(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Error err;
    assert_int_equal(expr_parse(arena, "n * 3 + 1", (TextPos){0}, &shared, &err), ST_OK);
    snprintf(path, sizeof path, "/tmp/seqtune-threads-%ld", (long)getpid());
    log_set_sink(count_line, NULL);
    log_set_level(LOG_WARN);
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    log_set_sink(NULL, NULL);
    assert_int_equal(wrong, 0);
    assert_int_equal(lines, THREADS * ROUNDS);
    char *text;
    assert_int_equal(files_read(arena, path, 10, &text, NULL, &err), ST_OK);
    assert_string_equal(text, "whole");
    unlink(path);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_formulas_log_heap_and_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
