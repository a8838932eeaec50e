/* The commands: each takes the parsed options, prints its result on stdout and its errors on
 * stderr, and returns the exit code. */
#ifndef SEQTUNE_TUNER_COMMAND_H
#define SEQTUNE_TUNER_COMMAND_H

#include <signal.h>

#include "base/arena.h"
#include "db/db.h"
#include "generator/gen.h"
#include "tuner/options.h"

/* What every command may need; released by main. */
typedef struct App {
    const Options *options;
    Arena *arena;
    volatile sig_atomic_t *interrupted;
} App;

#define COMMAND(ident, name, operands, least, most, summary) ExitCode command_##ident(App *app);
#include "tuner/commands.def"
#undef COMMAND

extern const char tool_name[]; /* "seqtune 0.1.0", recorded with every row */

/* "seqtune: message" on stderr; returns `code`. */
ExitCode fail(ExitCode code, const Error *err);
ExitCode fail_status(const Error *err); /* by exit_code_of(err->status) */
/* Writes to stdout; EXIT_STORAGE when that fails (a full disk). */
ExitCode print_text(const Str *text);

/* The library of --source or the built-in one. Closed by the caller. */
ExitCode app_library(App *app, GenLibrary **out);
/* Specs named by --op; all of them without it. */
ExitCode app_specs(App *app, const GenLibrary *lib, const GenSpec **out, size_t max, size_t *count);
/* --db, else the user's own; its directory is made when `create`. NULL: said why. */
const char *app_db_path(App *app, bool create);
ExitCode app_open_db(App *app, const char *path, DbOpen mode, Db **out);

#endif
