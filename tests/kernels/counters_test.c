/* What the software GPU counts in attn_prefill at head_dim 128: no bank conflict in the loop over
 * tiles, and copies of two groups under way. Read off two launches that differ in the number of
 * tiles only: what their counters differ by is the loop's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "generator/gen.h"
#include "runtime/context.h"
#include "runtime/plan.h"
#include "softgpu/softgpu.h"

static void must(Status status, const Error *err) {
    if (status != ST_OK) fail_msg("%s", err->message);
}

static SoftgpuLaunchStats launch(seqtune_context *ctx, const GenSpec *spec, const char *dtype,
                                 const GenConfig *config, int tokens) {
    Error err = {0};
    GenProblem problem;
    PlanDesc desc;
    char text[128];
    snprintf(text, sizeof text,
             "dtype=%s head_dim=128 mask=none heads_q=4 heads_kv=2 len_q=256 len_kv=%d", dtype,
             tokens);
    gen_problem_init(spec, &problem);
    must(gen_problem_parse(&problem, text, &err), &err);
    must(gen_problem_check(&problem, &err), &err);
    must(plan_desc_of_problem(&problem, &desc, &err), &err);
    seqtune_plan *plan = NULL;
    must(plan_create(ctx, gen_spec_name(spec), &desc, config, &plan, &err), &err);
    seqtune_attention_args args = SEQTUNE_ATTENTION_ARGS_INIT;
    const size_t bytes = (size_t)tokens * 4 * 128 * 2;
    seqtune_device_ptr *const buffers[] = {&args.q, &args.k, &args.v, &args.o};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(seqtune_device_alloc(ctx, bytes, buffers[i]), SEQTUNE_OK);
    if (seqtune_run_attention(plan, &args, 0, NULL) != SEQTUNE_OK ||
        seqtune_device_synchronize(ctx) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
    SoftgpuLaunchStats stats = {.size = sizeof stats};
    bool pushed = false;
    assert_int_equal(driver_enter(ctx->driver, ctx->device.context, &pushed), 0);
    assert_int_equal(ctx->driver->LastLaunch(&stats), 0);
    driver_leave(ctx->driver, pushed);
    for (size_t i = 0; i < 4; i++) seqtune_device_free(ctx, *buffers[i]);
    seqtune_plan_destroy(plan);
    return stats;
}

/* All seeds of the spec that are legal on the model: the default and the published tiles. */
static void check_model(int device, const char *dtype, unsigned long long groups) {
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = "soft:a100,rtx4090,t4"; /* a process has one set of devices */
    options.device = device;
    options.database = "";
    seqtune_context *ctx = NULL;
    if (seqtune_open(&ctx, &options) != SEQTUNE_OK) fail_msg("%s", seqtune_open_error());
    if (!ctx->nvrtc) {
        seqtune_close(ctx);
        skip();
    }
    const GenSpec *spec = gen_spec_find(ctx->library, "attn_prefill");
    Error err = {0};
    GenProblem problem;
    GenConfig seeds[16];
    size_t count = 0;
    char text[128];
    snprintf(text, sizeof text, "dtype=%s head_dim=128 mask=none heads_q=4 heads_kv=2", dtype);
    gen_problem_init(spec, &problem);
    must(gen_problem_parse(&problem, text, &err), &err);
    must(gen_problem_check(&problem, &err), &err);
    must(gen_seeds(&problem, &ctx->device.gpu, seeds, 16, &count, &err), &err);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        const SoftgpuLaunchStats two = launch(ctx, spec, dtype, &seeds[i], 512);
        const SoftgpuLaunchStats four = launch(ctx, spec, dtype, &seeds[i], 1024);
        Str config = {0};
        gen_config_text(spec, &seeds[i], &config);
        print_message("    %s %s: %llu conflicts of %llu wavefronts in the loop, %llu groups\n",
                      ctx->device.gpu.arch->name, str_text(&config),
                      four.shared_conflicts - two.shared_conflicts,
                      four.shared_wavefronts - two.shared_wavefronts, four.max_async_groups);
        str_free(&config);
        assert_true(four.mma > two.mma && four.shared_wavefronts > two.shared_wavefronts);
        assert_int_equal(four.shared_conflicts, two.shared_conflicts);
        assert_int_equal(four.local_access, 0);
        assert_true(four.max_async_groups >= groups);
    }
    seqtune_close(ctx);
}

static void the_loop_has_no_bank_conflict_and_two_groups_under_way(void **state) {
    (void)state;
    check_model(0, "bf16", 2);
    check_model(1, "f16", 2);
}

static void the_loop_has_no_bank_conflict_on_sm_75(void **state) {
    (void)state;
    check_model(2, "f16", 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loop_has_no_bank_conflict_and_two_groups_under_way),
        cmocka_unit_test(the_loop_has_no_bank_conflict_on_sm_75),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
