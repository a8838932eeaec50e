/* The far side of process.h: what a worker process does with its requests.
 *
 *   compile   {source, name, arch, options.., entries..}  -> {figures, hashes}; artifact cached
 *   open      {}                                          -> {device}; first request of `run`
 *   verify    {op, problem, config}                       -> {ratio, error}
 *   time      {op, problem, config, limit}                -> {times}
 *   final     {op, problem, config0, config1, ...}        -> {times0, times1, ...}
 *   ptx       {file, description, ...}                    -> {launches, checks, outputs}
 *   step      {what: launch|check|output|times, index}    -> {figures, ...} (ptx_requests.h)
 *
 * Every reply carries `status` (a Status) and, when not ST_OK, `message`. */
#ifndef SEQTUNE_TUNER_WORKER_H
#define SEQTUNE_TUNER_WORKER_H

/* Runs `seqtune --worker compile|run|ptx ...` until its pipe ends; the exit code.
 *   --driver NAME --device N --driver-version V --cache DIR
 *   --fault REQUEST:crash|exit|hang|garbage|sticky[:N]   tests: the N-th such request goes wrong */
int worker_main(int argc, char *const *argv);

#endif
