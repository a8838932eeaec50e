/* The machine state that handlers work on: records, warps, blocks, one launch.
 *
 * Registers of a warp are rows of 32 lanes in one block of memory; a record names them by byte
 * offset. 16-bit values live zero-extended in 32-bit lanes; a predicate is one 32-bit mask.
 * Invariant: a block is run by one host thread at a time; only Launch is shared. */
#ifndef SEQTUNE_SOFTGPU_EXEC_WARP_H
#define SEQTUNE_SOFTGPU_EXEC_WARP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "softgpu/exec/checks.h"
#include "softgpu/exec/exec.h"
#include "softgpu/memory.h"

typedef struct Rec Rec;
typedef struct Warp Warp;
typedef struct Block Block;
typedef struct Launch Launch;
typedef struct Watch Watch;
/* Executes the record for the lanes of w->mask; returns the next record, NULL to leave the warp. */
typedef const Rec *(*Handler)(Warp *w, const Rec *r);

enum { REC_WORDS = 14 };

struct Rec { /* one cache line */
    Handler fn;
    uint32_t o[REC_WORDS];
};

enum { LANES = 32, BARRIERS = 16, MAX_WARPS = 32, RANGES = 4 };
#define FULL_MASK UINT32_MAX

/* Generic addresses of the windows (PTX ISA 5.1). Bits 48..63 of a host address are zero, so no
 * device address lies in one. */
#define WINDOW_SHIFT  48
#define WINDOW_SHARED (UINT64_C(1) << WINDOW_SHIFT)
#define WINDOW_LOCAL  (UINT64_C(2) << WINDOW_SHIFT)
#define WINDOW_PARAM  (UINT64_C(3) << WINDOW_SHIFT)
#define WINDOW_CODE   (UINT64_C(4) << WINDOW_SHIFT) /* functions; nothing is read there */

/* WARP_SPIN: every lane that could run waits in a loop for memory to change. */
typedef enum WarpState { WARP_READY, WARP_BARRIER, WARP_SPIN, WARP_DONE, WARP_FAULT } WarpState;

/* What a loop that only waits saw when its head was passed; see exec/spin.c. */
typedef struct SpinRound {
    const Rec *head;
    uint32_t lanes;
    uint64_t block, world; /* Block.epoch, Launch.world */
} SpinRound;

typedef struct AsyncCopy { /* one cp.async of a warp that has not landed yet */
    uint32_t mask;         /* lanes still pending */
    uint32_t bytes;
    uint32_t group[LANES]; /* commit group of each lane */
    uint32_t dst[LANES];   /* offset in the block's shared memory */
    uint64_t src[LANES];
    uint32_t take[LANES]; /* bytes read from src; the rest is zero */
    /* for the checks: where it was issued, the clock of its warp then, [low, high) of its sources
     */
    const Rec *rec;
    uint32_t clock;
    uint64_t low, high;
} AsyncCopy;

/* Flags of mbarrier records. */
enum {
    MB_INIT = 1,
    MB_INVAL = 2,
    MB_ARRIVE = 4,
    MB_EXPECT = 8,
    MB_COMPLETE = 16,
    MB_DROP = 32,
    MB_NO_COMPLETE = 64,
    MB_PARITY = 128,
    MB_NO_INC = 256,
};

/* Types of atom and red, by width: 2, 4, 8, 16 bytes (atomic.h). */
typedef enum AtomType {
    AT_B16,
    AT_F16,
    AT_BF16,
    AT_B32,
    AT_U32,
    AT_S32,
    AT_F32,
    AT_F16X2,
    AT_BF16X2,
    AT_B64,
    AT_U64,
    AT_S64,
    AT_F64,
    AT_B128
} AtomType;

/* Flags of wmma.load and wmma.store records (wmma.h). */
enum {
    WM_A,
    WM_B,
    WM_C,
    WM_KIND = 3,
    WM_ROWS = 4,  /* memory holds the fragment by rows */
    WM_RIGHT = 8, /* blocks of C go to the right */
    WM_ADDR64 = 16,
    WM_SPACE = 5, /* shift: 0 generic, 1 shared, 2 global */
    WM_LOG = 7,   /* shift: log2 of an element's bytes */
};

typedef struct AsyncArrival { /* cp.async.mbarrier.arrive that nobody has waited for yet */
    uint32_t offset;          /* of the mbarrier in shared memory */
    uint32_t lanes;
    int warp;
} AsyncArrival;

