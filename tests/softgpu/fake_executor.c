/* An executor for the driver's tests: kernels are one line of text each and do one thing, so that
 * the driver is tested without PTX. A "module" is
 *
 *   .version 8.0
 *   .entry NAME registers=N smem=N max_threads=N params=8,4 act=ACT value=N
 *
 * ACT: none; store (params: address, 4-byte value; faults when the address is bad); fault (value:
 * CUresult); sleep (value: milliseconds); work (value: mma.sync FLOP of each block). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "softgpu/exec/exec.h"
#include "softgpu/memory.h"

enum { KERNELS = 16, PARAMS = 4 };

struct SgKernel {
    SgKernelInfo info;
    char name[32], act[16];
    uint32_t offset[PARAMS], size[PARAMS];
    int value;
};

struct SgModule {
    struct SgKernel kernel[KERNELS];
    size_t count;
    uint64_t global;
};

static int number(const char *line, const char *key, int otherwise) {
    const char *at = strstr(line, key);
    return at == NULL ? otherwise : atoi(at + strlen(key));
}

static void params_read(struct SgKernel *k, const char *line) {
    const char *at = strstr(line, "params=");
    uint32_t end = 0;
    if (at != NULL) at += strlen("params=");
    while (at != NULL && *at >= '0' && *at <= '9' && k->info.param_count < PARAMS) {
        const uint32_t size = (uint32_t)strtoul(at, (char **)&at, 10);
        end = (end + size - 1) / size * size;
        k->offset[k->info.param_count] = end;
        k->size[k->info.param_count++] = size;
        end += size;
        if (*at == ',') at++;
    }
    k->info.param_bytes = (int)end;
}

static void kernel_read(struct SgKernel *k, const char *line) {
    const char *act = strstr(line, "act=");
    sscanf(line, ".entry %31s", k->name);
    if (act != NULL) sscanf(act, "act=%15s", k->act);
    k->value = number(line, "value=", 0);
    k->info.name = k->name;
    k->info.static_smem = number(line, "smem=", 0);
    k->info.max_threads = number(line, "max_threads=", 1024);
    k->info.ptxas = (SgPtxas){.known = true, .registers = number(line, "registers=", 32)};
    k->info.param_offset = k->offset;
    k->info.param_size = k->size;
    params_read(k, line);
}

Status sg_module_load(const char *text, size_t size, const GpuArch *arch, int driver_version,
                      int device, SgModule **out, Error *err) {
    (void)size;
    (void)arch;
    (void)driver_version;
    (void)device;
    if (strstr(text, "syntax error") != NULL)
        return err_set(err, ST_SYNTAX, "line 3: syntax error");
    SgModule *module = mem_alloc(sizeof *module);
    if (module == NULL) return err_no_memory(err, sizeof *module);
    for (const char *at = strstr(text, ".entry"); at != NULL && module->count < KERNELS;
         at = strstr(at + 1, ".entry")) {
        char line[256];
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
        kernel_read(&module->kernel[module->count++], line);
    }
    *out = module;
    return sg_mem_alloc(0, module, 16, UINT64_C(1) << 40, &module->global, err);
}

void sg_module_free(SgModule *module) {
    sg_mem_free_owner(module);
    mem_free(module);
}

const SgKernel *sg_module_kernel(const SgModule *module, const char *name) {
    for (size_t i = 0; i < module->count; i++)
        if (strcmp(module->kernel[i].name, name) == 0) return &module->kernel[i];
    return NULL;
}

size_t sg_module_kernel_count(const SgModule *module) {
    return module->count;
}

const SgKernel *sg_module_kernel_at(const SgModule *module, size_t i) {
    return &module->kernel[i];
}

const SgKernelInfo *sg_kernel_info(const SgKernel *kernel) {
    return &kernel->info;
}

const struct PtxFunc *sg_kernel_func(const SgKernel *kernel) {
    (void)kernel;
    return NULL;
}

bool sg_module_global(const SgModule *module, const char *name, uint64_t *address, uint64_t *size) {
    if (strcmp(name, "variable") != 0) return false;
    *address = module->global;
    *size = 16;
    return true;
}

static void store(SgLaunch *launch) {
    struct {
        uint64_t address;
        uint32_t value;
    } p;
    memcpy(&p, launch->params, 12);
    if (sg_mem_ok(p.address, 4)) {
        memcpy((void *)(uintptr_t)p.address, &p.value, 4);
        return;
    }
    launch->fault.faulted = true;
    launch->fault.cuda_result = 700;
    sg_mem_describe(p.address, 4, launch->fault.text, sizeof launch->fault.text);
}

bool sg_kernel_polls(const SgKernel *kernel, size_t i) {
    (void)kernel;
    (void)i;
    return false;
}

Status sg_execute(SgLaunch *launch, Arena *arena, Error *err) {
    const struct SgKernel *k = launch->kernel;
    (void)arena;
    if (strcmp(k->act, "break") == 0) return err_set(err, ST_INTERNAL, "the executor broke");
    if (strcmp(k->act, "store") == 0) store(launch);
    if (strcmp(k->act, "sleep") == 0) usleep((unsigned int)k->value * 1000);
    if (strcmp(k->act, "fault") == 0) {
        launch->fault.faulted = true;
        launch->fault.cuda_result = k->value;
        snprintf(launch->fault.text, sizeof launch->fault.text, "%s: asked to fault", k->name);
    }
    SgCounters *c = &launch->counters;
    c->blocks = c->blocks_run = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    if (strcmp(k->act, "work") == 0) c->mma_flops = c->blocks * (uint64_t)k->value;
    c->warp_instructions = c->blocks;
    return ST_OK;
}
