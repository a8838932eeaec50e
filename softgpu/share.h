/* What counted work asks of the units of an SM, and how a launch's work is shared out over rows.
 *
 * Uses rates only: no latencies, no order (those are the clock's). Not for times. */
#ifndef SEQTUNE_SOFTGPU_SHARE_H
#define SEQTUNE_SOFTGPU_SHARE_H

#include "softgpu/exec/profile.h"

typedef enum SgUnit {
    SG_UNIT_TENSOR,
    SG_UNIT_SHARED, /* the shared-memory port, which global accesses and shuffles take too */
    SG_UNIT_ALU,
    SG_UNIT_FP32,
    SG_UNIT_SFU,
    SG_UNIT_ISSUE,
    SG_UNITS
} SgUnit;

/* Cycles of one SM on each unit. */
void sg_unit_cycles(const SgCounters *counters, const GpuModel *model, double cycles[SG_UNITS]);
/* Parts of the whole, 1 together (0 without work): a row counts by what it adds to each unit,
 * weighed by how busy that unit is: sum over units of own * all, divided by sum of all squared. */
void sg_row_shares(const SgRow *rows, size_t count, const GpuModel *model, double *shares);

#endif
