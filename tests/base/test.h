/* What every cmocka program of tests/ includes, in the order cmocka wants. */
#ifndef SEQTUNE_TESTS_BASE_TEST_H
#define SEQTUNE_TESTS_BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Fails with both texts when `text` does not contain `part`. */
#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr((text), (part))) fail_msg("\"%s\" does not contain \"%s\"", (text), (part));   \
    } while (0)

#endif
