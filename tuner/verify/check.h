/* What verify.c and the per-family checks share. */
#ifndef SEQTUNE_TUNER_VERIFY_CHECK_H
#define SEQTUNE_TUNER_VERIFY_CHECK_H

#include "base/arena.h"
#include "runtime/plan.h"
#include "tuner/verify/tensor.h"
#include "tuner/verify/verify.h"

/* One verification in progress. */
typedef struct Check {
    seqtune_context *ctx;
    const char *spec_name;
    const GenProblem *problem;
    const GenConfig *config;
    VerifyLevel level;
    VerifyResult *result;
    Arena *arena; /* reset after each case */
} Check;

/* Notes "case_text: message" as the failed case and returns ST_WRONG with the same text. */
Status check_fail(Check *check, const char *case_text, Error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A device failed under `case_text`: notes it as the failed case, wraps *err, returns `status`. */
Status check_broken(Check *check, const char *case_text, Status status, Error *err);

/* Raises the worst ratio seen; true when it is above 1. */
bool check_ratio(Check *check, double ratio);

/* The variant's plan for `desc`. *out is NULL with ST_OK when the spec refuses the problem or would
 * serve it with another variant's source (counted as refused). */
Status check_plan(Check *check, const PlanDesc *desc, seqtune_plan **out, Error *err);

/* ST_WRONG, naming buffer and place, when `g` holds a byte that nobody may have written. */
Status check_untouched(Check *check, const char *case_text, const Guarded *g, Error *err);

/* Dimensions of the problem; errors name what the spec lacks. */
Status check_dim(const Check *check, const char *name, int64_t *out, Error *err);
Status check_dtype(const Check *check, Dtype *type, seqtune_dtype *api, Error *err);

/* The families. */
struct AttentionCase;
Status check_attention_case(Check *check, const struct AttentionCase *c, Error *err);
Status check_attention(Check *check, Error *err);
Status check_merge(Check *check, Error *err);
Status check_kv(Check *check, Error *err);
Status check_rope(Check *check, Error *err);

#endif
