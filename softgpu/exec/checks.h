/* Which content checks a module runs with: SOFTGPU_CHECKS, read when the module is loaded.
 *
 * Bounds, alignment, use after free and stores to parameters are no choice: they protect the host.
 * What is chosen here finds mistakes that stay inside a kernel's own memory. */
#ifndef SEQTUNE_SOFTGPU_EXEC_CHECKS_H
#define SEQTUNE_SOFTGPU_EXEC_CHECKS_H

#include "base/status.h"

typedef enum SgChecks {
    SG_CHECK_NONE = 0,
    SG_CHECK_INIT = 1,     /* reads of bytes that nothing wrote */
    SG_CHECK_RACE = 2,     /* data races in shared and global memory */
    SG_CHECK_ASYNC = 4,    /* cp.async destinations used before their wait */
    SG_CHECK_SYNC = 8,     /* divergent or mismatched barriers, misuse of .aligned and .sync */
    SG_CHECK_ADDRESS = 16, /* 32-bit address arithmetic that overflows: a warning */
    SG_CHECK_ALL = 31,
    /* Those that look at loads and stores: they need the checked handlers. */
    SG_CHECK_ACCESS = SG_CHECK_INIT | SG_CHECK_RACE | SG_CHECK_ASYNC,
} SgChecks;

/* "init,race", "all", "none"; NULL and "" are none. ST_INVALID names the word that is not known and
 * lists those that are. */
Status sg_checks_parse(const char *text, SgChecks *checks, Error *err);

/* sg_checks_parse of the environment's SOFTGPU_CHECKS. */
Status sg_checks_from_environment(SgChecks *checks, Error *err);

#endif
