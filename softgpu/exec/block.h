/* Thread blocks: memory, barriers, turns. */
#ifndef SEQTUNE_SOFTGPU_EXEC_BLOCK_H
#define SEQTUNE_SOFTGPU_EXEC_BLOCK_H

#include "softgpu/exec/module.h"

/* TURN_PARK: nothing happens before another block changes memory after `wait_world`. */
typedef enum Turn { TURN_DONE, TURN_SPIN, TURN_PARK, TURN_FAULT } Turn;

/* Bytes of one block's memory for this launch. */
size_t block_bytes(const Launch *launch);
/* A block ready to run in `memory` (from the last block, or NULL); NULL: no memory. */
Block *block_start(Launch *launch, uint64_t linear, Block *spare);
void block_free(Block *b);
/* Runs until the block ends, faults, only spins or only waits. `executed`: instructions of the
 * turn. */
Turn block_turn(Block *b, uint64_t *executed);
/* Adds what `pipe[p]` warp instructions on each pipe come to. */
void pipes_count(const uint64_t pipe[PIPE_COUNT], SgCounters *out);
/* Adds the counts of a block that has ended; in loops that only wait they become one a wait. */
void block_count(Block *b, SgCounters *out);
/* All its warps wait: the counts of those that wait with a time-out run down. False: none does. */
bool block_countdown(Block *b);

/* Does the kernel call grid.sync() of cooperative groups? */
bool launch_wants_workspace(const SgKernel *k);
uint32_t block_live_threads(const Block *b); /* as barriers without a count count them */

/* The fault of blocks (a list by `next`) whose warps all wait: who waits for what. See deadlock.c.
 * `more` is added to the text. */
void deadlock_fault(Block *blocks, const char *more);

/* Notes a finding that does not stop the kernel; once per instruction. See warning.c. */
void warp_warn(Warp *w, const Rec *r, SgWarningKind kind, uint32_t lanes, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

#endif
