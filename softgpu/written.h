/* Which bytes of device memory were ever written: a shadow byte for each, committed on touch.
 *
 * The shadow of an address lies at a fixed distance from it: 0xff for a byte that a copy, a fill,
 * an initialiser or a kernel wrote, 0 otherwise. Only allocations made while SOFTGPU_CHECKS asks
 * for `init` are tracked; an untracked one counts as written. Invariant: where
 * sg_written_distance() is not 0, the shadow of every address of the range may be read and written.
 * Shadow bytes are written without a lock: two writers of one byte both write 0xff. */
#ifndef SEQTUNE_SOFTGPU_WRITTEN_H
#define SEQTUNE_SOFTGPU_WRITTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* Distance from a device address to its shadow byte; 0 while nothing is tracked. */
uint64_t sg_written_distance(void);

/* True when the environment asks for `init`. */
bool sg_written_wanted(void);

/* Reserves the shadow of [base, base + size) once. ST_NO_MEMORY when the host refuses. */
Status sg_written_reserve(uint64_t base, uint64_t size, Error *err);

/* [address, address + bytes) is fresh, or given back: nothing wrote it. */
void sg_written_forget(uint64_t address, uint64_t bytes);

/* The bytes were written. Does nothing while nothing is tracked or for host memory. */
void sg_written_mark(uint64_t address, uint64_t bytes);

/* A copy of device memory: the destination is written where the source is. */
void sg_written_copy(uint64_t to, uint64_t from, uint64_t bytes);

/* What unchecked or sampled kernels write is not seen: all that lives now counts as written. */
void sg_written_give_up(void);

#endif
