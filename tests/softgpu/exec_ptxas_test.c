/* What each instruction needs of its target, asked of the ptxas inside NVRTC: the rows of
 * exec_features.inc compile for every target that they name and for none below it. Which .version
 * they need is not asked: NVRTC writes its own. Skips where no NVRTC is installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/nvrtc.h"

typedef struct Row {
    const char *code;
    int version, target;
} Row;
#define ARCHITECTURE(n) (-(n))
#include "exec_features.inc"
enum { ROWS = sizeof rows / sizeof *rows };

static const int targets[] = {75, 80, 86, 87, 89, 90, 100, 120};
enum { TARGETS = sizeof targets / sizeof *targets };

static Nvrtc *nvrtc;

static int open_nvrtc(void **state) {
    (void)state;
    Error err;
    if (nvrtc_open(0, &nvrtc, &err)) nvrtc = NULL;
    return 0;
}

static int close_nvrtc(void **state) {
    (void)state;
    nvrtc_close(nvrtc);
    return 0;
}

/* A kernel that holds the row's instruction. */
static size_t kernel(const Row *r, int index, char *out, size_t size) {
    size_t n = (size_t)snprintf(
        out, size,
        "__global__ void k%d() { asm volatile(\"{ .shared .align 16 .b8 sm[64]; .reg .b16 "
        "%%%%h<4>; "
        ".reg .b32 %%%%r<16>; .reg .f32 %%%%f<16>; .reg .f64 %%%%d<12>; .reg .b64 %%%%rd<8>; "
        ".reg .pred %%%%p<4>; ",
        index);
    for (const char *p = r->code; *p; p++)
        n += (size_t)snprintf(out + n, size - n, *p == '%' ? "%%%%" : "%c", *p);
    n += (size_t)snprintf(out + n, size - n, " }\" :: \"r\"(0)); }\n");
    assert_true(n < size);
    return n;
}

/* Whether the text compiles to a cubin for sm_<target><suffix>; the log otherwise. */
static bool compiles(const char *text, int target, const char *suffix, char *log, size_t size) {
    char arch[32];
    snprintf(arch, sizeof arch, "-arch=sm_%d%s", target, suffix);
    const char *const options[] = {arch};
    void *program = NULL;
    assert_int_equal(nvrtc->CreateProgram(&program, text, "row.cu", 0, NULL, NULL), 0);
    const int result = nvrtc->CompileProgram(program, 1, options);
    size_t length = 0;
    log[0] = '\0';
    assert_int_equal(nvrtc->GetProgramLogSize(program, &length), 0);
    char *const whole = calloc(length + 1, 1);
    assert_int_equal(nvrtc->GetProgramLog(program, whole), 0);
    snprintf(log, size, "%s", whole);
    free(whole);
    nvrtc->DestroyProgram(&program);
    return result == 0;
}

/* One program of all rows that need no more than the target. */
static void check_taken(int target, const char *suffix) {
    static char text[ROWS * 1024];
    char log[4096];
    size_t n = 0;
    for (int i = 0; i < ROWS; i++)
        if (*suffix ? abs(rows[i].target) <= target
                    : rows[i].target >= 0 && rows[i].target <= target)
            n += kernel(&rows[i], i, text + n, sizeof text - n);
    if (!compiles(text, target, suffix, log, sizeof log))
        fail_msg("sm_%d%s: %s", target, suffix, log);
}

static void ptxas_takes_each_row_from_its_target_on(void **state) {
    (void)state;
    if (!nvrtc) skip();
    for (int t = 0; t < TARGETS; t++)
        if (nvrtc_knows_arch(nvrtc, targets[t])) check_taken(targets[t], "");
    if (nvrtc_knows_arch(nvrtc, 100)) check_taken(100, "a");
}

static void ptxas_refuses_each_row_below_its_target(void **state) {
    (void)state;
    if (!nvrtc) skip();
    for (int i = 0; i < ROWS; i++) {
        const int needs = rows[i].target;
        int below = needs < 0 ? -needs : 0;
        for (int t = 0; t < TARGETS && targets[t] < needs; t++)
            if (nvrtc_knows_arch(nvrtc, targets[t])) below = targets[t];
        if (!below || !nvrtc_knows_arch(nvrtc, below)) continue;
        char text[1024], log[4096];
        (void)kernel(&rows[i], i, text, sizeof text);
        if (compiles(text, below, "", log, sizeof log))
            fail_msg("%s compiles for sm_%d", rows[i].code, below);
        if (!strstr(log, "requires .target") && !strstr(log, "not supported on .target"))
            fail_msg("%s is refused for sm_%d for another reason: %s", rows[i].code, below, log);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ptxas_takes_each_row_from_its_target_on),
        cmocka_unit_test(ptxas_refuses_each_row_below_its_target),
    };
    return cmocka_run_group_tests(tests, open_nvrtc, close_nvrtc);
}
