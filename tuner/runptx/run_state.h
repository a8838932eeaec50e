/* What run.c and run_buffers.c share; nobody else includes this. */
#ifndef SEQTUNE_TUNER_RUNPTX_RUN_STATE_H
#define SEQTUNE_TUNER_RUNPTX_RUN_STATE_H

#include "tuner/runptx/entries.h"
#include "tuner/runptx/run.h"

/* A buffer on the device. */
typedef struct Placed {
    CuDeviceptr base;     /* of the allocation; 0 for a module's variable */
    CuDeviceptr at;       /* of element 0 */
    size_t before, after; /* guard bytes */
} Placed;

struct PtxRun {
    Arena *arena;
    RunOptions options;
    RunDesc desc;
    PtxEntries entries;
    const PtxEntry **entry; /* of each launch */
    const char *ptx;        /* the text with the figures of ptxas */
    Driver *driver;
    Device device;
    bool pushed;
    CuModule module;
    CuFunction *function; /* of each launch */
    CuStream stream;
    CuEvent begin, end;
    Placed *placed;
};

/* Allocates every buffer, then writes contents and patches. */
Status buffers_place(PtxRun *run, Error *err);
void buffers_free(PtxRun *run);
/* Writes the `size` bytes of a value. */
void value_write(const PtxRun *run, const Value *value, unsigned char *out);

#endif