typedef struct LaneStack { /* of calls: see exec/frame.h */
    uint32_t *words;
    uint32_t used, cap, depth;
    uint64_t bytes; /* of the thread's stack */
} LaneStack;

typedef struct AddressRange { /* of an allocation, [low, high) */
    uint64_t low, high;
} AddressRange;

struct Warp {
    uint8_t *regs;
    uint32_t mask;   /* lanes of the current record: active, less those its guard holds back */
    uint32_t active; /* lanes that run together now */
    uint32_t live;   /* lanes that have not exited */
    uint32_t born;   /* lanes that ever lived: all but those past the end of the block */
    uint32_t checks; /* SgChecks of the module */
    uint32_t parked; /* lanes that wait at pc[] for others of the warp to arrive */
    uint32_t behind; /* lanes that had their turn since the others had one */
    uint32_t asleep; /* lanes that spin: they wait at pc[] for memory to change */
    SpinRound round; /* the last pass of a spin loop's head */
    const Rec *back; /* the last jump back to one, */
    uint32_t back_lanes;
    uint32_t spinning;                 /* lanes that jumped back to the head of one */
    int tries;                         /* see countdown.c */
    uint64_t world_waits;              /* for memory that other blocks write, polls left out */
    uint64_t sectors, round_sectors;   /* global sectors; when `round` began */
    bool sleep_global;                 /* other blocks can wake the lanes asleep */
    uint64_t sleep_block, sleep_world; /* the oldest that they have seen */
    const Rec *warned;                 /* the last record of this warp that warned */
    uint64_t choices;                  /* random choices made, with a seed */
    uint32_t carry;                    /* CC.CF */
    int budget;        /* blocks that the running lanes may execute before others get a turn */
    int64_t fuel;      /* instructions until the warp gives way */
    uint64_t clock;    /* instructions executed; what %clock reads */
    bool apart;        /* an exchange runs for lanes at several instructions (exchange.c) */
    bool barrier_done; /* bar.red: the result of the barrier just released is in barrier_sum */
    uint32_t barrier_sum;
    const Rec *guard; /* the guard record while its instruction runs */
    const Rec *pc[LANES];
    uint32_t missing[LANES]; /* of lanes parked: those that they wait for */
    const Rec *resume;
    Block *block;
    uint8_t *local;    /* LANES times Launch.local_bytes */
    LaneStack *stacks; /* one per lane; NULL: no routine was called yet */
    int index;
    WarpState state;
    int barrier;               /* waited for in WARP_BARRIER, */
    const Rec *waits;          /* ... at this record */
    uint64_t *counts;          /* executions per basic block, of the thread block */
    uint32_t committed[LANES]; /* cp.async groups committed so far */
    AsyncCopy *async;
    int async_count, async_cap;
    uint32_t async_serial;
    uint32_t group_copies;       /* cp.async since the last commit */
    uint64_t group_history;      /* bit i: the i-th newest committed group had copies */
    uint32_t groups_open;        /* committed and not known to be complete */
    AddressRange ranges[RANGES]; /* allocations seen last */
    unsigned range_next;
};

typedef struct Barrier {
    uint32_t waiting;  /* warps */
    uint32_t arrived;  /* threads, bar.arrive included */
    uint32_t expected; /* 0: all threads of the block that have not exited */
    uint32_t sum;      /* bar.red: threads with a true predicate */
    uint32_t warps;    /* that came, waiting or not */
    bool red;          /* used by bar.red */
} Barrier;

typedef struct DynamicCounters { /* what cannot be told from counts of basic blocks */
    uint64_t shared_wavefronts, shared_conflicts, max_async_groups;
} DynamicCounters;

struct Block {
    Launch *launch;
    uint64_t linear;
    uint32_t id[3];
    uint32_t serial; /* turns taken; with `linear` it picks the order of warps */
    int warp_count;
    Warp *warps;
    uint8_t *shared;
    uint32_t shared_size, shared_base;
    bool progress;       /* a store, barrier, exit or atomic since the last look (block_epoch) */
    bool moved;          /* the same in this round over the warps */
    uint64_t epoch;      /* counts looks that found progress */
    uint64_t executed;   /* warp instructions, of a block that shall die */
    uint64_t wait_world; /* parked: Launch.world that its warps have seen */
    Barrier barriers[BARRIERS];
    DynamicCounters dynamic;
    AsyncArrival *arrivals;
    int arrival_count, arrival_cap;
    struct BlockProfile *profile; /* of a profiled launch (probe.h); else NULL */
    uint64_t *counts;
    Watch *watch;    /* content checks; NULL: none, see exec/watch.h */
    uint8_t *memory; /* one allocation for everything above */
    Block *next;
};

