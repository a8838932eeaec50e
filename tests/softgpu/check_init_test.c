/* SOFTGPU_CHECKS=init: reads of bytes that nothing wrote, in every memory, and that what was
 * written is left alone. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/written.h"

static Bench bench;

#define ENTRY(vars, body)                                                                          \
    PTX_HEADER vars ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n"    \
                    ".reg .b16 %h<9>;\n.reg .pred %p<3>;\n.shared .align 16 .b8 sh[4096];\n"       \
                    ".local .align 16 .b8 lo[64];\n"                                               \
                    "ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\n"  \
                    "add.u64 %rd2, %rd1, %rd2;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, sh;\n"          \
                    "add.u32 %r2, %r2, %r3;\n" body "ret; }\n"

/* Runs one block of 32 threads; the first `written` bytes of the buffer count as written. NULL: no
 * fault. */
static const char *finding(const char *text, uint64_t written) {
    checks_set("init");
    bench_open_unwritten(&bench, "sm_80", text, 4096);
    sg_written_mark(bench.buffer, written);
    const bool faulted = bench_run(&bench, "t", 1, 32);
    static char found[2048];
    snprintf(found, sizeof found, "%s", bench.launch.fault.text);
    bench_close(&bench);
    checks_reset();
    return faulted ? found : NULL;
}

static void must_find(const char *text, uint64_t written, const char *what) {
    const char *const found = finding(text, written);
    if (!found || !strstr(found, what)) fail_msg("wanted '%s', got '%s'", what, found ? found : "");
}

static void must_be_clean(const char *text, uint64_t written) {
    const char *const found = finding(text, written);
    if (found) fail_msg("%s", found);
}

static void device_memory_is_watched_byte_by_byte(void **state) {
    (void)state;
    const char *const load = ENTRY("", "ld.global.u32 %r4, [%rd2];\n");
    must_be_clean(load, 128);
    must_find(load, 127, "offset 124 of allocation");
    must_find(load, 127, "byte 3 of them was never written");
    must_find(load, 127, "thread (31,0,0)");
    must_find(load, 0, "never written");
    must_find(load, 0, "read of uninitialised memory: 4 bytes at 0x");
    must_find(ENTRY("", "ld.u32 %r4, [%rd2];\n"), 64, "offset 64 of");
    must_find(ENTRY("", "ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1+48];\n"), 50,
              "bytes 2 to 15 of them");
    must_find(ENTRY("", "atom.global.add.u32 %r4, [%rd1], 1;\n"), 0, "never written");
    must_be_clean(ENTRY("", "atom.global.add.u32 %r4, [%rd1], 1;\n"), 4);
}

static void what_a_kernel_wrote_may_be_read(void **state) {
    (void)state;
    must_be_clean(ENTRY("", "st.global.u32 [%rd2], %r1; ld.global.u32 %r4, [%rd2];\n"), 0);
    must_be_clean(ENTRY("", "st.u32 [%rd2], %r1; ld.global.u32 %r4, [%rd2];\n"), 0);
    must_find(ENTRY("", "cvt.u16.u32 %h1, %r1; st.global.u16 [%rd2], %h1;\n"
                        "ld.global.u32 %r4, [%rd2];\n"),
              0, "bytes 2 to 3 of them");
    must_be_clean(ENTRY("", "cvt.u16.u32 %h1, %r1; st.global.u16 [%rd2], %h1;\n"
                            "ld.global.u16 %h2, [%rd2];\n"),
                  0);
    must_be_clean(ENTRY("", "setp.lt.u32 %p1, %r1, 7; @%p1 st.global.u32 [%rd2], %r1;\n"
                            "@%p1 ld.global.u32 %r4, [%rd2];\n"),
                  0);
    must_find(ENTRY("", "setp.lt.u32 %p1, %r1, 7; @%p1 st.global.u32 [%rd2], %r1;\n"
                        "ld.global.u32 %r4, [%rd2];\n"),
              0, "thread (7,0,0)");
}

