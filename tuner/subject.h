/* What explain, emit, profile and why are about: one problem of one kernel on one GPU, from --op,
 * --problem and --gpu. No driver is loaded for a model of the software GPU. */
#ifndef SEQTUNE_TUNER_SUBJECT_H
#define SEQTUNE_TUNER_SUBJECT_H

#include "tuner/command.h"

typedef struct Subject {
    GenLibrary *library;
    GenProblem problem;
    GpuInfo gpu;
} Subject;

/* Says what is wrong and returns the exit code. s->library is closed by the caller (also after a
 * failure; gen_close takes NULL). */
ExitCode subject_open(App *app, Subject *s);
/* --config, or the default configuration. */
ExitCode subject_config(App *app, const Subject *s, GenConfig *config);

#endif
