/* Amounts as people write and read them: tokens with a unit, bytes in the largest unit that fits.
 */
#ifndef SEQTUNE_TUNER_AMOUNTS_H
#define SEQTUNE_TUNER_AMOUNTS_H

#include <stdint.h>

#include "base/status.h"

/* "4096", "32k", "1m", "1g" with units of 1024 (lengths) or 1000 (sizes of data): 1..most. The
 * message names `option`. */
Status amount_tokens(const char *option, const char *text, int64_t unit, int64_t most, int64_t *out,
                     Error *err);

enum { AMOUNT_TEXT = 32 };

/* "512 KiB", "15.75 MiB"; returns `out`. */
const char *amount_bytes(double bytes, char out[AMOUNT_TEXT]);
/* "8.39 M", "120": decimal, for counts of operations; returns `out`. */
const char *amount_count(double count, char out[AMOUNT_TEXT]);

#endif