static void variables_of_a_module_start_written(void **state) {
    (void)state;
    must_be_clean(ENTRY(".global .u32 zero[2]; .const .u32 one = 1;\n",
                        "ld.global.u32 %r4, [zero+4]; ld.const.u32 %r5, [one];\n"),
                  0);
}

static void shared_memory_starts_unwritten_in_each_block(void **state) {
    (void)state;
    must_find(ENTRY("", "ld.shared.u32 %r4, [%r2];\n"), 0, "4 bytes at shared address 0x400");
    must_be_clean(ENTRY("", "st.shared.u32 [%r2], %r1; ld.shared.u32 %r4, [%r2];\n"), 0);
    must_be_clean(ENTRY("", "st.shared.u32 [%r2], %r1; bar.warp.sync -1;\n"
                            "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r3];\n"),
                  0);
    must_find(ENTRY("", "st.shared.u32 [%r2], %r1; bar.warp.sync -1;\n"
                        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r3+128];\n"),
              0, "16 bytes at shared address 0x480 (sh + 128): never written (PTX");
    checks_set("init"); /* the second block gets the first one's memory */
    bench_open_unwritten(&bench, "sm_80",
                         ENTRY("", "mov.u32 %r5, %ctaid.x; setp.eq.u32 %p1, %r5, 0;\n"
                                   "@%p1 st.shared.u32 [%r2], %r1; ld.shared.u32 %r4, [%r2];\n"),
                         4096);
    assert_true(bench_run(&bench, "t", 2, 32));
    assert_non_null(strstr(bench.launch.fault.text, "block (1,0,0)"));
    bench_close(&bench);
    checks_reset();
}

/* The warp that runs first reads before the other has stored. */
static void a_read_before_the_store_of_another_warp_hints_at_the_barrier(void **state) {
    (void)state;
#define PASS(sync)                                                                                 \
    ENTRY("",                                                                                      \
          "st.shared.u32 [%r2], %r1; xor.b32 %r5, %r2, 128;\n" sync "ld.shared.u32 %r4, [%r5];\n")
    for (int i = 0; i < 2; i++) {
        checks_set("init");
        bench_open_unwritten(&bench, "sm_80", i ? PASS("bar.sync 0;\n") : PASS(""), 4096);
        assert_int_equal(bench_run(&bench, "t", 1, 64), !i);
        if (!i && !strstr(bench.launch.fault.text, "never written so far; where another thread or "
                                                   "a copy writes them, a barrier or a wait before "
                                                   "this read is missing"))
            fail_msg("%s", bench.launch.fault.text);
        bench_close(&bench);
        checks_reset();
    }
#undef PASS
}

static void asynchronous_copies_write_what_they_fill_and_read_what_they_take(void **state) {
    (void)state;
    const char *const copy = ENTRY("", "cp.async.ca.shared.global [%r2], [%rd2], 4;\n"
                                       "cp.async.wait_all; ld.shared.u32 %r4, [%r2];\n");
    must_be_clean(copy, 128);
    must_find(copy, 100, "offset 100 of allocation");
    must_be_clean(ENTRY("", "cp.async.ca.shared.global [%r2], [%rd2], 4, 0;\n"
                            "cp.async.wait_all; ld.shared.u32 %r4, [%r2];\n"),
                  0);
    must_be_clean(ENTRY("", "cp.async.ca.shared.global [%r2], [%rd1], 4, 2;\n"
                            "cp.async.wait_all; ld.shared.u32 %r4, [%r2];\n"),
                  2);
    must_find(ENTRY("", "cp.async.ca.shared.global [%r2], [%rd1], 4, 2;\n"), 1,
              "byte 1 of them was never written");
}

