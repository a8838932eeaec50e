/* What the public plan, supports and run functions of every family have in common.
 *
 * Invariant: a run allocates nothing, takes no lock and reads only the plan, its arguments and the
 * driver table, unless the family's check_tables (SEQTUNE_CHECKED, the software GPU) does. The public functions
 * themselves stand at the end, one line each. */
#include <stdio.h>
#include <string.h>

#include "runtime/plan_internal.h"

static void take_desc(PlanKind kind, const void *desc, PlanDesc *out) {
    *out = (PlanDesc){.kind = kind};
    memcpy(&out->u, desc, plan_family(kind)->desc_size);
}

static seqtune_status make(seqtune_context *ctx, PlanKind kind, const void *desc,
                           seqtune_plan **out) {
    if (out != NULL) *out = NULL;
    if (ctx == NULL || desc == NULL || out == NULL) return SEQTUNE_INVALID;
    Error err = {0};
    PlanDesc any;
    take_desc(kind, desc, &any);
    Status st = plan_create(ctx, NULL, &any, NULL, out, &err);
    if (st != ST_OK) err_wrap(&err, "seqtune_plan_%s", plan_family(kind)->name);
    return context_fail(ctx, st, &err);
}

static seqtune_status supports(seqtune_context *ctx, PlanKind kind, const void *desc) {
    if (ctx == NULL || desc == NULL) return SEQTUNE_INVALID;
    Error err = {0};
    PlanDesc any;
    take_desc(kind, desc, &any);
    Status st = plan_supported(ctx, &any, &err);
    if (st != ST_OK) err_wrap(&err, "seqtune_supports_%s", plan_family(kind)->name);
    return context_fail(ctx, st, &err);
}

/* Structs of arguments begin with their size, as those of descriptions do. */
static Status check_args_size(const PlanFamily *family, const void *args, Error *err) {
    size_t size = 0;
    char what[64];
    if (args == NULL) return err_set(err, ST_INVALID, "args is NULL");
    memcpy(&size, args, sizeof size);
    snprintf(what, sizeof what, "%s arguments", family->name);
    return plan_check_size(what, size, family->args_size, family->args_init, err);
}

static Status launch(const seqtune_plan *plan, PlanKind kind, const void *args,
                     seqtune_device_ptr workspace, seqtune_stream stream, Error *err) {
    const PlanFamily *family = plan_family(kind);
    if (plan->desc.kind != kind)
        return err_set(err, ST_INVALID, "the plan is not one of seqtune_plan_%s", family->name);
    Status st = check_args_size(family, args, err);
    if (st != ST_OK) return st;
    if (family->run != NULL) return family->run(plan, args, workspace, stream, err);
    PlanCall call = {.params = plan->params};
    st = family->take_args(plan, args, workspace, &call, err);
    if (st == ST_OK) st = plan_check_workspace(plan, workspace, err);
    if (st != ST_OK || call.empty) return st;
    if (family->check_tables != NULL) st = family->check_tables(plan, &call, stream, err);
    if (st != ST_OK) return st;
    GenLaunch space[GEN_MAX_STEPS];
    const GenLaunch *launches = plan->launches;
    size_t count = plan->count;
    if (!call.whole)
        st = plan_launches_for(plan, family->lengths, call.length, family->length_count, space,
                               &launches, &count, err);
    return st != ST_OK ? st : plan_launch(plan, launches, count, &call.params, stream, err);
}

static seqtune_status run(const seqtune_plan *plan, PlanKind kind, const void *args,
                          seqtune_device_ptr workspace, seqtune_stream stream) {
    if (plan == NULL) return SEQTUNE_INVALID;
    Error err;
    Status st = launch(plan, kind, args, workspace, stream, &err);
    if (st != ST_OK) err_wrap(&err, "seqtune_run_%s", plan_family(kind)->name);
    return context_fail(plan->ctx, st, &err);
}

Status plan_run_rnn_kernel(const seqtune_plan *plan, const RnnKernelArgs *args,
                           seqtune_device_ptr workspace, seqtune_stream stream, Error *err) {
    return launch(plan, PLAN_RNN_KERNEL, args, workspace, stream, err);
}

Status plan_take_length(const char *name, int64_t given, int64_t max, int64_t *out, Error *err) {
    *out = given == 0 ? max : given == SEQTUNE_LENGTH_ZERO ? 0 : given;
    if (*out < 0 || *out > max)
        return err_set(err, ST_INVALID, "%s is %lld: must be 0..%lld, what the plan was made for",
                       name, (long long)given, (long long)max);
    return ST_OK;
}

Status plan_check_array(const PlanArray *array, Error *err) {
    if (array->wanted || (array->optional && array->address != 0))
        return plan_check_pointer(array->name, array->address, array->align, err);
    if (array->address != 0 && !array->optional)
        return err_set(err, ST_INVALID, "%s is given, but the description has no %s", array->name,
                       array->when);
    return ST_OK;
}

/* ---- the public functions ---- */

#define ENTRY(name, kind)                                                                          \
    seqtune_status seqtune_plan_##name(seqtune_context *ctx, const seqtune_##name##_desc *desc,    \
                                       seqtune_plan **out) {                                       \
        return make(ctx, kind, desc, out);                                                         \
    }                                                                                              \
    seqtune_status seqtune_supports_##name(seqtune_context *ctx,                                   \
                                           const seqtune_##name##_desc *desc) {                    \
        return supports(ctx, kind, desc);                                                          \
    }                                                                                              \
    seqtune_status seqtune_run_##name(const seqtune_plan *plan, const seqtune_##name##_args *args, \
                                      seqtune_device_ptr workspace, seqtune_stream stream) {       \
        return run(plan, kind, args, workspace, stream);                                           \
    }

ENTRY(attention, PLAN_ATTENTION)
ENTRY(merge, PLAN_MERGE)
ENTRY(kv, PLAN_KV)
ENTRY(rope, PLAN_ROPE)
ENTRY(rnn, PLAN_RNN)
