/* What a launch description says (docs/softgpu.md, "Your own kernels"), as plain data.
 *
 * desc_load runs the Lua text in the generator's sandbox and leaves nothing of Lua behind:
 * functions of the index are evaluated to bytes. All memory is the arena's. No device here. */
#ifndef SEQTUNE_TUNER_RUNPTX_DESC_H
#define SEQTUNE_TUNER_RUNPTX_DESC_H

#include "base/arena.h"
#include "base/status.h"
#include "tuner/runptx/contents.h"

enum { DESC_MAX_BUFFERS = 256, DESC_MAX_LAUNCHES = 1024, DESC_MAX_CHECKS = 256 };

typedef enum ValueKind { VALUE_NUMBER, VALUE_POINTER, VALUE_STRUCT } ValueKind;

typedef struct Patch Patch;

/* A parameter, or a field of one. */
typedef struct Value {
    ValueKind kind;
    Element type;           /* NUMBER */
    unsigned char bytes[8]; /* NUMBER: encoded */
    size_t buffer;          /* POINTER: index into RunDesc.buffers */
    int64_t offset;         /* POINTER: bytes from the buffer's begin */
    size_t size;            /* of the value */
    const Patch *fields;    /* STRUCT: by rising offset, disjoint; the rest is 0 */
    size_t field_count;
    TextPos pos;
} Value;

struct Patch {
    size_t offset;
    Value value;
};

typedef struct Buffer {
    const char *name;
    bool is_global; /* a .global variable of the module, not an allocation */
    Element type;
    uint64_t count;
    Fill fill;
    uint64_t align, offset; /* the address is `offset` past a multiple of `align` */
    uint64_t guard;         /* bytes before and after that must stay as they were */
    const Patch *patches;   /* written over the contents: pointers in memory */
    size_t patch_count;
    TextPos pos;
} Buffer;

typedef struct Launch {
    const char *entry; /* NULL: --entry */
    uint32_t grid[3], block[3];
    uint32_t smem;
    bool cooperative;
    const Value *params;
    size_t param_count;
    TextPos pos;
} Launch;

typedef struct Expect {
    size_t buffer;
    uint64_t first, count;
    Fill want; /* element 0 is element `first` of the buffer */
    double abs, rel;
    TextPos pos;
} Expect;

typedef struct Output {
    size_t buffer;
    uint64_t from, first; /* `first` elements from element `from` are printed */
    bool stats, hash;
    const char *save; /* path, or NULL */
    TextPos pos;
} Output;

typedef struct RunDesc {
    Buffer *buffers;
    Launch *launches;
    Expect *expects;
    Output *outputs;
    size_t buffer_count, launch_count, expect_count, output_count;
} RunDesc;

/* `files`: the directory that names of files in the description are relative to; NULL: the
 * description's own. `settings`: "name=value ..." that the script sees as table `set`; may be NULL.
 * ST_SYNTAX with file, line and caret for a mistake of the description's. */
Status desc_load(Arena *arena, const char *path, const char *files, const char *settings,
                 RunDesc *out, Error *err);

#endif