static void a_local_load_is_at_fault_when_it_gets_nothing_written(void **state) {
    (void)state;
    must_find(ENTRY("", "ld.local.u32 %r4, [lo];\n"), 0,
              "local address 0x0 (lo + 0): never written (PTX");
    must_be_clean(ENTRY("", "st.local.u32 [lo], %r1; ld.local.u32 %r4, [lo];\n"), 0);
    /* a structure with padding, moved by 64 bits */
    must_be_clean(ENTRY("", "st.local.u32 [lo], %r1; ld.local.u64 %rd4, [lo];\n"), 0);
    must_find(ENTRY("", "st.local.u32 [lo], %r1; ld.local.u64 %rd4, [lo+8];\n"), 0,
              "local address 0x8");
}

static void a_copy_of_device_memory_takes_what_is_known_along(void **state) {
    (void)state;
    const char *const load = ENTRY("", "ld.global.u32 %r4, [%rd2+512];\n");
    checks_set("init");
    bench_open_unwritten(&bench, "sm_80", load, 4096);
    sg_written_mark(bench.buffer, 64);
    sg_written_copy(bench.buffer + 512, bench.buffer, 128);
    assert_true(bench_run(&bench, "t", 1, 32));
    assert_non_null(strstr(bench.launch.fault.text, "offset 576 of"));
    sg_written_mark(bench.buffer + 64, 64);
    sg_written_copy(bench.buffer + 512, bench.buffer, 128);
    assert_false(bench_run(&bench, "t", 1, 32));
    bench_close(&bench);
    checks_reset();
}

static void what_unwatched_kernels_may_have_written_is_not_asked_about(void **state) {
    (void)state;
    const char *const load = ENTRY("", "ld.global.u32 %r4, [%rd2];\n");
    Bench other;
    checks_set("init");
    bench_open_unwritten(&bench, "sm_80", load, 4096);
    assert_true(bench_run(&bench, "t", 1, 32));
    checks_reset();
    bench_open_unwritten(&other, "sm_80", load, 4096); /* an allocation that is not tracked */
    assert_false(bench_run(&other, "t", 1, 32));
    assert_false(bench_run(&bench, "t", 1, 32));
    bench_close(&other);
    bench_close(&bench);
}

static void reserved_memory_begins_each_life_unwritten(void **state) {
    (void)state;
    static int owner;
    uint64_t address = 0;
    checks_set("init");
    bench_open_unwritten(&bench, "sm_80", ENTRY("", "ld.global.u32 %r4, [%rd2];\n"), 4096);
    const uint64_t own = bench.buffer;
    assert_int_equal(sg_mem_reserve(0, 4096, &address, NULL), ST_OK);
    bench.buffer = address;
    assert_true(bench_run(&bench, "t", 1, 32));
    assert_non_null(strstr(bench.launch.fault.text, "outside its lifetime"));
    for (int life = 0; life < 2; life++) {
        assert_int_equal(sg_mem_back(address, &owner, UINT64_MAX, NULL), ST_OK);
        assert_true(bench_run(&bench, "t", 1, 32));
        assert_non_null(strstr(bench.launch.fault.text, "never written"));
        sg_written_mark(address, 128);
        assert_false(bench_run(&bench, "t", 1, 32));
        assert_int_equal(sg_mem_free(address, NULL), ST_OK);
    }
    sg_mem_unreserve(address);
    bench.buffer = own;
    bench_close(&bench);
    checks_reset();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_memory_is_watched_byte_by_byte),
        cmocka_unit_test(what_a_kernel_wrote_may_be_read),
        cmocka_unit_test(variables_of_a_module_start_written),
        cmocka_unit_test(shared_memory_starts_unwritten_in_each_block),
        cmocka_unit_test(a_read_before_the_store_of_another_warp_hints_at_the_barrier),
        cmocka_unit_test(asynchronous_copies_write_what_they_fill_and_read_what_they_take),
        cmocka_unit_test(a_local_load_is_at_fault_when_it_gets_nothing_written),
        cmocka_unit_test(a_copy_of_device_memory_takes_what_is_known_along),
        cmocka_unit_test(reserved_memory_begins_each_life_unwritten),
        cmocka_unit_test(what_unwatched_kernels_may_have_written_is_not_asked_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
