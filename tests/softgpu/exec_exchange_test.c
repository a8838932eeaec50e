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

/* --- lanes of one membermask at several instructions --- */

/* Lanes below 16 at line 10 of k.cu (PTX line 9), the others at line 20 (PTX line 13). */
#define PLACES                                                                                     \
    ".version 8.0\n.target sm_90\n.address_size 64\n.file 1 \"k.cu\"\n"                            \
    ".shared .b32 never;\n.visible .entry t(.param .u64 p) {\n"                                    \
    ".reg .b32 %%r<16>; .reg .b64 %%rd<2>; .reg .pred %%p<8>; mov.u32 %%r0, %%tid.x; "             \
    "st.shared.u32 [never], 0;"                                                                    \
    "bar.warp.sync -1; setp.ge.u32 %%p0, %%r0, 16; setp.ge.u32 %%p1, %%r0, 24; @%%p0 bra H;\n"     \
    ".loc 1 10 0\n%s\nret;\nH: %s\n.loc 1 20 0\n%s\nret;\n}\n"
#define SPIN                                                                                       \
    "@!%p1 bra G; S: ld.volatile.shared.u32 %r5, [never]; setp.eq.u32 %p2, %r5, 0;"                \
    "@%p2 bra S; G:"

static void two_places_fault(const char *low, const char *high, bool spin, uint64_t seed) {
    char text[2048], first[128], second[128];
    const char *const formats[] = {"lanes 0x0000ffff wait at k.cu:10, PTX line 9 (%.*s",
                                   "lanes 0x%sff0000 wait at k.cu:20, PTX line 13 (%.*s"};
    snprintf(text, sizeof text, PLACES, low, spin ? SPIN : "", high);
    snprintf(first, sizeof first, formats[0], (int)strcspn(low, " "), low);
    snprintf(second, sizeof second, formats[1], spin ? "00" : "ff", (int)strcspn(high, " "), high);
    bench_open(&bench, "sm_90", text, 4096);
    bench.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {32, 1, 1}, .seed = seed};
    if (!bench_launch(&bench, "t")) fail_msg("no fault: %s | %s", low, high);
    const SgFault *const fault = &bench.launch.fault;
    if (fault->cuda_result != 719 || !strstr(fault->text, first) || !strstr(fault->text, second))
        fail_msg("%d %s; expected 719 \"%s\", \"%s\"", fault->cuda_result, fault->text, first,
                 second);
    bench_close(&bench);
}

static void lanes_at_two_unlike_exchanges_are_a_fault_that_names_both(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"shfl.sync.bfly.b32 %r2, %r0, 16, 31, -1;", "shfl.sync.idx.b32 %r2, %r0, 0, 31, -1;"},
        {"vote.sync.any.pred %p3, %p0, -1;", "vote.sync.all.pred %p3, %p0, -1;"},
        {"match.any.sync.b32 %r2, %r0, -1;", "match.all.sync.b32 %r2|%p3, %r0, -1;"},
        {"redux.sync.add.u32 %r2, %r0, -1;", "redux.sync.add.s32 %r2, %r0, -1;"},
        {"vote.sync.ballot.b32 %r2, %p0, -1;", "vote.sync.uni.pred %p3, %p0, -1;"},
        {"match.any.sync.b32 %r2, %r0, -1;", "match.any.sync.b64 %r2, %rd0, -1;"},
        {"elect.sync %r2|%p3, -1;", "bar.warp.sync -1;"},
        {"redux.sync.min.s32 %r2, %r0, -1;", "redux.sync.or.b32 %r2, %r0, -1;"},
        {"shfl.sync.bfly.b32 %r2, %r0, 16, 31, -1;", "vote.sync.ballot.b32 %r2, %p0, -1;"},
        {"redux.sync.add.u32 %r2, %r0, -1;", "bar.warp.sync -1;"},
        /* masks that differ and name lanes of each other */
        {"match.any.sync.b32 %r2, %r0, 0x0001ffff;", "match.any.sync.b32 %r2, %r0, 0xffff0001;"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            two_places_fault(pairs[i][0], pairs[i][1], false, seed);
            two_places_fault(pairs[i][0], pairs[i][1], true, seed); /* lanes 24 to 31 go on */
        }
}

