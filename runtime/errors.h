/* Last errors: one text per context and thread, kept in the thread's own storage.
 *
 * No state is shared between threads; a thread keeps the texts of the ERROR_SLOTS contexts that
 * failed last in it. ERRORS_OPEN stands for failures that have no context. */
#ifndef SEQTUNE_RUNTIME_ERRORS_H
#define SEQTUNE_RUNTIME_ERRORS_H

#include <stdint.h>

#include "base/status.h"

enum { ERROR_SLOTS = 16 };
enum { ERRORS_OPEN = 0 }; /* the serial of failures without a context */

uint64_t errors_new_serial(void); /* never 0, never twice in a process */
/* Keeps the text for this thread; a copy is made. */
void errors_set(uint64_t serial, const Error *error);
/* "" when this thread has none. Valid until this thread's next failure. */
const char *errors_get(uint64_t serial);
void errors_forget(uint64_t serial); /* this thread's, when a context closes */

#endif
