/* What the content checks know of a block and a launch while it runs (exec/checks.h).
 *
 * race, async: clocks of the warps (exec/order.h) and cells of shared memory (exec/race.h).
 * init: a shadow byte for each byte of shared and local memory, 0xff once it was written; device
 * memory has softgpu/written.h. Invariant: Block.watch is NULL unless the module was loaded with a
 * check that looks at accesses, and in sampled launches, whose memory means nothing. */
#ifndef SEQTUNE_SOFTGPU_EXEC_WATCH_H
#define SEQTUNE_SOFTGPU_EXEC_WATCH_H

#include "softgpu/exec/checks.h"
#include "softgpu/exec/race.h"

struct Watch {
    SgChecks checks;
    /* Distances from bytes of memory to their shadow bytes; 0: not tracked. */
    uint64_t shared_shadow, local_shadow, global_shadow;
    size_t shared_bytes, local_bytes;
    uint8_t *shadow; /* of shared, then of local memory */
    bool races;      /* `race` or `async`: the rest is kept */
    Cell *cells;     /* of shared memory, CELL_SLOTS times `words` */
    size_t words;
    Order order;
};

/* What blocks of a launch share for the checks. False: no memory. */
bool watch_launch(Launch *l, uint64_t blocks);

/* Memory for the checks of a block whose memory is `b`; kept with it from block to block. False:
 * no memory. Leaves b->watch NULL when nothing is to be watched. */
bool watch_start(Block *b, uint8_t *local, size_t local_bytes);
/* The block has ended; its memory may be used again or freed. */
void watch_end(Block *b);
void watch_free(Watch *watch);

/* What orders the warps of a block; nothing when that is not watched. */
void watch_arrive(Warp *w, int barrier);
void watch_release(Block *b, int barrier, uint32_t waiting);
void watch_met(Warp *w);
void watch_fence(Warp *w);
void watch_mb_arrive(Warp *w, uint32_t offset);
void watch_mb_phase(Block *b, uint32_t offset);
void watch_mb_wait(Warp *w, uint32_t offset);

/* `bytes` bytes at `address` of memory that handlers write without an access of the kernel. */
void watch_wrote_shared(Block *b, uint32_t offset, uint32_t bytes);
void watch_wrote_local(Block *b, const uint8_t *address, uint32_t bytes);
/* A frame begins there; a parameter goes from one frame to another. */
void watch_new_local(Block *b, const uint8_t *address, uint32_t bytes);
void watch_copied_local(Block *b, const uint8_t *to, const uint8_t *from, uint32_t bytes);

/* Copies of `lanes` have landed in shared memory. `waited`: by a wait of their own lanes. */
void watch_landed(Warp *w, const AsyncCopy *copy, uint32_t lanes, bool waited);

/* The bytes of one access that were not written: "bytes 2 to 3 of them were never written". */
void watch_name_unwritten(const uint8_t *shadow, uint32_t size, char *out, size_t out_size);

#endif