static void three_exchanges_in_a_ring_are_a_fault_that_names_all(void **state) {
    (void)state;
    char text[2048];
    snprintf(text, sizeof text, PLACES,
             "setp.lt.u32 %p2, %r0, 8; @%p2 bra A; shfl.sync.bfly.b32 %r2, %r0, 8, 31, 0xffff00;\n"
             "ret;\nA: vote.sync.ballot.b32 %r2, %p0, 0xffff;",
             SPIN, "redux.sync.add.u32 %r2, %r0, 0xff00ff;");
    bench_open(&bench, "sm_90", text, 4096);
    assert_true(bench_run(&bench, "t", 1, 32));
    static const char *const parts[] = {
        "lanes 0x000000ff wait at k.cu:10, PTX line 11 (vote.sync.ballot.b32) for lanes 0x0000ff00",
        "lanes 0x0000ff00 wait at k.cu:10, PTX line 9 (shfl.sync.bfly.b32) for lanes 0x00ff0000",
        "lanes 0x00ff0000 wait at k.cu:20, PTX line 15 (redux.sync.add.u32) for lanes 0x000000ff"};
    for (int i = 0; i < 3; i++)
        if (!strstr(bench.launch.fault.text, parts[i])) fail_msg("%s", bench.launch.fault.text);
    bench_close(&bench);
}

static void lanes_that_come_at_other_times_exchange(void **state) {
    (void)state;
    /* 3 rounds and 40, then the same instruction */
    check("setp.lt.s32 %p0, %r0, 16; selp.u32 %r5, 3, 40, %p0; mov.u32 %r6, 0;\n"
          "L: add.u32 %r6, %r6, 2; sub.u32 %r5, %r5, 1; setp.ne.u32 %p1, %r5, 0; @%p1 bra L;\n"
          "shfl.sync.bfly.b32 %r2, %r6, 16, 31, -1;",
          0, 80, 31, 6);
    /* one side has an exchange of its own before */
    check("setp.lt.s32 %p0, %r0, 16; mov.u32 %r5, 1; @%p0 bra J;\n"
          "redux.sync.add.u32 %r5, %r0, 0xffff0000;\nJ: redux.sync.max.u32 %r2, %r5, -1;",
          0, 376, 31, 376);
}

static void different_exchanges_of_disjoint_masks_go_by_themselves(void **state) {
    (void)state;
    static const struct {
        const char *low, *high;
        uint32_t of_low, of_high;
    } rows[] = {
        {"shfl.sync.idx.b32 %r2, %r0, 5, 31, 0xffff;", "vote.sync.ballot.b32 %r2, %p1, 0xffff0000;",
         5, 0x80000000u},
        {"match.any.sync.b32 %r2, %r4, 0xffff;", "redux.sync.add.u32 %r2, %r0, 0xffff0000;", 0x5555,
         376},
        {"vote.sync.ballot.b32 %r2, !%p1, 0xffff;", "match.any.sync.b32 %r2, %r4, 0xffff0000;",
         0xffff, 0xaaaa0000u},
        {"redux.sync.min.u32 %r2, %r1, 0xffff;", "shfl.sync.idx.b32 %r2, %r0, 20, 31, 0xffff0000;",
         100, 20},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[512];
        snprintf(body, sizeof body,
                 "and.b32 %%r4, %%r0, 1; setp.eq.s32 %%p1, %%r0, 31; setp.lt.s32 %%p0, %%r0, 16;\n"
                 "@%%p0 bra LOW;\n%s bra JOIN;\nLOW: %s\nJOIN: bar.warp.sync -1;",
                 rows[i].high, rows[i].low);
        check(body, 0, rows[i].of_low, 31, rows[i].of_high);
    }
}

