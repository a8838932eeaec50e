/* What happens before what: vector clocks of warps, for the race checks.
 *
 * Each warp has a clock, `now`, and knows of each warp of its block up to which clock everything
 * that warp did is ordered before what it does itself. Barriers, mbarriers and release/acquire
 * pairs pass that knowledge on (PTX ISA, memory consistency model: causality order); a meeting of a
 * warp's lanes orders them among each other. Of another block a warp knows how many of its
 * publications it has seen, one for each release at the device's scope; the block keeps what each
 * of them told.
 *
 * Coarser than the model where it costs little, always towards silence: a release by one lane is
 * one of its whole warp, publications of one block build on each other, scopes are not told apart.
 */
#ifndef SEQTUNE_SOFTGPU_EXEC_ORDER_H
#define SEQTUNE_SOFTGPU_EXEC_ORDER_H

#include "softgpu/exec/warp.h"

typedef struct Outside Outside; /* publications seen of every block; counted, never changed */

typedef struct Clocks {
    uint32_t of[MAX_WARPS];
    Outside *outside; /* NULL: nothing is known of other blocks */
} Clocks;

/* The top of a cell of race.h is a clock: what is below limit[w] was done by warp w and is ordered.
 */
enum { CELL_CLOCK = 38, CELL_CLOCK_BITS = 24 };

typedef struct WarpOrder {
    uint32_t now;
    Clocks known;
    bool has_fence, has_seen;
    Clocks fence; /* as of the last fence: what a relaxed store publishes */
    Clocks seen;  /* of relaxed loads: known from the next fence on */
    int64_t limit[MAX_WARPS], floor;
} WarpOrder;

typedef struct SyncVar { /* a flag, a counter or an mbarrier in shared memory */
    uint32_t offset;
    bool used;
    Clocks arriving, done; /* mbarrier: of the phase under way, of those before; else `done` */
} SyncVar;

typedef struct Order {
    WarpOrder warps[MAX_WARPS];
    Clocks barriers[BARRIERS];
    SyncVar *vars; /* open addressing by offset */
    uint32_t var_count, var_cap;
} Order;

/* What blocks of a launch tell each other. */
OrderLaunch *order_launch_new(uint64_t blocks);
void order_launch_free(OrderLaunch *launch);

void order_reset(Order *o, int warps);
/* Before the block gives its clocks up: drops what they hold of other blocks. */
void order_end(const Block *b, Order *o);
void order_free(Order *o);

/* The lanes of the warp have met at a warp-wide instruction. */
void order_warp_met(Warp *w);
/* The warp arrives at barrier `id`; the warps of `waiting` are released from it. */
void order_arrive(Warp *w, int id);
void order_release(Block *b, int id, uint32_t waiting);
void order_fence(Warp *w);

/* mbarrier at `offset`: an arrival, the end of a phase, a successful wait. */
void order_mb_arrive(Warp *w, uint32_t offset);
void order_mb_phase(Block *b, uint32_t offset);
void order_mb_wait(Warp *w, uint32_t offset);

/* A relaxed or stronger access: before a store (or atomic), after a load (or atomic). `address` is
 * a host address in shared or device memory. */
void order_publish(Warp *w, uint64_t address, bool release);
void order_observe(Warp *w, uint64_t address, bool acquire);
/* False while order_publish and order_observe would do nothing. */
bool order_has_signals(const Warp *w, bool release);

/* True when what warp `warp` of block `block` did at `clock` is ordered before what w does now. */
bool order_before(const Warp *w, uint64_t block, int warp, uint32_t clock);

#endif
