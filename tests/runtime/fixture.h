/* A context on the fake driver, and small problems to plan on it. */
#ifndef SEQTUNE_TESTS_RUNTIME_FIXTURE_H
#define SEQTUNE_TESTS_RUNTIME_FIXTURE_H

#include "tests/runtime/test.h"

#include "runtime/plan_internal.h"
#include "tests/runtime/fake.h"

extern Fake *fake;
extern char *cache; /* shared by all tests of a program, so that each kernel is compiled once */

int fixture_setup(void **state);
int fixture_teardown(void **state);
void reset(void); /* the fake, as new */

seqtune_context *open_fake(void);
seqtune_attention_desc small_attention(void);
seqtune_rope_desc small_rope(void);
seqtune_plan *plan_rope(seqtune_context *ctx); /* of small_rope */
seqtune_rope_args rope_args(void);
bool have_nvrtc(void);

#endif