/* --- alike exchanges at several instructions --- */

/* Lanes below 8, those below 16 and the others; r4 = tid & 1, r6 = tid & 3, p4: lane 3 or 20. What
 * each leaves in r2 and r3 (0 and 7 before) is stored; prefix 100 says that it went on its way. */
#define BRANCHES                                                                                   \
    ".version %s\n.target %s\n.address_size 64\n"                                                  \
    ".visible .entry t(.param .u64 p) {\n"                                                         \
    ".reg .b32 %%r<16>; .reg .b64 %%rd<8>; .reg .pred %%p<8>; .reg .f32 %%f<4>;\n"                 \
    "ld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; mul.wide.u32 %%rd1, %%r0, 8;\n"               \
    "add.s64 %%rd0, %%rd0, %%rd1; mad.lo.s32 %%r1, %%r0, 3, 100; mov.u32 %%r2, 0;\n"               \
    "mov.u32 %%r3, 7; and.b32 %%r4, %%r0, 1; and.b32 %%r6, %%r0, 3; cvt.u64.u32 %%rd2, "           \
    "%%r6;\n"                                                                                      \
    "setp.eq.u32 %%p4, %%r0, 3; setp.eq.or.u32 %%p4, %%r0, 20, %%p4; not.pred %%p5, %%p4;\n"       \
    "setp.lt.u32 %%p0, %%r0, 8; setp.lt.u32 %%p1, %%r0, 16; @%%p0 bra A; @%%p1 bra B;\n"           \
    "%s\nbra J;\nA: %s\nbra J;\nB: %s\nJ: st.global.v2.u32 [%%rd0], {%%r2, %%r3}; ret;\n}\n"

typedef struct Alike {
    const char *text[3]; /* lanes 0 to 7, 8 to 15, 16 to 31 */
    uint32_t (*expected)(int lane, uint32_t *second);
} Alike;

static void alike_on(const char *target, const char *version, const Alike *row) {
    char text[3000];
    snprintf(text, sizeof text, BRANCHES, version, target, row->text[2], row->text[0],
             row->text[1]);
    for (uint64_t seed = 0; seed < 3; seed++) {
        bench_open(&bench, target, text, 4096);
        bench.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {32, 1, 1}, .seed = seed};
        if (bench_launch(&bench, "t")) fail_msg("%s", bench.launch.fault.text);
        const uint32_t *const out = (const uint32_t *)bench.buffer;
        for (int lane = 0; lane < 32; lane++) {
            uint32_t second = 7;
            const uint32_t first = row->expected(lane, &second);
            if (out[2 * lane] != first || out[2 * lane + 1] != second)
                fail_msg("%s, seed %d, lane %d: 0x%x, 0x%x; not 0x%x, 0x%x", row->text[2],
                         (int)seed, lane, out[2 * lane], out[2 * lane + 1], first, second);
        }
        bench_close(&bench);
    }
}

static void alike(const Alike *row) {
    alike_on("sm_90", "8.0", row);
}

/* Lanes below 16 give r0, the others r1 = 3 * lane + 100. */
static uint32_t given(int lane) {
    return (uint32_t)(lane < 16 ? lane : 3 * lane + 100);
}
static uint32_t of_bfly(int lane, uint32_t *second) {
    (void)second;
    return given(lane ^ 16);
}
static uint32_t of_up(int lane, uint32_t *second) {
    *second = lane >= 9;
    return given(lane >= 9 ? lane - 9 : lane);
}
static uint32_t of_down(int lane, uint32_t *second) {
    *second = lane < 8 ? 7 : lane + 12 <= 31; /* those below 8 ask for no predicate */
    return given(lane + 12 <= 31 ? lane + 12 : lane);
}
static uint32_t of_idx(int lane, uint32_t *second) { /* each names its own source */
    (void)second;
    return given(lane < 8 ? 30 : lane < 16 ? 5 : 9);
}

