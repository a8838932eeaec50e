/* Fuzz target: any bytes as a PTX module that is parsed and decoded, without and with every check,
 * and not executed: many more texts per second than fuzz_ptx. The text goes through run-ptx's
 * reader of entry heads too.
 *
 * Checked besides memory and undefined behaviour: a failure has a message and leaves no module,
 * checks refuse no text, figures of a kernel are in range. */
#include "softgpu/exec/exec.h"
#include "softgpu/exec/module.h"
#include "tests/fuzz/mutate_ptx.h"
#include "tuner/runptx/entries.h"

static Status load(const char *text, size_t size, const GpuModel *model, const char *checks) {
    SgModule *module = NULL;
    Error err = {.status = ST_OK, .message = ""};
    setenv("SOFTGPU_CHECKS", checks, 1);
    const Status st = sg_module_load(text, size, model->arch, DRIVER, 0, &module, &err);
    check(st == ST_OK ? module != NULL : module == NULL && err.message[0]);
    check(st == ST_OK || st == err.status);
    for (int i = 0; st == ST_OK && i < module->kernel_count; i++) {
        const SgKernelInfo *const info = sg_kernel_info(&module->kernels[i]);
        check(info->static_smem >= 0 && info->local_bytes >= 0 && info->param_bytes >= 0);
        check(sg_module_kernel(module, info->name) != NULL);
    }
    sg_module_free(module);
    return st;
}

static void read_heads(const uint8_t *data, size_t size) {
    Arena *const arena = arena_new();
    char *const text = malloc(size + 1);
    PtxEntries entries;
    Error err = {.status = ST_OK, .message = ""};
    if (arena && text) {
        memcpy(text, data, size);
        text[size] = '\0';
        const Status st = entries_read(arena, "t.ptx", text, &entries, &err);
        check(st == ST_OK || err.message[0]);
        for (size_t i = 0; st == ST_OK && i < entries.count; i++)
            check(entries.items[i].name && entries.items[i].line > 0);
    }
    free(text);
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > MAX_TEXT) return 0;
    const GpuModel *const model = model_for(data, size);
    char *const text = malloc(size ? size : 1); /* exact size: reading past the end is caught */
    if (text) {
        memcpy(text, data, size);
        const Status st = load(text, size, model, "none");
        if (st == ST_OK) check(load(text, size, model, "all") == ST_OK);
    }
    free(text);
    read_heads(data, size);
    return 0;
}
