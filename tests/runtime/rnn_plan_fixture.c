#include "tests/runtime/rnn_plan_fixture.h"

static char *tree; /* rnn_tree with the parameter headers of the source */

seqtune_rnn_desc lstm(int64_t hidden, int64_t steps) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.batch = 3;
    d.input = 24;
    d.hidden = hidden;
    d.max_steps = steps;
    return d;
}

seqtune_rnn_args arguments(void) {
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    a.weights = 0x10000000;
    a.x = 0x20000000;
    a.y = 0x30000000;
    return a;
}

seqtune_plan *plan_of(seqtune_context *ctx, const seqtune_rnn_desc *d) {
    seqtune_plan *plan = NULL;
    if (seqtune_plan_rnn(ctx, d, &plan) != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
    return plan;
}

void run(seqtune_context *ctx, const seqtune_plan *plan, const seqtune_rnn_args *a) {
    fake->launches = 0;
    if (seqtune_run_rnn(plan, a, WORKSPACE, (void *)0x77) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
}

RnnParams params_of(unsigned i) {
    RnnParams p;
    memcpy(&p, fake->launch[i].params, sizeof p);
    return p;
}

void assert_entry(unsigned i, const char *entry) {
    assert_string_equal(fake->launch[i].entry, entry);
}

Bench bench_of(const seqtune_rnn_desc *d) {
    reset();
    seqtune_context *ctx = open_fake();
    return (Bench){ctx, plan_of(ctx, d)};
}

void bench_end(Bench b) {
    seqtune_plan_destroy(b.plan);
    seqtune_close(b.ctx);
}

int rnn_plan_setup(void **state) {
    if (fixture_setup(state) != 0) return -1;
    char command[2048];
    tree = scratch_make();
    snprintf(command, sizeof command,
             "cp -r '%s/tests/runtime/rnn_tree/.' '%s' && mkdir '%s/runtime' && "
             "cp -r '%s/runtime/params' '%s/runtime'",
             SEQTUNE_SOURCE_DIR, tree, tree, SEQTUNE_SOURCE_DIR, tree);
    if (system(command) != 0) return -1;
    return setenv("SEQTUNE_SOURCE", tree, 1);
}

int rnn_plan_teardown(void **state) {
    unsetenv("SEQTUNE_SOURCE");
    scratch_remove(tree);
    return fixture_teardown(state);
}
