/* The instruction table: from an opcode with its modifiers to its record. */
#ifndef SEQTUNE_SOFTGPU_PTX_FORM_H
#define SEQTUNE_SOFTGPU_PTX_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum PtxGroup { PTX_LANE, PTX_TENSOR, PTX_CONTROL } PtxGroup;

typedef struct PtxForm {
    const char *pattern;
    const char *shape; /* see ops_lane.def */
    const char *pipe;  /* name of an SgPipe */
    PtxGroup group;
} PtxForm;

enum { PTX_MAX_WORDS = 24 };

typedef struct PtxWords { /* "add.sat.f32" as words; text points into the form */
    const char *text[PTX_MAX_WORDS];
    size_t length[PTX_MAX_WORDS];
    int count;
} PtxWords;

bool ptx_words(const char *form, PtxWords *out); /* false: too many */
bool ptx_words_are(const PtxWords *words, int i, const char *word);
bool ptx_words_have(const PtxWords *words, const char *word);
void ptx_words_drop(PtxWords *words, const char *word);

size_t ptx_form_count(void);
const PtxForm *ptx_form(size_t i);
int ptx_form_index(const PtxForm *form);             /* position in its group's table of handlers */
bool ptx_form_matches(const PtxForm *form, const PtxWords *words);
const PtxForm *ptx_form_find(const PtxWords *words); /* NULL: not emulated */

/* Numbers of the handlers that decoding chooses by itself, per group. */
enum {
#define OP(form, shape, pipe, handler)
#define EXTRA(handler) LANE_##handler,
#include "softgpu/ptx/ops_lane.def"
#undef EXTRA
    LANE_EXTRA_COUNT
};
enum {
#define EXTRA(handler) TENSOR_##handler,
#include "softgpu/ptx/ops_tensor.def"
#undef EXTRA
    TENSOR_EXTRA_COUNT
};
enum {
#define EXTRA(handler) CONTROL_##handler,
#include "softgpu/ptx/ops_control.def"
#undef EXTRA
#undef OP
    CONTROL_EXTRA_COUNT
};

#endif