typedef struct Footprint Footprint;
typedef struct OrderLaunch OrderLaunch;
typedef struct RaceLaunch RaceLaunch;

typedef struct BlockQueue { /* by Block.next */
    Block *head, *tail;
} BlockQueue;

struct Launch {
    SgLaunch *user;
    uint64_t workspace; /* of a cooperative grid: see launch.c; 0: none */
    const SgKernel *kernel;
    const uint8_t *params;
    uint64_t spin_limit;
    uint64_t block_total;  /* blocks to run: all, or the samples */
    const uint64_t *order; /* sampled linear indices; NULL: 0, 1, 2 ... */
    int resident;
    int warp_count;
    size_t block_bytes, reg_bytes;
    uint64_t stack_bytes, local_bytes; /* per thread; the stack is the end of local memory */
    Footprint *footprint;
    struct LaunchProfile *profile; /* under the lock; NULL: not profiled */
    OrderLaunch *order_between; /* and `race`: see exec/order.h, exec/race.h; NULL: not watched */
    RaceLaunch *race;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint64_t started, finished;
    int live;
    int idle_workers, workers;
    BlockQueue queue;                /* blocks that gave way */
    BlockQueue parked;               /* blocks that wait for others to change memory */
    uint64_t idle_since, idle_world; /* all blocks parked: since when (ns), at what `world` */
    bool watched;                    /* ... and one worker looks after them */
    Block *spare;
    uint64_t stalled; /* instructions since any block made progress */
    SgBlockSample *samples;
    const uint64_t *sample_of; /* linear indices of `samples`, ascending */
    uint64_t sample_count;
    SgCounters total;
    uint64_t *counts;    /* executions per basic block, of the blocks that ended */
    SgWarning *warnings; /* SG_MAX_WARNINGS; of the instructions `warned` */
    const Rec **warned;
    size_t warning_count;
    _Atomic int parked_count;
    _Atomic uint64_t world;    /* counts rounds of blocks that changed memory */
    _Atomic uint64_t executed; /* instructions, when there is a limit */
    atomic_bool stop;          /* a fault: all workers leave */
    Status status;
};

