/* One device of an open driver: its properties as the generator and the database key want them. */
#ifndef SEQTUNE_RUNTIME_DEVICE_H
#define SEQTUNE_RUNTIME_DEVICE_H

#include "base/gpus.h"
#include "runtime/driver.h"

typedef struct Device {
    int ordinal;
    CuDevice handle;
    CuContext context;
    bool retained;    /* the primary context, ours to release */
    bool cooperative; /* has cuLaunchCooperativeKernel */
    GpuInfo gpu;
    DeviceTraits traits;
    char key[256]; /* gpu_key */
} Device;

/* Fills *out but for `context`. ST_UNSUPPORTED names a compute capability that gpus.def lacks. */
Status device_query(const Driver *driver, int ordinal, Device *out, Error *err);
/* As device_query, and a context: ordinal -1 takes the current context's device and context, else
 * device 0; a current context of that device is used, else its primary one is retained. */
Status device_open(const Driver *driver, int ordinal, Device *out, Error *err);
void device_close(const Driver *driver, Device *device);

#endif
