/* The cells of the race checks: for each 4-byte word of shared memory, and of device memory that a
 * launch touches, who wrote it last and who were the last two warps to read it.
 *
 *   bit 62     61..38  37..34  33..29  28..24  23..22  21    20..0
 *   pending    clock   bytes   warp    lane    kind    many  record
 *
 * 0 is nobody. A cell that is less than a limit of exec/order.h is ordered before what the warp
 * does now, whatever its other fields. `pending`: a cp.async that nobody has waited for. `many`:
 * several lanes of the warp. Stores to the source of a copy in flight are found by the list of the
 * copies (race_access.h), and the copy counts as a read when its thread has waited. Known to be
 * missed: of stores to parts of one word the last is kept, of readers two warps. */
#ifndef SEQTUNE_SOFTGPU_EXEC_RACE_H
#define SEQTUNE_SOFTGPU_EXEC_RACE_H

#include "softgpu/exec/order.h"

typedef int64_t Cell;
enum { CELL_MANY = 21, CELL_KIND = 22, CELL_LANE = 24, CELL_WARP = 29, CELL_BYTES = 34 };
#define CELL_PENDING (INT64_C(1) << 62)
#define CELL_RECORDS ((UINT32_C(1) << CELL_MANY) - 1)

/* WHOLE: a read by the warp as one, which its lanes need not order. */
typedef enum CellKind { CELL_PLAIN, CELL_STRONG, CELL_COPY, CELL_WHOLE } CellKind;
typedef enum CellSlot { CELL_WRITE, CELL_READ, CELL_READ_OTHER, CELL_SLOTS } CellSlot;

enum { CHUNK_WORDS = 1 << 19 }; /* of 2 MiB of device memory */
typedef struct RaceChunk {      /* committed on touch */
    Cell cell[CELL_SLOTS][CHUNK_WORDS];
    uint32_t block[CELL_SLOTS][CHUNK_WORDS];
    uint32_t value[CHUNK_WORDS];      /* that the last store wrote: memory may not have it yet */
    uint32_t known[CHUNK_WORDS / 32]; /* bit: `value` is (not of an atomic, a matrix, a copy) */
} RaceChunk;

/* Cells of the device memory of one launch. */
RaceLaunch *race_launch_new(void);
void race_launch_free(RaceLaunch *launch);
/* The chunk of a device address, made when there is none; NULL: no memory, no check. */
RaceChunk *race_chunk(RaceLaunch *launch, uint64_t address);
/* Cells of the 4 KiB around an address are one thread's until it unlocks them. */
void race_lock(RaceLaunch *launch, uint64_t address);
void race_unlock(RaceLaunch *launch, uint64_t address);

typedef struct RaceOther { /* the access that came before */
    Cell cell;
    uint64_t block;
} RaceOther;

/* Reports the access of lane `lane`: `what` ("store"), its place in memory, and the other one. */
void race_fault(Warp *w, const Rec *r, int lane, const char *what, const char *where,
                const RaceOther *other, bool other_reads);

static inline uint32_t cell_bits(Cell c, int at, int bits) {
    return (uint32_t)((uint64_t)c >> at) & ((UINT32_C(1) << bits) - 1);
}

#endif