/* The first fault of a launch wins. `lanes`: those at fault. Returns NULL, for handlers. */
const Rec *warp_fault(Warp *w, const Rec *r, int cuda_result, uint32_t lanes, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* "KERNEL: FILE:LINE: KIND: WHAT (PTX line, instruction, thread, block)". */
void warp_text(const Warp *w, const Rec *r, uint32_t lanes, const char *kind, const char *what,
               char *out, size_t size);

/* "FILE:LINE, PTX line N", the first part where there is a .loc; size > 64. Returns out. */
const char *warp_place(const Warp *w, const Rec *r, char *out, size_t size);

/* Chooses the lanes that run next after pc[] was set; NULL when the warp stops. */
const Rec *warp_select(Warp *w);
/* For instructions that need the lanes of `required` together: true when they are. Otherwise
 * *next is where to go on: other lanes, or NULL. */
bool warp_gather(Warp *w, const Rec *r, uint32_t required, const Rec **next);
/* `lanes` wait at `at` until those of `missing` come or exit. Returns where the warp goes on. */
const Rec *warp_park(Warp *w, uint32_t lanes, const Rec *at, uint32_t missing);

/* What the words of an exchange's record are: EX_SAME all that makes two of them alike, the others
 * rows of operands, which may differ. */
typedef enum ExchangeWord {
    EX_SAME,
    EX_OUT, /* 32 bits; NO_ROW: none */
    EX_OUT_PRED,
    EX_IN,
    EX_IN_WIDE, /* 64 bits */
    EX_IN_PRED,
    EX_MEMBERS, /* the membermask */
    EX_NEGATION /* of the EX_IN_PRED */
} ExchangeWord;
enum { EX_WORDS = 6 }; /* rows are among the first words */
typedef struct ExchangeRows {
    uint8_t kind[REC_WORDS]; /* ExchangeWord */
    uint8_t negation;        /* which is EX_NEGATION; 0: none */
} ExchangeRows;
/* An exchange whose lanes are not all together: they wait for those of `mask`, here or at exchanges
 * like `r`. Returns where the warp goes on. See exchange.c. */
const Rec *warp_exchange(Warp *w, const Rec *r, uint32_t mask, const ExchangeRows *rows);
/* Not all running lanes are in the membermask of the lowest: those that name the same one go on as
 * a group, the others come to `r` again later. False: a lane is not in its own mask. */
bool warp_split(Warp *w, const Rec *r, const uint32_t *masks, const Rec **next);
/* The check `sync` of membermasks; false after a fault. */
bool warp_check_members(Warp *w, const Rec *r, const uint32_t *masks, const Rec **next);
/* The membermask of the lanes that execute a .sync instruction; false: go to *next. */
static inline bool warp_members(Warp *w, const Rec *r, const uint32_t *masks, uint32_t *mask,
                                const Rec **next) {
    *mask = masks[__builtin_ctz(w->mask)];
    if ((w->mask & ~*mask) && !warp_split(w, r, masks, next)) return false;
    return !(w->checks & SG_CHECK_SYNC) || warp_check_members(w, r, masks, next);
}
/* Runs until the warp waits, ends, faults or has used up its fuel. */
void warp_run(Warp *w);
void warp_exit_lanes(Warp *w, uint32_t lanes);
/* Lanes asleep look at memory again. */
void warp_wake(Warp *w);

/* cp.async: see exec/async.c. */
AsyncCopy *
async_next(Warp *w); /* to be filled (group excepted), then async_push; NULL: no memory */
void async_push(Warp *w);
void async_commit(Warp *w);
void async_wait(Warp *w, uint32_t newest_left);
void async_wait_all(Warp *w);
void async_land(Warp *w, uint32_t lanes);                     /* all their copies, groups apart */
bool async_arrival(Warp *w, uint32_t offset, uint32_t lanes); /* false: no memory */

/* printf of lane `lane`: format and argument buffer; returns how many arguments it took. */
int kernel_print(const Warp *w, int lane, uint64_t format, uint64_t args);

/* Barriers: see exec/block.c. */
bool block_barrier(Warp *w, const Rec *r, int id, uint32_t threads, bool wait);
void block_check_barriers(Block *b);
/* After a round in which a block changed memory: parked blocks look again. */
void launch_publish(Launch *l);

uint64_t warp_local_bytes(const Warp *w); /* per thread */
uint64_t warp_param_bytes(const Warp *w);

/* True when [low, high) lies in one allocation; remembers it. */
bool warp_range(Warp *w, uint64_t low, uint64_t high);
/* May lane `lane` use these bytes of device memory? Else a fault. */
bool warp_may_use(Warp *w, const Rec *r, int lane, uint64_t address, uint32_t size);

/* Block.epoch after a look at whether the block changed memory since the last. */
static inline uint64_t block_epoch(Block *b) {
    if (b->progress) {
        b->progress = false;
        b->moved = true;
        b->epoch++;
    }
    return b->epoch;
}

/* A hash for schedules: equal seeds and places give equal choices. */
static inline uint64_t sg_mix(uint64_t seed, uint64_t a, uint64_t b) {
    uint64_t h = seed * UINT64_C(0xd6e8feb86659fd93) + a * UINT64_C(0x9e3779b97f4a7c15) +
                 b * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 29;
}

/* Marks 32-byte sectors as touched by the grid. */
void footprint_touch(Footprint *f, uint64_t first_sector, uint64_t last_sector);

/* Records of the check `address`: o[0] kind, o[1..3] sources, o[4] what may not happen. */
typedef enum OverflowKind {
    OVERFLOW_MUL,
    OVERFLOW_MAD,
    OVERFLOW_SHL,
    OVERFLOW_ADD,
    OVERFLOW_SUB
} OverflowKind;
enum { OVERFLOW_SIGNED = 1, OVERFLOW_BOTH = 2 }; /* with sign; with and without sign */

typedef struct HandlerSet {
    const Handler *lane, *tensor; /* by position in ops_lane.def, ops_tensor.def */
    const Handler *lane_extra, *tensor_extra;
} HandlerSet;

/* The level that exec/simd.h chooses; `checked`: those that make content checks. */
Status sg_handlers(bool checked, const HandlerSet **out, Error *err);
extern const Handler sg_control_handlers[];
extern const Handler sg_control_extras[];

#endif
