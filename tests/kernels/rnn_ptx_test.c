/* What the machine code of a step of rnn_seq's tier 1 is meant to be, read off the PTX of its
 * default configuration: R and c in registers, as many barriers as the cell needs, the fewest
 * special functions, nothing in local memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "generator/gen.h"
#include "runtime/build.h"
#include "runtime/nvrtc.h"
#include "tests/kernels/ptx_text.h"

typedef struct Fixture {
    GenLibrary *library;
    Nvrtc *nvrtc;
} Fixture;

static Fixture fixture;

/* Per step: barriers; per cell: gates loaded, ex2, rcp. */
typedef struct Expected {
    const char *arch, *problem;
    size_t gates, barriers, ex2, rcp;
    size_t products; /* mma of 16 k, of the whole hidden size, per two groups of eight rows */
} Expected;

static const Expected all[] = {
    {"sm_80", "cell=lstm dtype=f16 hidden=128 batch=8", 4, 1, 5, 2, 8},
    {"sm_90a", "cell=lstm dtype=bf16 hidden=64 batch=8 lengths=packed peephole=1", 4, 1, 5, 2, 4},
    {"sm_75", "cell=lstm dtype=f16 hidden=64 batch=8", 4, 1, 5, 2, 8},
    {"sm_80", "cell=gru dtype=bf16 hidden=128 batch=8 lengths=padded", 3, 1, 3, 2, 8},
    {"sm_80", "cell=gru dtype=f16 hidden=64 batch=8 reset=before", 3, 2, 3, 2, 4},
    {"sm_80", "cell=lstm dtype=f16 hidden=64 batch=8 layer_norm=1", 4, 3, 5, 2, 4},
    {"sm_80", "cell=gru dtype=f16 hidden=64 batch=8 layer_norm=1", 3, 2, 3, 2, 4},
};

enum { CELLS_PER_BLOCK = 2 }; /* of eight units x eight sequences, in a lane */

typedef struct Case {
    Arena *arena;
    Artifact artifact;
    PtxText text;
    PtxLoop loop;
    size_t blocks; /* of eight units, of a warp */
} Case;

static void must(Status status, const Error *err) {
    if (status != ST_OK) fail_msg("%s", err->message);
}

static void open_case(const Expected *want, Case *c) {
    Error err = {0};
    GenProblem problem;
    GenConfig config;
    GenOutput output;
    int64_t units = 0, tier = 0, columns = 0;
    const GpuInfo gpu = gpu_info_of_arch(gpu_arch_find(want->arch));
    *c = (Case){.arena = arena_new()};
    assert_non_null(c->arena);
    gen_problem_init(gen_spec_find(fixture.library, "rnn_seq"), &problem);
    must(gen_problem_parse(&problem, want->problem, &err), &err);
    must(gen_problem_check(&problem, &err), &err);
    must(gen_default(&problem, &gpu, &config, &err), &err);
    assert_true(gen_config_get(problem.spec, &config, "tier", &tier));
    assert_true(gen_config_get(problem.spec, &config, "batch_tile", &columns));
    assert_true(gen_config_get(problem.spec, &config, "warp_units", &units));
    assert_int_equal(tier, 1);
    assert_int_equal(columns, 8);
    c->blocks = (size_t)units / 8;
    must(gen_emit(&problem, &gpu, &config, c->arena, &output, &err), &err);
    must(build_compile(fixture.nvrtc, &output, c->arena, &c->artifact, &err), &err);
    assert_true(ptx_text_open(c->artifact.ptx, &c->text));
    assert_true(ptx_hot_loop(&c->text, &c->loop));
}

static void close_case(Case *c) {
    ptx_loop_close(&c->loop);
    ptx_text_close(&c->text);
    arena_free(c->arena);
}

static void check(const char *what, const Expected *e, size_t got, size_t want) {
    if (got != want) fail_msg("%s %s: %zu %s, not %zu", e->arch, e->problem, got, what, want);
}

static void a_step_has_only_the_instructions_that_it_needs(void **state) {
    (void)state;
    if (!fixture.nvrtc) skip();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const Expected *e = &all[i];
        Case c;
        open_case(e, &c);
        const size_t cells = c.blocks * CELLS_PER_BLOCK;
        check("barriers", e, ptx_count(&c.loop, "bar.sync"), e->barriers);
        check("mma", e, c.loop.mma, c.blocks * e->gates * e->products / 2);
        check("ex2", e, ptx_count(&c.loop, "ex2.approx"), cells * e->ex2);
        check("rcp", e, ptx_count(&c.loop, "rcp.approx"), cells * e->rcp);
        check("loads of pre", e, ptx_count(&c.loop, "ld.global"), cells * e->gates);
        check("bytes spilt", e, (size_t)artifact_spill_bytes(&c.artifact), 0);
        if (strstr(c.artifact.ptx, ".local")) fail_msg("%s %s: local memory", e->arch, e->problem);
        close_case(&c);
    }
}

static int open_fixture(void **state) {
    (void)state;
    Error err = {0};
    if (gen_open(SEQTUNE_SOURCE_DIR, &fixture.library, &err) != ST_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    if (nvrtc_open(0, &fixture.nvrtc, &err) != ST_OK) fixture.nvrtc = NULL;
    return 0;
}

static int close_fixture(void **state) {
    (void)state;
    nvrtc_close(fixture.nvrtc);
    gen_close(fixture.library);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_has_only_the_instructions_that_it_needs),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