static void alike_shuffles_of_several_branches_are_one(void **state) {
    (void)state;
#define BFLY "shfl.sync.bfly.b32 "
#define UP   "shfl.sync.up.b32 "
#define DOWN "shfl.sync.down.b32 "
#define IDX  "shfl.sync.idx.b32 "
#define P(n) "selp.u32 %r3, 1, 0, %p" n ";"
    static const Alike rows[] = {
        {{BFLY "%r2, %r0, 16, 31, -1;", "bra A;", BFLY "%r5, %r1, 16, 31, -1; mov.u32 %r2, %r5;"},
         of_bfly},
        {{BFLY "%r0, %r0, 16, 31, -1; mov.u32 %r2, %r0;", BFLY "%r2, %r0, 16, 31, -1;",
          BFLY "%r5, %r1, 16, 31, -1; mov.u32 %r2, %r5;"},
         of_bfly},
        {{UP "%r2|%p2, %r0, 9, 0, -1;" P("2"), "bra A;",
          UP "%r5|%p3, %r1, 9, 0, -1; mov.u32 %r2, %r5;" P("3")},
         of_up},
        {{DOWN "%r2, %r0, 12, 31, -1;", DOWN "%r2|%p6, %r0, 12, 31, -1;" P("6"),
          DOWN "%r5|%p3, %r1, 12, 31, -1; mov.u32 %r2, %r5;" P("3")},
         of_down},
        {{IDX "%r2, %r0, 30, 31, -1;",
          "mov.u32 %r8, 5; " IDX "%r8, %r0, %r8, 31, -1;"
          "mov.u32 %r2, %r8;",
          IDX "%r5, %r1, 9, 31, -1; mov.u32 %r2, %r5;"},
         of_idx},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) alike(&rows[i]);
}

static uint32_t of_ballot(int lane, uint32_t *second) { /* 8 to 15 say not */
    (void)lane, (void)second;
    return 0x0010ff08;
}
static uint32_t of_any(int lane, uint32_t *second) {
    (void)lane;
    *second = 1;
    return 0;
}
static uint32_t of_all(int lane, uint32_t *second) {
    (void)lane;
    *second = 0;
    return 0;
}
static uint32_t of_match(int lane, uint32_t *second) { /* r6, but r4 from 16 on */
    (void)second;
    static const uint32_t of[] = {0x55551111, 0xaaaa2222, 0x00004444, 0x00008888};
    return of[lane < 16 ? lane & 3 : lane & 1];
}
static uint32_t of_match_64(int lane, uint32_t *second) {
    (void)second;
    return 0x11111111u << (lane & 3);
}
static uint32_t of_match_all(int lane, uint32_t *second) {
    (void)lane;
    *second = 1;
    return 0xffffffff;
}
static uint32_t of_sum(int lane, uint32_t *second) { /* 0 to 15, and 3 * lane + 100 of the others */
    (void)lane, (void)second;
    return 120 + 16 * 100 + 3 * 376;
}
static uint32_t of_largest(int lane, uint32_t *second) {
    (void)lane, (void)second;
    return 193;
}
static uint32_t of_elect(int lane, uint32_t *second) { /* all know the same one */
    (void)lane;
    *second = 1;
    return 1;
}

