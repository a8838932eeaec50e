/* One text file that the build put into the program (cmake/embed.cmake). */
#ifndef SEQTUNE_BASE_EMBEDDED_H
#define SEQTUNE_BASE_EMBEDDED_H

#include <stddef.h>

typedef struct EmbeddedFile {
    const char *name; /* path relative to the source tree; NULL ends a table */
    const char *text; /* NUL-terminated */
    size_t size;      /* bytes without the NUL */
} EmbeddedFile;

#endif
