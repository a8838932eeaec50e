/* Fuzz target: any text as a launch description of `seqtune run-ptx`. What loads is looked through:
 * names, places and sizes must be what later steps rely on. Nothing may crash, leak or hang. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tuner/runptx/desc.h"

static void check(int holds) {
    if (!holds) abort();
}

static void check_value(const RunDesc *d, const Value *v) {
    if (v->kind == VALUE_POINTER) check(v->buffer < d->buffer_count);
    size_t end = 0;
    for (size_t i = 0; v->kind == VALUE_STRUCT && i < v->field_count; i++) {
        check(v->fields[i].offset >= end);
        end = v->fields[i].offset + v->fields[i].value.size;
        check(end <= v->size);
        check_value(d, &v->fields[i].value);
    }
}

static void look_through(const RunDesc *d) {
    check(d->buffer_count <= DESC_MAX_BUFFERS && d->launch_count <= DESC_MAX_LAUNCHES);
    check(d->launch_count > 0);
    for (size_t i = 0; i < d->buffer_count; i++) {
        check(d->buffers[i].name && strlen(d->buffers[i].name) > 0);
        for (size_t k = 0; k < d->buffers[i].patch_count; k++)
            check_value(d, &d->buffers[i].patches[k].value);
    }
    for (size_t i = 0; i < d->launch_count; i++)
        for (size_t k = 0; k < d->launches[i].param_count; k++)
            check_value(d, &d->launches[i].params[k]);
    for (size_t i = 0; i < d->expect_count; i++) {
        const Expect *const e = &d->expects[i];
        check(e->buffer < d->buffer_count && e->first <= d->buffers[e->buffer].count &&
              e->count <= d->buffers[e->buffer].count - e->first);
    }
    for (size_t i = 0; i < d->output_count; i++) check(d->outputs[i].buffer < d->buffer_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char path[] = "/tmp/fuzz-desc-XXXXXX";
    static int made;
    if (!made) {
        const int fd = mkstemp(path);
        if (fd < 0) return 0;
        close(fd);
        made = 1;
    }
    FILE *const f = fopen(path, "wb");
    Arena *const arena = arena_new();
    if (f && arena) {
        RunDesc desc;
        Error err = {.status = ST_OK, .message = ""};
        fwrite(data, 1, size, f);
        fclose(f);
        if (desc_load(arena, path, NULL, "n=7 d=64", &desc, &err) == ST_OK)
            look_through(&desc);
        else
            check(err.message[0] != '\0');
    }
    arena_free(arena);
    return 0;
}
