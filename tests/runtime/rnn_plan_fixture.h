/* Plans of recurrent layers on the fake driver, with kernels that compute nothing (rnn_tree/). */
#ifndef SEQTUNE_TESTS_RUNTIME_RNN_PLAN_FIXTURE_H
#define SEQTUNE_TESTS_RUNTIME_RNN_PLAN_FIXTURE_H

#include "tests/runtime/fixture.h"

#include "runtime/rnn.h"

enum { WORKSPACE = 0x40000000 };

/* A test's context, its one plan and their end. */
typedef struct Bench {
    seqtune_context *ctx;
    seqtune_plan *plan;
} Bench;

int rnn_plan_setup(void **state);
int rnn_plan_teardown(void **state);

seqtune_rnn_desc lstm(int64_t hidden, int64_t steps); /* of 3 sequences, input 24 */
seqtune_rnn_args arguments(void);                     /* weights, x and y */
seqtune_plan *plan_of(seqtune_context *ctx, const seqtune_rnn_desc *d);
Bench bench_of(const seqtune_rnn_desc *d);
void bench_end(Bench b);

/* A run that is accepted; launch i of it. */
void run(seqtune_context *ctx, const seqtune_plan *plan, const seqtune_rnn_args *a);
RnnParams params_of(unsigned i);
void assert_entry(unsigned i, const char *entry);

#endif
