/* What the runtime's tests share: cmocka and a scratch directory. */
#ifndef SEQTUNE_TESTS_RUNTIME_TEST_H
#define SEQTUNE_TESTS_RUNTIME_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"

/* Fails with the message of `err` when st is not ST_OK. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        Status st_ = (call);                                                                       \
        if (st_ != ST_OK) fail_msg("%s: %s: %s", #call, status_text(st_), (err).message);          \
    } while (0)

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL) fail_msg("\"%s\" lacks \"%s\"", (text), (part));       \
    } while (0)

/* A new directory below TMPDIR, removed by scratch_remove. The path is the caller's to free. */
static inline char *scratch_make(void) {
    const char *base = getenv("TMPDIR");
    char *path = malloc(4096);
    assert_non_null(path);
    snprintf(path, 4096, "%s/seqtune-test-XXXXXX", base != NULL ? base : P_tmpdir);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void scratch_remove(char *path) {
    char command[4200];
    snprintf(command, sizeof command, "chmod -R u+rwx '%s' && rm -rf '%s'", path, path);
    assert_int_equal(system(command), 0);
    free(path);
}

#endif
