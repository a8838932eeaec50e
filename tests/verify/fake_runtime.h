/* A stand-in for libseqtune under the verifier: "device" memory is the heap, "kernels" are the fp64
 * references with one defect built in. So the verifier is tested without a device, a compiler or a
 * template. */
#ifndef SEQTUNE_TESTS_VERIFY_FAKE_RUNTIME_H
#define SEQTUNE_TESTS_VERIFY_FAKE_RUNTIME_H

#include "generator/gen.h"
#include "runtime/plan.h"

typedef enum Defect {
    DEFECT_NONE,
    /* attention */
    DEFECT_LEFT_ONE_MORE,
    DEFECT_RIGHT_ONE_MORE,
    DEFECT_TOP_LEFT,
    DEFECT_K_HEADS_REVERSED,
    DEFECT_SCALE_TWICE,
    DEFECT_LSE_BASE_TWO,
    DEFECT_EMPTY_ROW_NAN,
    DEFECT_ROW_PAST_THE_END,
    DEFECT_LSE_PAST_THE_END,
    DEFECT_WRITES_BEFORE_O,
    DEFECT_WRITES_INTO_A_GAP,
    DEFECT_WRITES_K,
    DEFECT_USES_ROW_PAST_KV,
    DEFECT_V_WALKED_WITH_K_STRIDES,
    DEFECT_EVERY_RUN_DIFFERS,
    DEFECT_HEADS_DIFFER,
    DEFECT_BATCH_STRIDE_IGNORED,
    DEFECT_ATTENTION_LAST = DEFECT_BATCH_STRIDE_IGNORED,
    /* rope */
    DEFECT_ROPE_WRONG_SIGN,
    DEFECT_ROPE_OTHER_STYLE,
    DEFECT_ROPE_COPIES_VALUES,
    DEFECT_ROPE_ROW_PAST_THE_TABLE,
    DEFECT_ROPE_TOKEN_PAST_THE_END,
    DEFECT_ROPE_IN_PLACE_DIFFERS,
    DEFECT_ROPE_LAST = DEFECT_ROPE_IN_PLACE_DIFFERS,
    /* merge */
    DEFECT_MERGE_LAST_PART_LEFT_OUT,
    DEFECT_MERGE_EMPTY_PART_COUNTS,
    DEFECT_MERGE_EMPTY_ROW_NAN,
    DEFECT_MERGE_LSE_BASE_TWO,
    DEFECT_MERGE_LSE_STRIDES_SWAPPED,
    DEFECT_MERGE_WEIGHTS_NOT_NORMALISED,
    DEFECT_MERGE_ROW_PAST_THE_END,
    DEFECT_MERGE_LAST = DEFECT_MERGE_ROW_PAST_THE_END,
    /* the KV cache */
    DEFECT_KV_SKIPPED_SLOT_WRITTEN,
    DEFECT_KV_NEXT_ROW_OF_THE_PAGE,
    DEFECT_KV_PAGE_OF_THE_FIRST_SEQUENCE,
    DEFECT_KV_LENGTH_IGNORED,
    DEFECT_KV_VALUES_BY_THE_STRIDES_OF_KEYS,
    DEFECT_KV_LAST_ELEMENT_LEFT_OUT,
    DEFECT_KV_NAN_LOSES_ITS_BITS,
    DEFECT_KV_LAST = DEFECT_KV_NAN_LOSES_ITS_BITS,
    /* the device */
    DEFECT_FAULT
} Defect;

struct seqtune_plan {
    seqtune_context *ctx;
    PlanDesc desc;
};

struct seqtune_context {
    Defect defect;
    PlanKind kind;
    const GenProblem *problem;
    bool refuse; /* plan_create says ST_UNSUPPORTED */
    int runs;
    size_t blocks; /* allocations alive */
};

#endif
