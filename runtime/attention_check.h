/* SEQTUNE_CHECKED: what a run reads on the device, read here first. */
#ifndef SEQTUNE_RUNTIME_ATTENTION_CHECK_H
#define SEQTUNE_RUNTIME_ATTENTION_CHECK_H

#include "runtime/plan_internal.h"

/* Waits for `stream`, copies lengths and page tables to the host and checks each entry that the
 * kernels would read. ST_INVALID names the array, the place, the value and the limit. Allocates. */
Status attention_check_tables(const seqtune_plan *plan, const AttnParams *p, seqtune_stream stream,
                              Error *err);

#endif
