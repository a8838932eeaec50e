/* Dispatch to the family and what families share. */
#include "tuner/verify/verify.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tuner/verify/attention_cases.h"
#include "tuner/verify/check_rnn.h"

Status check_fail(Check *check, const char *case_text, Error *err, const char *fmt, ...) {
    char message[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    snprintf(check->result->failed_case, sizeof check->result->failed_case, "%.240s: %.260s",
             case_text, message);
    return err_set(err, ST_WRONG, "wrong result: %s: %s", case_text, message);
}

Status check_broken(Check *check, const char *case_text, Status status, Error *err) {
    snprintf(check->result->failed_case, sizeof check->result->failed_case, "%.240s: %.260s",
             case_text, err ? err->message : status_text(status));
    err_wrap(err, "verifying %s", case_text);
    return status;
}

bool check_ratio(Check *check, double ratio) {
    check->result->worst_ratio = fmax(check->result->worst_ratio, ratio);
    return ratio > 1;
}

/* Whether both problems share every static dimension, hence the source. */
static bool same_source(const GenProblem *a, const GenProblem *b) {
    size_t count;
    const GenDim *dims = gen_dims(a->spec, &count);
    for (size_t i = 0; i < count; i++) {
        if (dims[i].is_static && a->value[i] != b->value[i]) return false;
    }
    return true;
}

Status check_plan(Check *check, const PlanDesc *desc, seqtune_plan **out, Error *err) {
    *out = NULL;
    Error local;
    const Status status =
        plan_create(check->ctx, check->spec_name, desc, check->config, out, &local);
    if (status == ST_UNSUPPORTED) {
        check->result->refused++;
        if (err) *err = local; /* the reason, should every case be refused */
        return ST_OK;
    }
    if (status != ST_OK) {
        if (err) *err = local;
        return status;
    }
    if (same_source(check->problem, plan_get_problem(*out))) return ST_OK;
    seqtune_plan_destroy(*out);
    *out = NULL;
    check->result->refused++;
    err_set(err, ST_UNSUPPORTED, "the case's problem would be served by another source");
    return ST_OK;
}

Status check_untouched(Check *check, const char *case_text, const Guarded *g, Error *err) {
    const int64_t at = guarded_difference(g);
    if (at == INT64_MAX) return ST_OK;
    check_ratio(check, (double)INFINITY);
    const char *where = at < 0                   ? "the guard before"
                        : (size_t)at >= g->bytes ? "the guard after"
                                                 : "a slot that is not its to write in";
    return check_fail(check, case_text, err,
                      "the kernel changed byte %lld of %s, %s it (%zu bytes)", (long long)at,
                      g->name, where, g->bytes);
}

Status check_dim(const Check *check, const char *name, int64_t *out, Error *err) {
    if (gen_problem_get(check->problem, name, out)) return ST_OK;
    return err_set(err, ST_INVALID, "verify: the spec %s has no dimension '%s'", check->spec_name,
                   name);
}

Status check_dtype(const Check *check, Dtype *type, seqtune_dtype *api, Error *err) {
    const char *word = gen_problem_word(check->problem, "dtype");
    if (word && strcmp(word, "f16") == 0) {
        *type = DTYPE_F16;
        *api = SEQTUNE_F16;
        return ST_OK;
    }
    if (word && strcmp(word, "bf16") == 0) {
        *type = DTYPE_BF16;
        *api = SEQTUNE_BF16;
        return ST_OK;
    }
    if (word && strcmp(word, "f32") == 0) {
        *type = DTYPE_F32;
        *api = SEQTUNE_F32;
        return ST_OK;
    }
    return err_set(err, ST_INVALID,
                   "verify: dtype '%s' of %s has no reference (f16, bf16, f32 have)",
                   word ? word : "(none)", check->spec_name);
}

/* Runs `family` with a fresh arena; it wants results, no times. */
static Status with_arena(Check *check, Status (*family)(Check *, const void *, Error *),
                         const void *what, Error *err) {
    check->arena = arena_new();
    if (!check->arena) return err_no_memory(err, sizeof(void *));
    Status status = plan_set_mode(check->ctx, LAUNCH_UNTIMED, err);
    if (status == ST_OK) {
        status = family(check, what, err);
        /* After a fault the context is lost, and what it says is known. */
        (void)plan_set_mode(check->ctx, LAUNCH_FULL, NULL);
    }
    if (status == ST_OK && check->result->cases == 0) {
        err_wrap(err, "verifying %s: every case was refused", check->spec_name);
        status = ST_UNSUPPORTED;
    }
    arena_free(check->arena);
    return status;
}

static Status whole_family(Check *check, const void *desc, Error *err) {
    switch (((const PlanDesc *)desc)->kind) {
    case PLAN_ATTENTION: return check_attention(check, err);
    case PLAN_MERGE: return check_merge(check, err);
    case PLAN_KV: return check_kv(check, err);
    case PLAN_ROPE: return check_rope(check, err);
    case PLAN_RNN: return err_set(err, ST_UNSUPPORTED, "verify: %s is no kernel", check->spec_name);
    case PLAN_RNN_KERNEL: return check_rnn(check, ((const PlanDesc *)desc)->u.rnn_kernel.op, err);
    case PLAN_KINDS: break;
    }
    return err_set(err, ST_INTERNAL, "verify: %s belongs to no family", check->spec_name);
}

static Status one_rnn_case(Check *check, const void *c, Error *err) {
    return check_rnn_case(check, c, err);
}

static Status one_attention_case(Check *check, const void *c, Error *err) {
    return check_attention_case(check, c, err);
}

Status verify_variant(seqtune_context *ctx, const char *spec_name, const GenProblem *problem,
                      const GenConfig *config, VerifyLevel level, VerifyResult *out, Error *err) {
    *out = (VerifyResult){0};
    Check check = {ctx, spec_name, problem, config, level, out, NULL};
    PlanDesc desc;
    const Status status = plan_desc_of_problem(problem, &desc, err);
    return status == ST_OK ? with_arena(&check, whole_family, &desc, err) : status;
}

Status verify_attention_case(seqtune_context *ctx, const char *spec_name, const GenProblem *problem,
                             const GenConfig *config, const AttentionCase *c, VerifyResult *out,
                             Error *err) {
    Check check = {ctx, spec_name, problem, config, VERIFY_FULL, out, NULL};
    return with_arena(&check, one_attention_case, c, err);
}

Status verify_rnn_case(seqtune_context *ctx, const char *spec_name, const GenProblem *problem,
                       const GenConfig *config, const RnnCase *c, VerifyResult *out, Error *err) {
    Check check = {ctx, spec_name, problem, config, VERIFY_FULL, out, NULL};
    return with_arena(&check, one_rnn_case, c, err);
}
