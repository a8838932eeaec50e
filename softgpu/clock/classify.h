/* Instruction forms as the fold sees them (classify.c). */
#ifndef SEQTUNE_SOFTGPU_CLOCK_CLASSIFY_H
#define SEQTUNE_SOFTGPU_CLOCK_CLASSIFY_H

#include "softgpu/clock/code.h"

/* What an operation can join with: see fold_pairs. */
typedef enum CodeRole {
    ROLE_PLAIN,
    ROLE_PRODUCT,
    ROLE_WIDE_PRODUCT,
    ROLE_SHIFT,
    ROLE_SUM,
    ROLE_LOGIC
} CodeRole;

bool form_is(const char *form, const char *root);
/* A modifier that begins so: "shared" finds .shared and .shared::cta. */
bool form_has(const char *form, const char *word);
const char *form_type(const char *form); /* the last modifier */
int form_width(const char *type);        /* bits */
CodeKind form_kind(const char *form);
int form_slots(const char *form, CodeKind kind); /* 32-bit operations that it is made of */
CodeRole form_role(const char *form, CodeKind kind);
uint32_t form_flops(const char *form); /* of an mma: 2 m n k */
GpuMma form_rate(const char *form);    /* of an mma */
/* Bytes that one thread moves to or from global memory. */
uint32_t instr_bytes(const PtxInstr *in, CodeKind kind);
/* cp.async groups that may stay in flight behind a wait; -1: it closes a group. */
int instr_groups(const PtxInstr *in);

#endif
