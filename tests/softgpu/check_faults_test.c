/* What is checked always, whatever SOFTGPU_CHECKS says: each mistake with the words of its fault
 * and a kernel that differs by the mistake alone. */
#include "exec_help.h"

#include <stdio.h>
#include <string.h>

/* %r0 thread, %r1 shared memory at 0x400, %rd0 the buffer, %rd1 local memory, %p0 thread 0. */
#define KERNEL                                                                                     \
    ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry t(.param .u64 p) {\n"          \
    ".reg .b32 %%r<16>; .reg .b64 %%rd<16>; .reg .pred %%p<4>; .reg .b16 %%h<4>;\n"                \
    ".shared .align 16 .b8 sh[256]; .shared .align 16 .b8 more[256];\n"                            \
    ".local .align 16 .b8 lo[64];\n"                                                               \
    "ld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; mov.u32 %%r1, sh; mov.u32 %%r2, more;\n"      \
    "mov.u64 %%rd1, lo; setp.eq.u32 %%p0, %%r0, 0; mov.u64 %%rd2, 0;\n"                            \
    "st.local.v4.u32 [%%rd1], {%%r0, %%r0, %%r0, %%r0}; mov.u32 %%r3, 64;\n"                       \
    "shl.b32 %%r4, %%r0, 4; add.u32 %%r4, %%r4, %%r1; st.shared.v4.u32 [%%r4], {%%r0, %%r0, "      \
    "%%r0, %%r0}; bar.sync 0;\n%s\nret; }\n"

typedef struct Row {
    const char *wrong, *right; /* code */
    int result;
    const char *words;
} Row;

static const Row memory[] = {
    {"ld.local.u32 %r5, [%rd1+4096];", "ld.local.u32 %r5, [%rd1+12];", 700,
     "out of bounds: 4 bytes at local address 0x1000 (lo + 4096, beyond its 64 bytes); the thread "
     "has [0x0, "},
    {"cvta.param.u64 %rd3, p; ld.u32 %r5, [%rd3+8];",
     "cvta.param.u64 %rd3, p; ld.u32 %r5, [%rd3+4];", 700,
     "out of bounds: 4 bytes at parameter address 0x8 (p + 8, beyond its 8 bytes); the launch has "
     "[0x0, 0x8)"},
    {"cvta.param.u64 %rd3, p; st.u32 [%rd3+4], %r0;",
     "cvta.param.u64 %rd3, p; ld.u32 %r5, [%rd3+4];", 700,
     "store to kernel parameters: 4 bytes at parameter address 0x4 (p + 4)"},
    {"ld.shared.u32 %r5, [%r2+256];", "ld.shared.u32 %r5, [%r2+252];", 700,
     "out of bounds: 4 bytes at shared address 0x600 (more + 256, beyond its 256 bytes); the block "
     "has [0x400, 0x600)"},
    {"ld.shared.u32 %r5, [%r1+2];", "ld.shared.u32 %r5, [%r1+4];", 716,
     "misaligned shared access: 4 bytes at shared address 0x402 (sh + 2); a multiple of 4 is "
     "needed"},
    {"@%p0 st.shared.u32 [%r2+6], %r0;", "@%p0 st.shared.u32 [%r2+8], %r0;", 716,
     "misaligned shared access: 4 bytes at shared address 0x506 (more + 6); a multiple of 4"},
    {"ld.local.u64 %rd3, [%rd1+4];", "ld.local.u64 %rd3, [%rd1+8];", 716,
     "misaligned local access: 8 bytes at local address 0x4 (lo + 4); a multiple of 8 is needed"},
    {"ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%rd0+8];",
     "ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%rd0+16];", 716, "offset 8 of allocation"},
    {"ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%rd0+8];", "ld.global.v2.u32 {%r5, %r6}, [%rd0+8];",
     716, "a multiple of 16 is needed"},
    {"add.u32 %r5, %r4, 8; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r6}, [%r5];",
     "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r6}, [%r4];", 716,
     "misaligned shared access: 16 bytes at shared address 0x408 (sh + 8); a multiple of 16"},
    {"mov.u64 %rd3, 0x9000000000000; ld.u32 %r5, [%rd3];", "ld.u32 %r5, [%rd0];", 700,
     "address is in no window: 4 bytes at 0x9000000000000"},
};

