/* The text of ptxas -v, and its summary as comment lines at the end of a PTX text.
 *
 *   ptxas info    : Compiling entry function 'NAME' for 'sm_80'
 *   ptxas info    : Function properties for NAME
 *   ptxas         .     800 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
 *   ptxas info    : Used 32 registers, used 1 barriers, 1024 bytes smem, 360 bytes cmem[0]
 *
 * Older ones write the properties line without the dot and without "used N barriers". Properties
 * of device functions that were not inlined come after their own "Function properties" line and
 * belong to no entry. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/build.h"

/* The line at p without its end, in buf; returns the start of the next line or NULL at the end. */
static const char *next_line(const char *p, char *buf, size_t size) {
    size_t n = strcspn(p, "\n");
    snprintf(buf, size, "%.*s", (int)(n < size ? n : size - 1), p);
    return p[n] == '\0' ? NULL : p + n + 1;
}

/* The integer that stands before `unit` ("1024 bytes smem"), or -1. */
static int number_before(const char *line, const char *unit) {
    const char *at = strstr(line, unit);
    if (at == NULL) return -1;
    while (at > line && at[-1] == ' ') at--;
    const char *end = at;
    while (at > line && at[-1] >= '0' && at[-1] <= '9') at--;
    return at == end ? -1 : atoi(at);
}

/* Copies the text between the two marks; false when it is not there or too long. */
static bool between(const char *line, const char *left, const char *right, char *out, size_t size) {
    const char *from = strstr(line, left);
    if (from == NULL) return false;
    from += strlen(left);
    const char *to = strstr(from, right);
    if (to == NULL || (size_t)(to - from) >= size) return false;
    memcpy(out, from, (size_t)(to - from));
    out[to - from] = '\0';
    return true;
}

typedef struct Reader {
    ArtifactEntry *entry; /* the entry being read, or NULL */
    bool properties;      /* the next line belongs to the entry itself */
} Reader;

static Status read_line(Reader *reader, const char *line, Error *err) {
    const char *properties = strstr(line, "Function properties for ");
    if (properties != NULL) {
        const char *name = properties + strlen("Function properties for ");
        reader->properties = reader->entry != NULL && strcmp(name, reader->entry->name) == 0;
    } else if (strstr(line, " bytes stack frame") != NULL && reader->properties) {
        reader->entry->stack = number_before(line, " bytes stack frame");
        reader->entry->spill_stores = number_before(line, " bytes spill stores");
        reader->entry->spill_loads = number_before(line, " bytes spill loads");
        reader->properties = false;
        if (reader->entry->stack < 0 || reader->entry->spill_stores < 0 ||
            reader->entry->spill_loads < 0)
            return err_set(err, ST_CORRUPT, "cannot read ptxas's line \"%s\"", line);
    } else if (strstr(line, ": Used ") != NULL && reader->entry != NULL) {
        int smem = number_before(line, " bytes smem");
        reader->entry->registers = number_before(line, " registers");
        reader->entry->smem = smem < 0 ? 0 : smem;
        if (reader->entry->registers < 0)
            return err_set(err, ST_CORRUPT, "cannot read ptxas's line \"%s\"", line);
        reader->entry = NULL;
    }
    return ST_OK;
}

Status build_parse_ptxas(const char *log, ArtifactEntry *out, size_t max, size_t *count,
                         Error *err) {
    char line[1024], name[sizeof out->name];
    Reader reader = {0};
    Status st = ST_OK;
    *count = 0;
    for (const char *p = log; p != NULL && st == ST_OK;) {
        p = next_line(p, line, sizeof line);
        if (strstr(line, "Compiling entry function '") == NULL) {
            st = read_line(&reader, line, err);
            continue;
        }
        if (!between(line, "function '", "' for", name, sizeof name))
            return err_set(err, ST_CORRUPT, "cannot read ptxas's line \"%s\"", line);
        if (*count == max)
            return err_set(err, ST_LIMIT, "ptxas reports more than %zu entries in one text", max);
        reader.entry = &out[(*count)++];
        *reader.entry = (ArtifactEntry){.registers = -1};
        snprintf(reader.entry->name, sizeof reader.entry->name, "%s", name);
    }
    for (size_t i = 0; i < *count && st == ST_OK; i++)
        if (out[i].registers < 0)
            st = err_set(err, ST_CORRUPT, "ptxas gave no register count for entry %s", out[i].name);
    return st;
}

void build_put_comment(Str *ptx, const ArtifactEntry *e) {
    str_printf(ptx,
               "// seqtune-ptxas: entry=%s registers=%d stack=%d spill_stores=%d spill_loads=%d "
               "smem=%d\n",
               e->name, e->registers, e->stack, e->spill_stores, e->spill_loads, e->smem);
}

Status build_parse_comments(const char *ptx, ArtifactEntry *out, size_t max, size_t *count,
                            Error *err) {
    static const char mark[] = "// seqtune-ptxas: ";
    char line[1024];
    *count = 0;
    for (const char *p = strstr(ptx, mark); p != NULL; p = strstr(p, mark)) {
        const char *next = next_line(p, line, sizeof line);
        if (*count == max)
            return err_set(err, ST_LIMIT, "the PTX carries ptxas figures of more than %zu entries",
                           max);
        ArtifactEntry *e = &out[*count];
        *e = (ArtifactEntry){0};
        int n =
            sscanf(line,
                   "// seqtune-ptxas: entry=%511s registers=%d stack=%d spill_stores=%d "
                   "spill_loads=%d smem=%d",
                   e->name, &e->registers, &e->stack, &e->spill_stores, &e->spill_loads, &e->smem);
        if (n != 6) return err_set(err, ST_CORRUPT, "cannot read the PTX comment \"%s\"", line);
        (*count)++;
        if (next == NULL) break;
        p = next;
    }
    return ST_OK;
}

int artifact_registers(const Artifact *artifact) {
    int most = 0;
    for (size_t i = 0; i < artifact->entry_count; i++)
        if (artifact->entries[i].registers > most) most = artifact->entries[i].registers;
    return most;
}

int artifact_spill_bytes(const Artifact *artifact) {
    int most = 0;
    for (size_t i = 0; i < artifact->entry_count; i++) {
        const ArtifactEntry *e = &artifact->entries[i];
        if (e->spill_stores + e->spill_loads > most) most = e->spill_stores + e->spill_loads;
    }
    return most;
}

int artifact_smem(const Artifact *artifact) {
    int most = 0;
    for (size_t i = 0; i < artifact->entry_count; i++)
        if (artifact->entries[i].smem > most) most = artifact->entries[i].smem;
    return most;
}
