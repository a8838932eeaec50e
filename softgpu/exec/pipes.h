/* What a basic block costs each time a warp goes through it: counted once, when it is decoded. */
#ifndef SEQTUNE_SOFTGPU_EXEC_PIPES_H
#define SEQTUNE_SOFTGPU_EXEC_PIPES_H

#include <stdint.h>

/* PIPE(name): what an instruction occupies. ALU2 and ALU3 are 64-bit operations of two and three
 * issue slots; MOVE is dropped by ptxas. */
#define SG_PIPES                                                                                   \
    PIPE(MOVE)                                                                                     \
    PIPE(ALU)                                                                                      \
    PIPE(ALU2)                                                                                     \
    PIPE(ALU3)                                                                                     \
    PIPE(FMA)                                                                                      \
    PIPE(FMA64)                                                                                    \
    PIPE(DIV)                                                                                      \
    PIPE(SFU)                                                                                      \
    PIPE(CVT)                                                                                      \
    PIPE(MMA)                                                                                      \
    PIPE(LDMATRIX)                                                                                 \
    PIPE(LOAD)                                                                                     \
    PIPE(STORE)                                                                                    \
    PIPE(LOAD_SHARED)                                                                              \
    PIPE(STORE_SHARED)                                                                             \
    PIPE(LOCAL)                                                                                    \
    PIPE(ATOMIC)                                                                                   \
    PIPE(CP_ASYNC)                                                                                 \
    PIPE(SHUFFLE)                                                                                  \
    PIPE(BRANCH)                                                                                   \
    PIPE(BARRIER)                                                                                  \
    PIPE(OTHER)

typedef enum SgPipe {
#define PIPE(name) PIPE_##name,
    SG_PIPES
#undef PIPE
        PIPE_COUNT
} SgPipe;

typedef struct BlockCost {
    uint32_t pipe[PIPE_COUNT];
    uint64_t mma_flops;
    uint32_t mma;
} BlockCost;

#endif
