#include "exec_sync_help.h"

#include <string.h>

uint32_t word(const Bench *b, size_t i) {
    return ((const uint32_t *)b->buffer)[i];
}

void run_grid(Bench *b, const char *text, uint32_t blocks, uint32_t threads, uint64_t seed) {
    bench_open(b, "sm_90", text, 1 << 16);
    b->launch = (SgLaunch){.grid = {blocks, 1, 1},
                           .block = {threads, 1, 1},
                           .resident = (int)blocks,
                           .threads = 2,
                           .seed = seed};
    if (bench_launch(b, "t")) fail_msg("%s", b->launch.fault.text);
}

bool run_checked(Bench *b, const char *text, uint32_t threads, bool checked) {
    checks_set(checked ? "sync" : "none");
    bench_open(b, "sm_90", text, 1 << 16);
    checks_reset();
    return bench_run(b, "t", 1, threads);
}

void faults(const char *text, uint32_t threads, int result, const char *part) {
    Bench b;
    if (!run_checked(&b, text, threads, true)) fail_msg("no fault; expected: %s", part);
    if (b.launch.fault.cuda_result != result || !strstr(b.launch.fault.text, part))
        fail_msg("fault %d \"%s\"; expected %d \"%s\"", b.launch.fault.cuda_result,
                 b.launch.fault.text, result, part);
    bench_close(&b);
}
