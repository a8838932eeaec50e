/* Shared by the files that turn a launch description's Lua into a RunDesc; nobody else includes
 * this. Functions named host_* raise through the sandbox and do not return on an error. */
#ifndef SEQTUNE_TUNER_RUNPTX_DESC_READ_H
#define SEQTUNE_TUNER_RUNPTX_DESC_READ_H

#include "generator/host.h"
#include "tuner/runptx/desc.h"

typedef struct DescReader {
    Host host;
    RunDesc *out;
    const char *files; /* directory of the files it names */
    const char *settings;
} DescReader;

static inline DescReader *desc_reader(lua_State *L) {
    return host_of(L)->context;
}

/* A number of the script at a stack index; false when it is none. */
bool desc_number(lua_State *L, int index, Number *out);
/* The buffer of that name, or NULL. */
const Buffer *desc_find(const DescReader *r, const char *name);
/* Its index; raises with the nearest name. */
size_t desc_buffer(DescReader *r, const char *name, TextPos pos, const char *what);
/* Full path of a file that the description names; raises when it leaves the directory. */
const char *desc_path(DescReader *r, const char *name, TextPos pos, const char *what);

/* desc_fill.c: the field `key` as contents of `*count` elements; a list or a file gives the count
 * when it is 0. FILL_NONE when absent. */
Fill desc_fill(DescReader *r, int table, const char *key, Element type, uint64_t *count,
               TextPos pos, const char *what);
int desc_word_at(lua_State *L); /* at("name", i): an element of a buffer's first contents */
int desc_word_as(lua_State *L); /* as("f16", x): rounded to a type */

/* desc_values.c */
void desc_add_values(lua_State *L); /* i8 .. f64, ptr, struct as globals */
/* Values of the array on top of the stack; pops it. */
const Value *desc_values(DescReader *r, TextPos pos, const char *what, size_t *count);
/* Fields [offset] = value of the table at `index`, within `size` bytes. */
const Patch *desc_patches(DescReader *r, int index, size_t size, TextPos pos, const char *what,
                          size_t *count);

#endif
