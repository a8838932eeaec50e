/* The Lua host: a sandbox that runs one script, and the helpers that read its tables.
 *
 * A script sees arithmetic, tables, bounded strings and the vocabulary; it cannot reach files, the
 * clock, other scripts' state, metatables or unbounded time and memory. Every error leaves through
 * host_run as an Error with file, line, the quoted line and a caret. */
#ifndef SEQTUNE_GENERATOR_HOST_H
#define SEQTUNE_GENERATOR_HOST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "generator/internal.h"

typedef struct Host Host;

/* Limits of one script run, where its Host names no others. */
enum {
    HOST_MEMORY = 64 << 20,
    HOST_INSTRUCTIONS = 50000000, /* VM instructions; the largest spec here needs 10^4 */
    HOST_SECONDS = 5,             /* for the few C functions that the instruction hook cannot see */
    HOST_STRING = 1 << 20,        /* longest result of string.rep and string.format */
};

/* What a constructor made: `dim "x" {...}` and so on. Its argument table is user value 1. */
typedef enum EntryKind {
    ENTRY_KERNEL,
    ENTRY_DIM,
    ENTRY_AXIS,
    ENTRY_LET,
    ENTRY_RULE,
    ENTRY_NEED,
    ENTRY_PIPE,
    ENTRY_STEP,
    ENTRY_SEED,
    ENTRY_WORKLOAD,
    ENTRY_ITEM,
    ENTRY_KINDS
} EntryKind;

typedef struct Entry {
    EntryKind kind;
    const char *name; /* NULL for kinds without one */
    TextPos pos;      /* of the caller's line */
} Entry;

struct Host {
    lua_State *L;
    Arena *arena; /* what is read from the script lives here */
    const GenTree *tree;
    const GenFile *files[32]; /* the script and what it required, for places */
    int file_count;
    size_t memory;
    bool over_memory;
    long long instructions;
    long long deadline; /* ns, monotonic */
    bool failed;        /* `error` was filled by our own code */
    Error error;
    /* What `kernel` and `workload` call with their argument table on top of the stack; NULL: the
     * word is refused in this kind of script. */
    void (*on_kernel)(Host *host, const Entry *entry, int table);
    void (*on_workload)(Host *host, const Entry *entry, int table);
    void *context;
    int calls; /* of kernel or workload */
    /* Words of this kind of script besides the vocabulary, as globals; may be NULL. */
    void (*add_words)(Host *host);
    bool float_math; /* math.exp and so on: their last bit depends on the C library */
    /* 0: the defaults above. */
    long long max_instructions;
    int max_seconds;
};

/* Runs `file`; on_* are called from inside. Everything Lua is gone when this returns. */
Status host_run(Host *host, const GenFile *file, Error *err);

/* Raise from inside a run; they do not return. `host->error` must have been filled for host_raise.
 */
_Noreturn void host_raise(Host *host);
_Noreturn void host_fail(Host *host, TextPos pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void host_no_memory(Host *host);
/* Raises when `status` is not ST_OK (host->error was passed as the Error). */
void host_try(Host *host, Status status);

/* ---- vocabulary (vocabulary.c) ---- */
void host_add_vocabulary(Host *host);
const char *host_kind_name(EntryKind kind);
Host *host_of(lua_State *L);
/* Place of the Lua code that called the running C function. */
TextPos host_caller(Host *host);
/* The entry at a stack index, or NULL; pushes nothing. */
const Entry *host_entry(Host *host, int index);
const GenLayoutDef *host_layout(Host *host, int index);

/* ---- reading tables (fields.c) ---- */

/* Copies of script strings and memory; raise instead of returning NULL. */
void *host_alloc(Host *host, size_t count, size_t size);
const char *host_copy(Host *host, const char *s);

typedef struct Field {
    const char *key;
    bool required;
} Field;
/* Raises on a key that is not listed (with a hint) and on a missing required one. `array`: integer
 * keys 1..#t are allowed too. */
void host_check_keys(Host *host, int table, TextPos pos, const char *what, const Field *fields,
                     size_t count, bool array);
/* Moves `pos` to `key =` at or after it in its text; unchanged when not found. */
TextPos host_place_key(TextPos pos, const char *key);
/* Moves `pos` to the first byte inside the quotes of a literal `text` at or after it; when there
 * is none (a computed text) the line stays and the column becomes 0. */
TextPos host_place_text(TextPos pos, const char *text);
/* Fields of a table; `what` names the owner in messages. */
const char *host_string(Host *host, int table, const char *key, TextPos pos, const char *what);
int64_t host_integer(Host *host, int table, const char *key, TextPos pos, const char *what,
                     int64_t missing);
bool host_boolean(Host *host, int table, const char *key, TextPos pos, const char *what);
/* The value on top of the stack (a string or an integer) as a formula; pops it. */
GenFormula host_formula_top(Host *host, TextPos pos, const char *what);
/* A field as a formula; .expr is NULL when absent. */
GenFormula host_formula(Host *host, int table, const char *key, TextPos pos, const char *what);
/* The field as a table pushed on the stack, or false (nothing pushed) when absent. */
bool host_table(Host *host, int table, const char *key, TextPos pos, const char *what);
/* Pushes element `i` of the array and its argument table; raises unless it is an entry of `kind`.
 */
const Entry *host_element(Host *host, int table, int i, EntryKind kind, TextPos pos,
                          const char *what);
bool gen_is_word(const char *s); /* [A-Za-z_][A-Za-z0-9_]*, at most 48 bytes */

#endif
