/* Thread blocks: memory, barriers, turns. */
#ifndef SEQTUNE_SOFTGPU_EXEC_BLOCK_H
#define SEQTUNE_SOFTGPU_EXEC_BLOCK_H

#include "softgpu/exec/module.h"

typedef enum Turn { TURN_DONE, TURN_SPIN, TURN_FAULT } Turn;

/* Bytes of one block's memory for this launch. */
size_t block_bytes(const Launch *launch);
/* A block ready to run in `memory` (from the last block, or NULL); NULL: no memory. */
Block *block_start(Launch *launch, uint64_t linear, Block *spare);
void block_free(Block *b);
/* Runs until the block ends, faults, or only spins. `executed`: instructions of the turn. */
Turn block_turn(Block *b, uint64_t *executed);
/* Adds the block's counts. */
void block_count(const Block *b, SgCounters *out);

#endif
