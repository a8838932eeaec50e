/* What the device counted of launches: read through the software GPU's side door, aggregated per
 * source line, printed as text or JSON. The same for variants and for kernels of others.
 *
 * Invariant: everything printed that is not a count says that it is modelled; times with the model
 * and its factor. Without a side door (a real GPU) there is nothing to read. */
#ifndef SEQTUNE_TUNER_PROFILED_H
#define SEQTUNE_TUNER_PROFILED_H

#include "base/arena.h"
#include "tuner/json.h"
#include "tuner/target.h"

typedef struct ProfiledLaunch {
    char entry[512];
    DeviceLaunchStats stats;
    DeviceCounter *counters;
    DeviceLine *rows;
    size_t counter_count, row_count;
} ProfiledLaunch;

/* A line of the source text: what its PTX instructions did in all launches together. */
typedef struct ProfiledLine {
    const char *place, *text;
    const char
        *caller; /* where it was inlined, and `text` is of there; "": nowhere, or not asked */
    double warps, lanes, wavefronts, conflicts, sectors;
    double share; /* modelled; 1 over all lines of all launches */
} ProfiledLine;

/* Where the text of a line stands. */
typedef struct LineSource {
    const char *ptx; /* what instructions without a place are called by; NULL: nothing */
    bool inlined;    /* tell lines apart by where they were inlined */
    /* The text at "FILE:LINE", "" when it cannot be found. */
    const char *(*text)(struct LineSource *source, const char *place, Arena *arena);
    const void *context;
    char file[160]; /* the file read last, and its text */
    const char *read;
} LineSource;

/* A LineSource.text that reads files by their own names. */
const char *profiled_file_line(LineSource *source, const char *place, Arena *arena);

/* Whether the driver can be asked at all. */
bool profiled_can(const Driver *driver);
/* The launches of the current context since SetProfile(1), oldest first, from `arena`. */
Status profiled_read(const Driver *driver, Arena *arena, ProfiledLaunch **out, size_t *count,
                     Error *err);
/* By share, the largest first. */
Status profiled_lines(const ProfiledLaunch *launches, size_t count, LineSource *source,
                      Arena *arena, ProfiledLine **lines, size_t *line_count, Error *err);

/* "12.3 us modelled (a100, factor 1.19); 11.9 us to 12.8 us over the model's runs; by the busiest
 * unit 10 us, by all units 11 us; bound by tensor". */
void profiled_time_text(const Target *target, const DeviceLaunchStats *stats, Str *out);
/* The fields of one object "time". */
void profiled_time_json(const DeviceLaunchStats *stats, Json *out);
/* Two lines: how busy the units are, what the cycles go to. */
void profiled_units_text(const ProfiledLaunch *launch, Str *out);
/* One column per launch, then the total of what adds up. */
void profiled_counters_text(const Target *target, const ProfiledLaunch *launches, size_t count,
                            Str *out);
void profiled_counters_json(const ProfiledLaunch *launch, const char *key, Json *out);
/* "total": sums of the counters that add up. */
void profiled_total_json(const ProfiledLaunch *launches, size_t count, Json *out);
void profiled_lines_text(const ProfiledLine *lines, size_t count, Str *out);
void profiled_lines_json(const ProfiledLine *lines, size_t count, Json *out);

#endif