static const Row warps[] = {
    {"add.u32 %r5, %r3, -48; barrier.sync %r5;", "add.u32 %r5, %r3, -49; barrier.sync %r5;", 715,
     "barrier 16; there are 16"},
    {"add.u32 %r5, %r3, -16; barrier.sync 1, %r5;", "add.u32 %r5, %r3, -32; barrier.sync 1, %r5;",
     715, "barrier for 48 threads in a block of 32; a multiple of 32 is needed"},
    {"@%p0 exit; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r6}, [%r4];",
     "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r6}, [%r4]; @%p0 exit;", 715,
     "a warp-wide instruction needs all 32 lanes; mask 0xfffffffe"},
    {"add.u32 %r5, %r0, 3; T: .branchtargets A, B;\nbrx.idx %r5, T;\nA: B:",
     "and.b32 %r5, %r0, 1; T: .branchtargets A, B;\nbrx.idx %r5, T;\nA: B:", 715,
     "brx.idx 3 of 2 targets"},
    {"@%p0 mbarrier.init.shared.b64 [%r2], 2; bar.warp.sync -1;\n"
     "@!%p0 bra E; cp.async.ca.shared.global [%r2+16], [%rd0], 4;\n"
     "cp.async.mbarrier.arrive.shared.b64 [%r2]; mbarrier.arrive_drop.shared.b64 _, [%r2], 3;\nE:",
     "@%p0 mbarrier.init.shared.b64 [%r2], 2; bar.warp.sync -1;\n"
     "@!%p0 bra E; cp.async.ca.shared.global [%r2+16], [%rd0], 4;\n"
     "cp.async.mbarrier.arrive.shared.b64 [%r2]; mbarrier.arrive_drop.shared.b64 _, [%r2], 2;\nE:",
     715, "more drops than it expects arrivals"},
};

static bool runs(Bench *b, const char *code, uint32_t reach) {
    char text[4096];
    snprintf(text, sizeof text, KERNEL, code);
    bench_open(b, "sm_90", text, 4096);
    b->launch = (SgLaunch){
        .grid = {1, 1, 1}, .block = {32, 1, 1}, .resident = 1, .threads = 1, .reach = reach};
    return !bench_launch(b, "t");
}

static void must_fault(const char *code, uint32_t reach, int result, const char *words) {
    Bench b;
    if (runs(&b, code, reach)) fail_msg("%s\nno fault; expected: %s", code, words);
    if (b.launch.fault.cuda_result != result || !strstr(b.launch.fault.text, words))
        fail_msg("%s\nfault %d \"%s\"; expected %d \"%s\"", code, b.launch.fault.cuda_result,
                 b.launch.fault.text, result, words);
    bench_close(&b);
}

static void must_run(const char *code, uint32_t reach) {
    Bench b;
    if (!runs(&b, code, reach)) fail_msg("%s\n%s", code, b.launch.fault.text);
    bench_close(&b);
}

static void check(const Row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        must_fault(rows[i].wrong, 0, rows[i].result, rows[i].words);
        must_run(rows[i].right, 0);
    }
}

static void faults_of_memory_name_the_variable_and_what_is_needed(void **state) {
    (void)state;
    check(memory, sizeof memory / sizeof *memory);
}

static void faults_of_warps_name_what_was_asked_and_what_there_is(void **state) {
    (void)state;
    check(warps, sizeof warps / sizeof *warps);
}

static void memory_of_a_device_out_of_reach_is_named(void **state) {
    (void)state;
    must_fault("ld.global.u32 %r5, [%rd0];", 2, 700,
               "of device 0, whose memory this context may not use: cuCtxEnablePeerAccess was not "
               "called");
    must_run("ld.global.u32 %r5, [%rd0];", 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_of_memory_name_the_variable_and_what_is_needed),
        cmocka_unit_test(faults_of_warps_name_what_was_asked_and_what_there_is),
        cmocka_unit_test(memory_of_a_device_out_of_reach_is_named),
    };
    return run_with_and_without_checks(tests);
}
