/* run-ptx between two processes: what the command asks and how a worker answers.
 *
 *   ptx   PtxJob                        -> {launches, checks, outputs}
 *   step  {what=launch, index}          -> {figures: LaunchFigures, warnings}; also on a failure
 *   step  {what=check, index}           -> {figures: CheckFigures}, nothing without guards
 *   step  {what=output, index}          -> {figures: OutputFigures, values}
 *   step  {what=times, index, count}    -> {times}
 *
 * Figures are the structs of runptx/run.h as bytes: both ends are one program. */
#ifndef SEQTUNE_TUNER_PTX_REQUESTS_H
#define SEQTUNE_TUNER_PTX_REQUESTS_H

#include "tuner/message.h"
#include "tuner/runptx/run.h"

enum { PTX_TIMES_MAX = 256 };

/* The request `ptx`; paths are the command's own. */
void ptx_put_options(const RunOptions *options, Message *request);

/* In the worker. */
Status ptx_serve_open(PtxRun **run, const char *driver, int device, const Message *request,
                      Message *reply, Error *err);
Status ptx_serve_step(PtxRun *run, const Message *request, Message *reply, Error *err);

#endif
