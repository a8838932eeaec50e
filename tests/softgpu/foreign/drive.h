/* Runs one foreign case on a CUDA driver (the software GPU, or libcuda), in a process of its own:
 * a crash, a hang or a poisoned context is that case's outcome and nobody else's. */
#ifndef SEQTUNE_TESTS_SOFTGPU_FOREIGN_DRIVE_H
#define SEQTUNE_TESTS_SOFTGPU_FOREIGN_DRIVE_H

#include "tests/softgpu/foreign/cases.h"

typedef enum DriveStage {
    DRIVE_PASSED,
    DRIVE_RUNNER,  /* the case could not be read or the driver not opened: nothing was tested */
    DRIVE_LOAD,    /* cuModuleLoadData refused the text, or the entry is missing */
    DRIVE_LAUNCH,  /* the launch failed or the kernel faulted */
    DRIVE_BITS,    /* it ran and gave other bits */
    DRIVE_CRASHED, /* the process died */
    DRIVE_HUNG,    /* it did not end within DRIVE_SECONDS */
} DriveStage;

enum { DRIVE_SECONDS = 30 };

typedef struct DriveOutcome {
    DriveStage stage;
    char text[1600];
} DriveOutcome;

typedef struct DriveDevice {
    const char *library;
    const char *model; /* of the software GPU: SOFTGPU_DEVICES; NULL: `ordinal` of libcuda */
    int ordinal;
} DriveDevice;

const char *drive_stage_name(DriveStage stage);

void drive_case(const ForeignCase *c, const DriveDevice *device, DriveOutcome *out);

#endif
