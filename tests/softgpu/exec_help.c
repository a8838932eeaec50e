/* See exec_help.h. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/exec/simd.h"
#include "softgpu/written.h"

static const char *checks_of_group; /* NULL: as the environment says */

void checks_set(const char *list) {
    setenv("SOFTGPU_CHECKS", list, 1);
}

void checks_reset(void) {
    if (checks_of_group)
        setenv("SOFTGPU_CHECKS", checks_of_group, 1);
    else
        unsetenv("SOFTGPU_CHECKS");
}

void checks_without_init(void) {
    if (checks_of_group && strcmp(checks_of_group, "all") == 0)
        checks_set("race,async,sync,address");
}

void checks_off(void) {
    checks_set("none");
}

static int checks_of_the_group(const char *list) {
    checks_of_group = list;
    checks_reset();
    return 0;
}

int checks_all(void **state) {
    (void)state;
    return checks_of_the_group("all");
}

int checks_none(void **state) {
    (void)state;
    return checks_of_the_group("none");
}

bool checks_wanted(const char *list) {
    static char given[64]; /* as the program was started */
    static bool looked;
    const char *const now = getenv("SOFTGPU_CHECKS");
    if (!looked && now) snprintf(given, sizeof given, "%s", now);
    looked = true;
    return !given[0] || strcmp(given, list) == 0;
}

void bench_open_unwritten(Bench *b, const char *arch, const char *text, uint64_t buffer_bytes) {
    memset(b, 0, sizeof *b);
    b->arena = arena_new();
    b->size = buffer_bytes;
    assert_non_null(b->arena);
    if (sg_module_load(text, strlen(text), gpu_arch_find(arch), 13000, 0, &b->module, &b->err) !=
        ST_OK)
        fail_msg("%s", b->err.message);
    assert_int_equal(sg_mem_alloc(0, b->module, buffer_bytes, UINT64_MAX, &b->buffer, &b->err),
                     ST_OK);
}

void bench_open(Bench *b, const char *arch, const char *text, uint64_t buffer_bytes) {
    bench_open_unwritten(b, arch, text, buffer_bytes);
    sg_written_mark(b->buffer, buffer_bytes);
}

void bench_close(Bench *b) {
    sg_module_free(b->module); /* the buffer is owned by the module */
    arena_free(b->arena);
}

bool bench_launch(Bench *b, const char *entry) {
    b->launch.kernel = sg_module_kernel(b->module, entry);
    b->launch.params = &b->buffer;
    assert_non_null(b->launch.kernel);
    b->launch.profile |= getenv("SOFTGPU_PROFILE") != NULL;
    const Status st = sg_execute(&b->launch, b->arena, &b->err);
    if (st != ST_OK) fail_msg("%s", b->err.message);
    return b->launch.fault.faulted;
}

bool bench_run(Bench *b, const char *entry, uint32_t blocks, uint32_t threads) {
    b->launch = (SgLaunch){.grid = {blocks, 1, 1},
                           .block = {threads, 1, 1},
                           .resident = 64,
                           .threads = 1,
                           .model = gpu_model_find("a100")};
    return bench_launch(b, entry);
}

const char *load_error(const char *arch, const char *text, Error *err) {
    SgModule *module = NULL;
    err->message[0] = '\0';
    const Status st = sg_module_load(text, strlen(text), gpu_arch_find(arch), 13000, 0, &module, err);
    assert_int_not_equal(st, ST_OK);
    assert_null(module);
    return err->message;
}

void each_simd_level(void (*check)(const char *level)) {
    for (int i = 0; sg_simd_name(i); i++) {
        if (!sg_simd_supported(i)) continue;
        setenv("SOFTGPU_SIMD", sg_simd_name(i), 1);
        check(sg_simd_name(i));
    }
    unsetenv("SOFTGPU_SIMD");
}
