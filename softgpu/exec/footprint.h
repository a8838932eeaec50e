/* Which 32-byte sectors of device memory a grid touches: distinct bytes are what DRAM must move
 * at least once. One bitmap per 2 MiB of address space, made on first touch, shared by all
 * threads of the launch without locks; the set of bits does not depend on their order. */
#ifndef SEQTUNE_SOFTGPU_EXEC_FOOTPRINT_H
#define SEQTUNE_SOFTGPU_EXEC_FOOTPRINT_H

#include "softgpu/exec/warp.h"

Footprint *footprint_new(void); /* NULL when there is no memory */
/* From now on every footprint_touch of this thread on a footprint that is heard calls `fn` too;
 * NULL ends it. */
typedef void (*FootprintFn)(void *context, uint64_t first_sector, uint64_t last_sector);
void footprint_listen(FootprintFn fn, void *context);
void footprint_hear(Footprint *f);
void footprint_free(Footprint *f);
/* Distinct bytes touched. `scale` > 1 (sampled blocks): each allocation's share is scaled up, to
 * its size at most. */
uint64_t footprint_bytes(const Footprint *f, double scale);

#endif
