/* Waiting: who spins sleeps and is woken, a deadlock says who waits for what, seeds change orders
 * and no results. */
#include "exec_help.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ENTRY(body)                                                                                \
    PTX_HEADER ".shared .align 128 .b8 sm[1024];\n"                                                \
               ".visible .entry t(.param .u64 p) {\n"                                              \
               ".reg .b32 %r<24>; .reg .b64 %rd<16>; .reg .pred %p<8>; .reg .b64 %s<4>;\n"         \
               "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"         \
               "add.s64 %rd2, %rd0, %rd1; mov.u32 %r1, sm; shl.b32 %r15, %r0, 2;\n"                \
               "add.s32 %r14, %r1, %r15; setp.eq.u32 %p0, %r0, 0;\n" body "\n}\n"

/* `steps` rounds of a barrier over the grid, made of a counter in global memory: everybody writes
 * its round, waits for all, reads its neighbour's and counts what is not as it should be. */
#define FLAG_BARRIER(steps)                                                                        \
    ENTRY("mov.u32 %r2, %ctaid.x; mov.u32 %r3, %nctaid.x; mul.wide.u32 %rd3, %r2, 4;\n"            \
          "add.s64 %rd3, %rd3, %rd0; add.u32 %r4, %r2, 1; rem.u32 %r4, %r4, %r3;\n"                \
          "mul.wide.u32 %rd4, %r4, 4; add.s64 %rd4, %rd4, %rd0; mov.u32 %r5, 0; mov.u32 %r6, 0;\n" \
          "mov.u32 %r7, 0;\n"                                                                      \
          "STEP: add.u32 %r5, %r5, 1; add.u32 %r7, %r7, %r3; @!%p0 bra MEET;\n"                    \
          "st.global.u32 [%rd3+1024], %r5; red.release.gpu.global.add.u32 [%rd0], 1;\n"            \
          "SPIN: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.lt.u32 %p1, %r8, %r7;\n"              \
          "@%p1 bra SPIN;\n"                                                                       \
          "ld.volatile.global.u32 %r9, [%rd4+1024]; setp.lt.u32 %p2, %r9, %r5;\n"                  \
          "@%p2 add.u32 %r6, %r6, 1;\n"                                                            \
          "MEET: bar.sync 0; setp.lt.u32 %p3, %r5, " #steps "; @%p3 bra STEP;\n"                   \
          "add.u32 %r10, %r6, 7; @%p0 st.global.u32 [%rd3+2048], %r10; ret;")

static uint32_t word(const Bench *b, size_t i) {
    return ((const uint32_t *)b->buffer)[i];
}

static void run_grid(Bench *b, const char *text, uint32_t blocks, uint32_t threads, uint64_t seed) {
    bench_open(b, "sm_80", text, 1 << 16);
    b->launch = (SgLaunch){.grid = {blocks, 1, 1},
                           .block = {threads, 1, 1},
                           .resident = (int)blocks,
                           .threads = 2,
                           .seed = seed};
    if (bench_launch(b, "t")) fail_msg("%s", b->launch.fault.text);
}

static void a_flag_barrier_over_the_grid_keeps_step(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Bench b;
        run_grid(&b, FLAG_BARRIER(20), 108, 64, seed);
        for (size_t i = 0; i < 108; i++) assert_int_equal(word(&b, 512 + i), 7);
        assert_int_equal(word(&b, 0), 108 * 20);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_barrier_over_the_grid_keeps_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