static void alike_votes_matches_and_reductions_of_branches_are_one(void **state) {
    (void)state;
    static const Alike rows[] = {
        {{"vote.sync.ballot.b32 %r2, %p4, -1;", "vote.sync.ballot.b32 %r2, !%p4, -1;",
          "vote.sync.ballot.b32 %r5, !%p5, -1; mov.u32 %r2, %r5;"},
         of_ballot},
        {{"vote.sync.any.pred %p2, %p4, -1;" P("2"), "bra A;",
          "vote.sync.any.pred %p3, !%p5, -1;" P("3")},
         of_any},
        {{"vote.sync.all.pred %p2, %p0, -1;" P("2"), "vote.sync.all.pred %p2, %p1, -1;" P("2"),
          "vote.sync.all.pred %p3, !%p4, -1;" P("3")},
         of_all},
        {{"vote.sync.uni.pred %p2, %p0, -1;" P("2"),
          "bra C;\nC: vote.sync.uni.pred %p2, %p1, -1;" P("2"),
          "vote.sync.uni.pred %p3, !%p1, -1;" P("3")},
         of_any},
        {{"match.any.sync.b32 %r2, %r6, -1;", "bra A;",
          "match.any.sync.b32 %r5, %r4, -1; mov.u32 %r2, %r5;"},
         of_match},
        {{"match.any.sync.b64 %r2, %rd2, -1;",
          "match.any.sync.b64 %r9, %rd2, -1; mov.u32 %r2, %r9;",
          "mov.u64 %rd3, %rd2; match.any.sync.b64 %r5, %rd3, -1; mov.u32 %r2, %r5;"},
         of_match_64},
        {{"mov.u32 %r5, 4; match.all.sync.b32 %r2|%p2, %r5, -1;" P("2"), "bra A;",
          "mov.u32 %r7, 4; match.all.sync.b32 %r8|%p3, %r7, -1; mov.u32 %r2, %r8;" P("3")},
         of_match_all},
        {{"redux.sync.add.u32 %r2, %r0, -1;", "redux.sync.add.u32 %r8, %r0, -1; mov.u32 %r2, %r8;",
          "redux.sync.add.u32 %r5, %r1, -1; mov.u32 %r2, %r5;"},
         of_sum},
        {{"redux.sync.max.s32 %r2, %r0, -1;", "bra A;", "redux.sync.max.s32 %r2, %r1, -1;"},
         of_largest},
        {{"elect.sync _|%p2, -1; vote.sync.any.pred %p2, %p2, -1; mov.u32 %r2, 1;" P("2"), "bra A;",
          "elect.sync %r5|%p3, -1; vote.sync.any.pred %p3, %p3, -1; mov.u32 %r2, 1;" P("3")},
         of_elect},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) alike(&rows[i]);
}

static void alike_reductions_of_floats_are_one(void **state) {
    (void)state;
    static const Alike row = {
        {"cvt.rn.f32.u32 %f1, %r0; redux.sync.max.abs.f32 %f0, %f1, -1; cvt.rzi.u32.f32 %r2, %f0;",
         "bra A;",
         "cvt.rn.f32.u32 %f2, %r1; neg.f32 %f2, %f2; redux.sync.max.abs.f32 %f3, %f2, -1;\n"
         "cvt.rzi.u32.f32 %r2, %f3;"},
        of_largest};
    alike_on("sm_100a", "8.6", &row);
}

static uint32_t of_sum_from_8(int lane, uint32_t *second) {
    (void)lane, (void)second;
    return 92 + 16 * 100 + 3 * 376;
}

static void lanes_exchange_while_others_spin_for_the_result(void **state) {
    (void)state;
#define FLAG "ld.param.u64 %rd3, [p];\n"
    static const Alike row = {
        {FLAG "S: ld.relaxed.gpu.global.u32 %r2, [%rd3+2048];\n"
              "setp.eq.u32 %p2, %r2, 0; @%p2 bra S;",
         "redux.sync.add.u32 %r2, %r0, 0xffffff00;",
         FLAG "redux.sync.add.u32 %r2, %r1, 0xffffff00; setp.eq.u32 %p3, %r0, 31;\n"
              "@%p3 st.relaxed.gpu.global.u32 [%rd3+2048], %r2;"},
        of_sum_from_8};
    alike(&row);
}

