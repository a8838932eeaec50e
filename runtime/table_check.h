/* What a run reads on the device, read here first: SEQTUNE_CHECKED, and the software GPU. */
#ifndef SEQTUNE_RUNTIME_TABLE_CHECK_H
#define SEQTUNE_RUNTIME_TABLE_CHECK_H

#include "runtime/plan_internal.h"

/* PlanFamily.check_tables. With SEQTUNE_CHECKED in the description's flags: wait for `stream`, copy
 * lengths, slots and page tables to the host and check each entry that the kernels would read.
 * Without it, where the driver has Peek (the software GPU): page ids and slots outside of the pool,
 * unless Peek refuses. ST_INVALID names the array, the place, the value and the limit. Allocate. */
Status attention_check_tables(const seqtune_plan *plan, const PlanCall *call, seqtune_stream stream,
                              Error *err);
Status kv_check_tables(const seqtune_plan *plan, const PlanCall *call, seqtune_stream stream,
                       Error *err);
/* The same with SEQTUNE_CHECKED, which the caller has looked at: lens and cu_seqlens. */
Status rnn_check_tables(const seqtune_plan *plan, const seqtune_rnn_args *args,
                        seqtune_stream stream, Error *err);

#endif
