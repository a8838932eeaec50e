/* The PTX cases of a ZLUDA checkout, with the bits that its authors assert on NVIDIA's driver, run
 * on the software GPU: material that nobody here wrote.
 *
 *   ZLUDA_DIR=checkout test_softgpu_foreign     skips them when ZLUDA_DIR is not set
 *   SEQTUNE_TEST_GPU=0                          on that CUDA device instead, to judge the cases
 *   SEQTUNE_FOREIGN_CASE=NAME                   that case only
 *
 * A case that known.def lists must fail where the row says; one that passes has a row too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/softgpu/foreign/foreign.h"

static const struct {
    const char *name;
    DriveStage stage;
    const char *why;
} known[] = {
#define KNOWN(name, stage, why) {#name, DRIVE_##stage, why},
#include "tests/softgpu/foreign/known.def"
#undef KNOWN
    {NULL, DRIVE_PASSED, NULL},
};

static const char *const one_warp[] = {
#define ONE_WARP(name, why) #name,
#include "tests/softgpu/foreign/known.def"
#undef ONE_WARP
    NULL,
};

static DriveDevice device;

DriveDevice foreign_soft_device(void) {
    return (DriveDevice){.library = SEQTUNE_BINARY_DIR "/softgpu/libseqtune-softgpu.so",
                         .model = "rtx5090"};
}

static DriveDevice chosen_device(void) {
    const char *const gpu = getenv("SEQTUNE_TEST_GPU");
    return gpu ? (DriveDevice){.library = "libcuda.so.1", .ordinal = atoi(gpu)}
               : foreign_soft_device();
}

static int known_row(const char *name) {
    for (int i = 0; known[i].name; i++)
        if (strcmp(known[i].name, name) == 0) return device.model ? i : -1;
    return -1;
}

static bool is_one_warp(const char *name) {
    for (int i = 0; one_warp[i]; i++)
        if (strcmp(one_warp[i], name) == 0) return true;
    return false;
}

static void foreign_case_gives_its_bits(void **state) {
    ForeignCase *const c = *state;
    if (is_one_warp(c->name)) c->threads = 32;
    DriveOutcome out;
    drive_case(c, &device, &out);
    const int row = known_row(c->name);
    if (row >= 0 && out.stage == known[row].stage) return;
    if (row >= 0)
        fail_msg("%s: known.def expects '%s' (%s), it is '%s' %s", c->name,
                 drive_stage_name(known[row].stage), known[row].why, drive_stage_name(out.stage),
                 out.text);
    if (out.stage != DRIVE_PASSED)
        fail_msg("%s: %s: %s (SEQTUNE_FOREIGN_CASE=%s runs this one)", c->name,
                 drive_stage_name(out.stage), out.text, c->name);
}

static void foreign_cases_are_read(void **state) {
    (void)state;
    print_message("ZLUDA_DIR names no checkout: no foreign case was run\n");
    skip();
}

static void foreign_table_can_be_read(void **state) {
    fail_msg("ZLUDA_DIR: %s", (const char *)*state);
}

static int run_cases(const ForeignCases *cases) {
    const char *const only = getenv("SEQTUNE_FOREIGN_CASE");
    struct CMUnitTest *const tests = calloc(cases->count, sizeof *tests);
    size_t n = 0;
    if (!tests) return 1;
    for (size_t i = 0; i < cases->count; i++) {
        if (only && strcmp(only, cases->items[i].name) != 0) continue;
        tests[n++] = (struct CMUnitTest){.name = cases->items[i].name,
                                         .test_func = foreign_case_gives_its_bits,
                                         .initial_state = &cases->items[i]};
    }
    if (n == 0) {
        fprintf(stderr, "SEQTUNE_FOREIGN_CASE: the checkout has no case '%s'\n", only ? only : "");
        free(tests);
        return 1;
    }
    const int failed = _cmocka_run_group_tests("foreign cases", tests, n, NULL, NULL);
    free(tests);
    return failed;
}

static int run_checkout(const char *checkout) {
    Arena *const arena = arena_new();
    ForeignCases cases;
    Error err = {.message = ""};
    int failed = 0;
    const char *const directory = arena_printf(arena, "%s/ptx/src/test/spirv_run", checkout);
    if (directory && foreign_cases(directory, arena, &cases, &err) == ST_OK) {
        failed = run_cases(&cases);
    } else {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(foreign_table_can_be_read, err.message)};
        failed = cmocka_run_group_tests_name("foreign cases", tests, NULL, NULL);
    }
    arena_free(arena);
    return failed;
}

int main(void) {
    const char *const checkout = getenv("ZLUDA_DIR");
    const struct CMUnitTest absent[] = {cmocka_unit_test(foreign_cases_are_read)};
    const int failed = foreign_own_tests();
    device = chosen_device();
    if (!checkout || !*checkout)
        return cmocka_run_group_tests_name("foreign cases", absent, NULL, NULL) + failed != 0;
    return run_checkout(checkout) + failed != 0;
}