static void alike_but_faulty(const char *target, const char *low, const char *high,
                             const char *expected) {
    char text[2048];
    snprintf(text, sizeof text,
             ".version 8.0\n.target %s\n.address_size 64\n.visible .entry t(.param .u64 p) {\n"
             ".reg .b32 %%r<16>; .reg .pred %%p<8>; mov.u32 %%r0, %%tid.x;\n"
             "setp.eq.u32 %%p1, %%r0, 31; setp.lt.u32 %%p0, %%r0, 16; @%%p0 bra L;\n%s\nret;\n"
             "L: %s\nret;\n}\n",
             target, high, low);
    for (uint64_t seed = 0; seed < 3; seed++) {
        bench_open(&bench, "sm_90", text, 4096);
        bench.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {32, 1, 1}, .seed = seed};
        if (!bench_launch(&bench, "t")) fail_msg("no fault: %s", high);
        if (!strstr(bench.launch.fault.text, expected))
            fail_msg("\"%s\" instead of \"%s\"", bench.launch.fault.text, expected);
        bench_close(&bench);
    }
}

static void alike_exchanges_without_a_lane_of_the_mask_are_a_fault(void **state) {
    (void)state;
    /* lane 31 exited; lane 15, at PTX line 9, reads it */
    alike_but_faulty(
        "sm_90", BFLY "%r2, %r0, 16, 31, -1;", "@%p1 exit; " BFLY "%r2, %r0, 16, 31, -1;",
        "lane 15 reads lane 31, which does not take part (0x7fffffff do; lanes "
        "0x00008000 read such lanes) (PTX line 9, shfl.sync.bfly.b32, thread (15,0,0)");
    /* lane 31 waits elsewhere */
    alike_but_faulty("sm_90", BFLY "%r2, %r0, 16, 31, -1;",
                     "@%p1 bra W; " BFLY "%r2, %r0, 16, 31, -1; ret; W: bar.warp.sync -1;",
                     "lanes 0x80000000 wait at PTX line 7 (bar.warp.sync)");
    /* lane 31 is not in the mask that the others name */
    alike_but_faulty("sm_90", BFLY "%r2, %r0, 16, 31, 0x7fffffff;",
                     "@%p1 bra W; " BFLY "%r2, %r0, 16, 31, 0x7fffffff; W:",
                     "lane 15 reads lane 31, which does not take part");
    /* sm_6x asks for one instruction in convergence */
    alike_but_faulty("sm_60", BFLY "%r2, %r0, 16, 31, -1;", BFLY "%r2, %r0, 16, 31, -1;",
                     "lanes 0xffff0000 wait at PTX line 7 (shfl.sync.bfly.b32) for lanes");
}

static void tiles_that_come_late_wait_at_one_instruction(void **state) {
    (void)state;
    /* even lanes come first, of both tiles; the others spin a while below */
    check("and.b32 %r4, %r0, 1; setp.eq.u32 %p0, %r4, 0; and.b32 %r5, %r0, 16;\n"
          "shl.b32 %r6, 0xffff, %r5; @%p0 bra S; bra LATE;\n"
          "S: redux.sync.add.u32 %r2, %r0, %r6; bra J;\nLATE: bra S;\nJ: bar.warp.sync -1;",
          0, 120, 31, 376);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffles_follow_the_pseudo_code),
        cmocka_unit_test(votes_matches_and_reductions_see_their_members),
        cmocka_unit_test(members_gather_from_different_paths),
        cmocka_unit_test(a_lane_outside_its_membermask_is_a_fault),
        cmocka_unit_test(lanes_at_two_unlike_exchanges_are_a_fault_that_names_both),
        cmocka_unit_test(three_exchanges_in_a_ring_are_a_fault_that_names_all),
        cmocka_unit_test(lanes_that_come_at_other_times_exchange),
        cmocka_unit_test(different_exchanges_of_disjoint_masks_go_by_themselves),
        cmocka_unit_test(alike_shuffles_of_several_branches_are_one),
        cmocka_unit_test(alike_votes_matches_and_reductions_of_branches_are_one),
        cmocka_unit_test(alike_reductions_of_floats_are_one),
        cmocka_unit_test(lanes_exchange_while_others_spin_for_the_result),
        cmocka_unit_test(alike_exchanges_without_a_lane_of_the_mask_are_a_fault),
        cmocka_unit_test(tiles_that_come_late_wait_at_one_instruction),
    };
    return run_with_and_without_checks(tests);
}
