/* Loaded code: a module on the device with the functions of a plan, ready to launch. */
#ifndef SEQTUNE_RUNTIME_KERNEL_H
#define SEQTUNE_RUNTIME_KERNEL_H

#include "runtime/build.h"
#include "runtime/driver.h"

typedef struct Kernel {
    CuModule module;
    size_t count; /* entries of the artifact */
    char name[ARTIFACT_MAX_ENTRIES][ARTIFACT_NAME];
    CuFunction function[ARTIFACT_MAX_ENTRIES];
    int64_t smem_limit[ARTIFACT_MAX_ENTRIES]; /* dynamic shared memory the driver was told of */
    bool cooperative;                         /* the device has cooperative launches */
    bool from_ptx; /* the driver refused the cubin and compiled the PTX */
} Kernel;

/* cubin first, the PTX when the driver has no use for that cubin. Gets every entry's function:
 * nothing is left for the first run. The right CUDA context is current. */
Status kernel_load(const Driver *driver, const Artifact *artifact, Kernel *out, Error *err);
void kernel_unload(const Driver *driver, Kernel *kernel);

/* Makes the launches possible: every entry exists, its shared memory limit is high enough. Not
 * from two threads at once on one kernel. */
Status kernel_prepare(const Driver *driver, Kernel *kernel, const GenLaunch *launches, size_t count,
                      Error *err);

/* Can all blocks of the launch be on a GPU of `sms` SMs at once? ST_UNSUPPORTED with the numbers
 * when not. The right CUDA context is current. */
Status kernel_resident(const Driver *driver, const Kernel *kernel, const GenLaunch *launch, int sms,
                       Error *err);

/* Launches a prepared step with one parameter struct; one that is cooperative as such where the
 * device can, else plainly (its blocks fit: kernel_resident). No allocation, no lock, no
 * synchronisation.
 */
CuResult kernel_launch(const Driver *driver, const Kernel *kernel, const GenLaunch *launch,
                       void *params, CuStream stream);

#endif
