/* The command line: two tables (commands.def, options.def), one parser, the help made from them.
 *
 * Invariant: an option that --help prints is parsed, and one that is parsed is printed, but for
 * `--worker` and `--worker-fault`, by which the program talks to itself and tests break it. */
#ifndef SEQTUNE_TUNER_OPTIONS_H
#define SEQTUNE_TUNER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/str.h"

typedef enum Command {
#define COMMAND(ident, name, operands, least, most, summary) CMD_##ident,
#include "tuner/commands.def"
#undef COMMAND
    CMD_COUNT,
    CMD_DB /* for options_help: the commands of databases */
} Command;

/* The kinds of options.def as C types of the fields below. */
typedef bool OptionFLAG;
typedef const char *OptionTEXT;
typedef long long OptionCOUNT; /* 0: not given */
typedef double OptionTIME;     /* seconds; 0: not given */

enum { OPTIONS_MAX_OPERANDS = 64 };

typedef struct Options {
    Command command;
    bool help; /* --help: print help on `command` (CMD_COUNT, CMD_DB: see options_help), end */
#define OPTION(field, kind, name, value, commands, text) Option##kind field;
#include "tuner/options.def"
#undef OPTION
    const char *operands[OPTIONS_MAX_OPERANDS];
    size_t operand_count;
    const char *worker_fault; /* tests: passed on to the workers (worker.h) */
} Options;

/* Exit codes, documented in docs/cli.md and in `seqtune help`. */
typedef enum ExitCode {
    EXIT_OK = 0,
    EXIT_FAILED = 1,     /* the job failed; the message says why */
    EXIT_USAGE = 2,      /* a command, option, GPU, kernel, workload or value that is not one */
    EXIT_UNSERVED = 3,   /* done, but some problem has no winner; or nothing to show */
    EXIT_NO_DEVICE = 4,  /* no driver, no NVRTC, or the GPU was lost */
    EXIT_STORAGE = 5,    /* database or disk: unwritable, locked, damaged, full */
    EXIT_FAULT = 6,      /* run-ptx: a kernel faulted or ran past its limit */
    EXIT_UNEXPECTED = 7, /* run-ptx: an expectation was not met */
    EXIT_INTERRUPTED = 130
} ExitCode;

ExitCode exit_code_of(Status status);

/* Texts point into argv. ST_INVALID names the thing, the value, the legal ones or the nearest. */
Status options_parse(int argc, char *const *argv, Options *out, Error *err);
const char *command_name(Command command);
/* `command` CMD_COUNT: the overview; CMD_DB: the commands of databases. */
void options_help(Command command, Str *out);
/* "a, b, c" or "did you mean X?" for messages: appends what fits `word`. */
void suggest(Str *out, const char *word, const char *const *names, size_t count);

#endif
