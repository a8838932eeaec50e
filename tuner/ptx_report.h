/* What a run of a PTX file came to, as text or JSON. Pure: no worker, no device. */
#ifndef SEQTUNE_TUNER_PTX_REPORT_H
#define SEQTUNE_TUNER_PTX_REPORT_H

#include "tuner/profiled.h"
#include "tuner/runptx/run.h"
#include "tuner/target.h"

typedef enum PtxResult { PTX_OK, PTX_UNEXPECTED, PTX_FAULT, PTX_TIMEOUT } PtxResult;

typedef struct PtxLaunch {
    LaunchFigures figures;
    bool done;           /* false: the one that failed */
    const double *times; /* repetitions, or NULL */
    size_t time_count;
    const ProfiledLaunch *profile; /* NULL: was not profiled */
} PtxLaunch;

typedef struct PtxOutput {
    OutputFigures figures;
    const unsigned char *values; /* figures.shown elements */
} PtxOutput;

typedef struct PtxReport {
    const char *file, *description, *checks; /* `checks` NULL: the device has none */
    const Target *target;
    bool sampled;  /* --timing: results were not looked at */
    bool profiled; /* --profile */
    ProfiledLaunch *profiles;
    ProfiledLine *lines; /* --lines; of all launches */
    size_t profile_count, line_count;
    PtxLaunch *launches;
    CheckFigures *checked;
    PtxOutput *outputs;
    size_t launch_count, launches_planned, checked_count, output_count;
    const char *fault; /* why it ended early; NULL: it did not */
    Str warnings;      /* a line each */
    PtxResult result;
} PtxReport;

void ptx_report_text(const PtxReport *report, Str *out);
void ptx_report_json(const PtxReport *report, Json *out);

#endif
