/* One description carried out on one device: load, launches in order, checks of the results.
 *
 * Invariant: run_open has checked every launch against its entry's parameters before anything is
 * allocated. The structs of figures are plain bytes: they cross a pipe between two processes of the
 * same program. Not thread-safe; holds a CUDA context current on its thread. */
#ifndef SEQTUNE_TUNER_RUNPTX_RUN_H
#define SEQTUNE_TUNER_RUNPTX_RUN_H

#include "base/str.h"
#include "runtime/device.h"
#include "tuner/runptx/desc.h"

typedef struct PtxRun PtxRun;

typedef struct RunOptions {
    const char *ptx, *desc; /* paths */
    const char *files;      /* NULL: the description's directory */
    const char *settings;   /* "name=value ..." or NULL */
    const char *entry;      /* of launches that name none; NULL: the only one */
    const char *driver;     /* as driver_open takes it */
    int device;
    bool timing;  /* sampled blocks, where the device can */
    bool profile; /* count launches in detail, where the device can */
    /* Figures of ptxas for every entry launched: from the text of ptxas -v, or given; registers 0:
     * what the PTX itself says. */
    const char *ptxas_log; /* path or NULL */
    int registers, spill_stores, spill_loads;
} RunOptions;

enum { RUN_NAME = 512 };

typedef struct LaunchFigures {
    char entry[RUN_NAME];
    uint32_t grid[3], block[3], smem;
    int cooperative;
    int line; /* in the description */
    int registers, local_bytes;
    int registers_estimated; /* modelled, and the PTX carries no figures of ptxas */
    int has_stats;           /* the device counts: `stats` holds */
    DeviceLaunchStats stats;
    double seconds; /* device time; modelled where the device models */
} LaunchFigures;

typedef struct CheckFigures {
    char buffer[96];
    int line;
    int guard; /* 1: not an expectation, but the bytes around a buffer; `first` is an offset */
    uint64_t count, wrong;
    int64_t first; /* first wrong element (guard: byte, negative before the buffer) */
    double got, want;
    double worst; /* largest |got - want| */
} CheckFigures;

typedef struct OutputFigures {
    char buffer[96], save[1024];
    int type; /* Element */
    uint64_t count, from, shown;
    int has_stats;
    double min, max, mean; /* of the finite ones */
    uint64_t nans, infinities;
    char hash[65]; /* "" when not asked for */
} OutputFigures;

/* ST_SYNTAX, ST_INVALID, ST_NOT_FOUND, ST_LIMIT: the description, a name or a file; ST_COMPILE: the
 * driver refuses the PTX; others as met. */
Status run_open(const RunOptions *options, PtxRun **out, Error *err);
void run_close(PtxRun *run); /* NULL is fine */

const Driver *run_driver(const PtxRun *run);
const RunDesc *run_desc(const PtxRun *run);

/* Launches and waits. After a failure the context is of no use any more. */
Status run_launch(PtxRun *run, size_t index, LaunchFigures *out, Error *err);
/* Launches again `count` times and waits each time: device seconds of each. Buffers change as the
 * kernel changes them, so results must have been checked before. */
Status run_times(PtxRun *run, size_t index, double *seconds, size_t count, Error *err);
/* Appends warnings of the device's checks to *out, a line each. */
void run_warnings(const PtxRun *run, Str *out);

/* Downloads and compares one expectation (index < expect_count), then the guards of all buffers
 * (index - expect_count = buffer). */
Status run_check(PtxRun *run, size_t index, CheckFigures *out, Error *err);
bool run_has_check(const PtxRun *run, size_t index);
size_t run_check_count(const PtxRun *run);
/* Fills *out, saves the file; `values` gets the bytes of the elements to show. */
Status run_output(PtxRun *run, size_t index, OutputFigures *out, Str *values, Error *err);

#endif
