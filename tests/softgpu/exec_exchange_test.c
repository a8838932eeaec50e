/* shfl, vote, match, redux, elect over warps, whole and with groups of lanes apart. */
#include "exec_help.h"

#include <stdio.h>
#include <string.h>

#define ENTRY(body)                                                                                \
    PTX_HEADER ".visible .entry t(.param .u64 p) {\n"                                              \
               ".reg .b32 %%r<16>; .reg .b64 %%rd<4>; .reg .pred %%p<8>;\n"                        \
               "ld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; mul.wide.u32 %%rd1, %%r0, 8;\n"    \
               "add.s64 %%rd0, %%rd0, %%rd1; mad.lo.s32 %%r1, %%r0, 3, 100;\n" body                \
               "\nst.global.v2.u32 [%%rd0], {%%r2, %%r3}; ret;\n}\n"

static Bench bench;

static const uint32_t *run(const char *text) {
    bench_open(&bench, "sm_80", text, 4096);
    if (bench_run(&bench, "t", 1, 32)) fail_msg("%s", bench.launch.fault.text);
    return (const uint32_t *)bench.buffer;
}

/* The pseudo-code of PTX ISA, shfl.sync, word for word. */
static void reference(const char *mode, int lane, int b, int c, uint32_t *value, uint32_t *pval) {
    const int bval = b & 0x1f, cval = c & 0x1f, mask = c >> 8 & 0x1f;
    const int max_lane = (lane & mask) | (cval & ~mask), min_lane = lane & mask;
    int j = 0;
    bool p = false;
    if (strcmp(mode, "up") == 0) {
        j = lane - bval;
        p = j >= max_lane;
    } else if (strcmp(mode, "down") == 0) {
        j = lane + bval;
        p = j <= max_lane;
    } else if (strcmp(mode, "bfly") == 0) {
        j = lane ^ bval;
        p = j <= max_lane;
    } else {
        j = min_lane | (bval & ~mask);
        p = j <= max_lane;
    }
    if (!p) j = lane;
    *value = (uint32_t)(3 * j + 100);
    *pval = p;
}

static void shuffles_follow_the_pseudo_code(void **state) {
    (void)state;
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    static const int clamps[] = {0, 31, 0x1000, 0x101f, 0x181f, 0x1c03, 0x1807, 0x1f};
    for (int m = 0; m < 4; m++)
        for (size_t k = 0; k < sizeof clamps / sizeof *clamps; k++)
            for (int b = 0; b < 32; b = b < 4 ? b + 1 : b * 2 - 1) {
                char text[2048];
                snprintf(
                    text, sizeof text,
                    ENTRY(
                        "shfl.sync.%s.b32 %%r2|%%p0, %%r1, %d, %d, -1; selp.b32 %%r3, 1, 0, %%p0;"),
                    modes[m], b, clamps[k]);
                const uint32_t *const out = run(text);
                for (int lane = 0; lane < 32; lane++) {
                    uint32_t value = 0, p = 0;
                    reference(modes[m], lane, b, clamps[k], &value, &p);
                    if (out[2 * lane] != value || out[2 * lane + 1] != p)
                        fail_msg("shfl.%s b=%d c=0x%x lane %d: %u, %u; not %u, %u", modes[m], b,
                                 clamps[k], lane, out[2 * lane], out[2 * lane + 1], value, p);
                }
                bench_close(&bench);
            }
}

static void check(const char *body, uint32_t low_lane, uint32_t low, uint32_t high_lane,
                  uint32_t high) {
    char text[2048];
    snprintf(text, sizeof text, ENTRY("mov.u32 %%r3, 0; %s"), body);
    const uint32_t *const out = run(text);
    if (out[2 * low_lane] != low || out[2 * high_lane] != high)
        fail_msg("%s: lane %u has 0x%x, lane %u 0x%x; not 0x%x, 0x%x", body, low_lane,
                 out[2 * low_lane], high_lane, out[2 * high_lane], low, high);
    bench_close(&bench);
}

static void votes_matches_and_reductions_see_their_members(void **state) {
    (void)state;
    check("setp.lt.s32 %p0, %r0, 5; vote.sync.ballot.b32 %r2, %p0, -1;", 0, 31, 31, 31);
    check("setp.lt.s32 %p0, %r0, 5; vote.sync.any.pred %p1, !%p0, -1; selp.b32 %r2, 1, 0, %p1;", 0,
          1, 31, 1);
    check("setp.lt.s32 %p0, %r0, 5; vote.sync.all.pred %p1, %p0, -1; selp.b32 %r2, 1, 0, %p1;", 0,
          0, 31, 0);
    check("setp.lt.s32 %p0, %r0, 32; vote.sync.uni.pred %p1, %p0, -1; selp.b32 %r2, 1, 0, %p1;", 0,
          1, 31, 1);
    check("and.b32 %r4, %r0, 1; match.any.sync.b32 %r2, %r4, -1;", 0, 0x55555555, 31, 0xaaaaaaaa);
    check("and.b32 %r4, %r0, 0; match.all.sync.b32 %r2|%p1, %r4, -1;", 0, 0xffffffff, 31,
          0xffffffff);
    check("redux.sync.add.s32 %r2, %r0, -1;", 0, 496, 31, 496);
    check("redux.sync.max.u32 %r2, %r1, -1;", 0, 193, 31, 193);
    check("sub.s32 %r4, %r0, 40; redux.sync.min.s32 %r2, %r4, -1;", 0, 0xffffffd8, 31, 0xffffffd8);
    check("activemask.b32 %r2;", 0, 0xffffffff, 31, 0xffffffff);
    check("mov.u32 %r2, %lanemask_lt;", 0, 0, 31, 0x7fffffff);
}

static void members_gather_from_different_paths(void **state) {
    (void)state;
    /* both halves reach one ballot of their own members, then one of all */
    check("setp.lt.s32 %p0, %r0, 16; setp.ge.s32 %p2, %r0, 0; @%p0 bra LOW;\n"
          "vote.sync.ballot.b32 %r2, %p2, 0xffff0000; bra JOIN;\n"
          "LOW: vote.sync.ballot.b32 %r2, %p2, 0x0000ffff;\nJOIN: bar.warp.sync -1;",
          0, 0x0000ffff, 31, 0xffff0000);
    check("setp.lt.s32 %p0, %r0, 16; mov.u32 %r5, 7; @%p0 bra JOIN;\nmov.u32 %r5, 9;\n"
          "JOIN: shfl.sync.idx.b32 %r2, %r5, 20, 31, -1;",
          0, 9, 31, 9);
}

static void a_lane_outside_its_membermask_is_a_fault(void **state) {
    (void)state;
    char text[2048];
    snprintf(text, sizeof text,
             ENTRY("shfl.sync.idx.b32 %%r2, %%r1, 0, 31, 0xffff; mov.u32 %%r3, 0;"));
    bench_open(&bench, "sm_80", text, 4096);
    assert_true(bench_run(&bench, "t", 1, 32));
    assert_non_null(strstr(bench.launch.fault.text, "not in its membermask 0x0000ffff"));
    bench_close(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffles_follow_the_pseudo_code),
        cmocka_unit_test(votes_matches_and_reductions_see_their_members),
        cmocka_unit_test(members_gather_from_different_paths),
        cmocka_unit_test(a_lane_outside_its_membermask_is_a_fault),
    };
    return run_with_and_without_checks(tests);
}
