/* GPUs to work for: what --gpu names, resolved to devices of a driver.
 *
 * Queries devices only; no CUDA context is created here, so that workers have the GPU to
 * themselves. The driver is closed again before these functions return. */
#ifndef SEQTUNE_TUNER_TARGET_H
#define SEQTUNE_TUNER_TARGET_H

#include "base/arena.h"
#include "runtime/device.h"

typedef struct Target {
    GpuInfo gpu;
    DeviceTraits traits;
    char key[256];      /* gpu_key */
    const char *driver; /* for driver_open and seqtune_open */
    int ordinal;
    int driver_version;
} Target;

typedef struct Targets {
    Target *items;
    size_t count;
    const char *notice; /* one line to tell the user, e.g. why the software GPU is used; or NULL */
} Targets;

/* `text` NULL: "auto". One target per distinct GPU key. ST_INVALID for a GPU that is not one,
 * naming the legal ones; ST_DRIVER when a real GPU is asked for by number and none is there. */
Status targets_resolve(const char *text, Arena *arena, Targets *out, Error *err);
/* The first target, for commands that need one GPU; a model of the software GPU needs no driver. */
Status target_info(const char *text, Arena *arena, GpuInfo *out, const char **notice, Error *err);
/* What --gpu N, `gpus` and `version` look at: $SEQTUNE_DRIVER, else "cuda". */
const char *targets_real_driver(void);
/* Every device of one driver; `driver` as for driver_open. */
Status targets_of_driver(const char *driver, Arena *arena, Targets *out, Error *err);

#endif
