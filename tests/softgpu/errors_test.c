/* Runs every row of softgpu/errors.def, each in a process of its own: the calls made wrongly, and
 * what the driver must answer. A row without a case, or a case without a row, does not compile.
 * One row alone: test_softgpu_errors NAME. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "softgpu/driver/abi.h"
#include "tests/softgpu/driver_fixture.h"

#define CUDA_ERROR_SUCCESS CUDA_SUCCESS
#define CASE(name)         static CUresult case_##name(void)
/* A step on the way to the misuse: it must succeed. */
#define DO(call)                                                                                   \
    do {                                                                                           \
        const CUresult did = (call);                                                               \
        if (did != CUDA_SUCCESS) return step_failed(#call, did);                                   \
    } while (0)
/* A case that needs the fixture and then is one call. */
#define SIMPLE(name, call)                                                                         \
    CASE(name) {                                                                                   \
        DO(fixture_open(&f));                                                                      \
        return call;                                                                               \
    }

static int on_host[64];
static int number;
static size_t size;
static void *const garbage = (void *)(uintptr_t)0x123456;

static CUresult step_failed(const char *call, CUresult result) {
    fprintf(stderr, "step %s gave %d\n", call, (int)result);
    return CUDA_ERROR_UNKNOWN;
}

static CUdeviceptr host_address(void) {
    return (CUdeviceptr)(uintptr_t)on_host;
}

#include "tests/softgpu/errors_launch.inc"
#include "tests/softgpu/errors_memory.inc"
#include "tests/softgpu/errors_graph.inc"
#include "tests/softgpu/errors_graph_memory.inc"

/* The table ------------------------------------------------------------------- */

static const struct {
    const char *name, *call, *misuse;
    CUresult (*run)(void);
    CUresult expected;
} rows[] = {
#define MISUSE(name, call, misuse, result) {#name, call, misuse, case_##name, CUDA_ERROR_##result},
#include "softgpu/errors.def"
#undef MISUSE
};

static const char *only;

static void every_misuse_gets_its_documented_result(void **state) {
    (void)state;
    size_t failed = 0, ran = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (only != NULL && strcmp(only, rows[i].name) != 0) continue;
        const CUresult got = in_child(rows[i].run);
        ran++;
        if (got == rows[i].expected) continue;
        failed++;
        print_error("%s: %s, %s: got %d, expected %d\n", rows[i].name, rows[i].call, rows[i].misuse,
                    (int)got, (int)rows[i].expected);
    }
    print_message("%zu rows, %zu failed\n", ran, failed);
    assert_true(ran > 0);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_misuse_gets_its_documented_result)};
    if (argc > 1) only = argv[1];
    return cmocka_run_group_tests_name("softgpu errors.def", tests, NULL, NULL);
}
