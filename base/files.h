/* Files: whole reads, atomic publication, directories, ownership.
 *
 * Nothing here follows the environment in a setuid program (files_env returns NULL there). */
#ifndef SEQTUNE_BASE_FILES_H
#define SEQTUNE_BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

/* Whole file, NUL-terminated, memory from `arena`; ST_LIMIT above `max` bytes. */
Status files_read(Arena *arena, const char *path, size_t max, char **text, size_t *size,
                  Error *err);

/* Writes path.tmp.PID.N beside it, fsyncs, renames: readers see the old file or the whole new one.
 * The temporary is removed on every failure (full disk: ST_IO with the path and the reason). Links
 * are followed to an existing file; a device or FIFO is written where it is, never replaced. */
Status files_publish(const char *path, const void *data, size_t size, unsigned mode, Error *err);

Status files_make_dirs(const char *path, unsigned mode, Error *err); /* mkdir -p */
bool files_exists(const char *path);

/* ST_PERMISSION unless `path` belongs to the user or root and nobody else may write it. */
Status files_check_owner(const char *path, Error *err);

/* getenv, but NULL when the program runs setuid/setgid or the variable is empty. */
const char *files_env(const char *name);

/* $SEQTUNE_CACHE_DIR, else $XDG_CACHE_HOME/seqtune, else ~/.cache/seqtune; NULL when there is
 * none. files_data_dir: $SEQTUNE_DATA_DIR, $XDG_DATA_HOME/seqtune, ~/.local/share/seqtune. */
char *files_cache_dir(Arena *arena);
char *files_data_dir(Arena *arena);

#endif
