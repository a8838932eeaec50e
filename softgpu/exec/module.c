/* Modules: parse, give global variables their memory, decode every entry. */
#include "softgpu/exec/module.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/mem.h"
#include "softgpu/written.h"

/* Of a block, on every architecture since sm_30 (CUDA guide, technical specifications). */
enum { MAX_THREADS = 1024, MAX_REGISTERS = 65536 };

uint64_t sg_global_address(const SgModule *module, const PtxVar *var) {
    return var->index >= 0 && var->index < module->global_count
               ? module->globals[var->index].address
               : 0;
}

uint64_t sg_function_address(const SgModule *module, const char *name) {
    const PtxFunc *const f = ptx_func(module->ptx, name);
    for (int i = 0; f && i < module->ptx->func_count; i++)
        if (module->ptx->funcs[i] == f) return WINDOW_CODE + 16 * ((uint64_t)i + 1);
    return 0;
}

/* "sm_80", "sm_90a", "compute_80": number and suffix. */
static int target_number(const char *name, char *suffix) {
    const char *p = strpbrk(name, "0123456789");
    char *end = NULL;
    const long n = p ? strtol(p, &end, 10) : 0;
    *suffix = end && *end ? *end : '\0';
    return n > 0 && n < 10000 ? (int)n : 0;
}

static Status check_target(SgModule *m, int driver_version, Error *err) {
    /* PTX ISA 9.0 came with CUDA 13.0, 8.x with 12.x: x.y of CUDA takes up to (x - 4).y, 12.0 8.0.
     */
    const int newest = (driver_version / 1000 - 4) * 10 + driver_version % 1000 / 10;
    if (m->ptx->version > newest)
        return err_set(err, ST_UNSUPPORTED,
                       "PTX version %d.%d is newer than driver %d.%d takes (%d.%d)",
                       m->ptx->version / 10, m->ptx->version % 10, driver_version / 1000,
                       driver_version % 1000 / 10, newest / 10, newest % 10);
    char want = 0, have = 0;
    const int target = target_number(m->ptx->target, &want),
              cc = target_number(m->arch->name, &have);
    m->target = target;
    m->target_suffix = want;
    /* sm_90a code runs on sm_90a only; sm_100f on its family (same major number). */
    const bool ok = want == 'a'   ? target == cc && have == 'a'
                    : want == 'f' ? target / 10 == cc / 10 && target <= cc
                                  : target > 0 && target <= cc;
    if (!ok)
        return err_set(err, ST_UNSUPPORTED, "PTX for %s does not run on %s", m->ptx->target,
                       m->arch->name);
    return ST_OK;
}

static Status place_global(SgModule *m, const PtxVar *var, SgGlobal *out, Error *err) {
    out->name = var->name;
    out->size = var->size;
    if (var->space != PTX_GLOBAL && var->space != PTX_CONST) return ST_OK;
    if (var->external)
        return err_set(err, ST_UNSUPPORTED, "variable '%s' is defined in another module",
                       var->name);
    const Status st =
        sg_mem_alloc(m->device, m, var->size ? var->size : 1, UINT64_MAX, &out->address, err);
    if (st == ST_OK && var->init)
        memcpy((void *)(uintptr_t)out->address, var->init, (size_t)var->size);
    /* Variables without an initialiser are zero (PTX ISA 5.4.4). */
    if (st == ST_OK) sg_written_mark(out->address, var->size);
    return st;
}

static Status place_globals(SgModule *m, Error *err) {
    m->global_count = m->ptx->var_count;
    m->globals = ARENA_ARRAY(m->arena, SgGlobal, (size_t)m->global_count + 1);
    if (!m->globals) return err_no_memory(err, sizeof *m->globals);
    for (int i = 0; i < m->global_count; i++) {
        const Status st = place_global(m, m->ptx->vars[i], &m->globals[i], err);
        if (st != ST_OK) return st;
    }
    for (int i = 0; i < m->global_count; i++) {
        const PtxVar *const var = m->ptx->vars[i];
        for (size_t k = 0; k < var->reloc_count && m->globals[i].address; k++) {
            const PtxReloc *const reloc = &var->relocs[k];
            const uint64_t v = (reloc->target ? sg_global_address(m, reloc->target)
                                              : sg_function_address(m, reloc->func)) +
                               (uint64_t)reloc->addend;
            memcpy((void *)(uintptr_t)(m->globals[i].address + reloc->offset), &v, 8);
        }
    }
    return ST_OK;
}

static Status layout_params(SgModule *m, const PtxFunc *f, SgKernel *k, Error *err) {
    const size_t n = (size_t)f->param_count;
    uint32_t *const offset = ARENA_ARRAY(m->arena, uint32_t, n + 1);
    uint32_t *const size = ARENA_ARRAY(m->arena, uint32_t, n + 1);
    if (!offset || !size) return err_no_memory(err, n);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        PtxVar *const var = f->params[i];
        at = (at + var->align - 1) & ~(uint64_t)(var->align - 1);
        var->offset = at;
        offset[i] = (uint32_t)at;
        size[i] = (uint32_t)var->size;
        at += var->size;
        if (at > 32764) /* PTX ISA 8.1: kernel parameters up to 32764 bytes */
            return err_set(err, ST_LIMIT, "%s: more than 32764 bytes of parameters", f->name);
    }
    k->info.param_count = n;
    k->info.param_offset = offset;
    k->info.param_size = size;
    k->info.param_bytes = (int)at;
    return ST_OK;
}

/* "// seqtune-ptxas: entry=NAME registers=N ..." at the end of the text. */
static void read_ptxas(const char *text, size_t size, const char *name, SgPtxas *out) {
    static const char mark[] = "// seqtune-ptxas: entry=";
    const size_t n = strlen(name);
    for (const char *p = text, *end = text + size; p < end;) {
        const char *const eol = memchr(p, '\n', (size_t)(end - p));
        const size_t length = (size_t)((eol ? eol : end) - p);
        char line[1024];
        if (length > sizeof mark + n && length < sizeof line &&
            memcmp(p, mark, sizeof mark - 1) == 0 && memcmp(p + sizeof mark - 1, name, n) == 0 &&
            p[sizeof mark - 1 + n] == ' ') {
            memcpy(line, p, length);
            line[length] = '\0';
            SgPtxas v = {.known = true};
            if (sscanf(line + sizeof mark - 1 + n,
                       " registers=%d stack=%d spill_stores=%d spill_loads=%d smem=%d",
                       &v.registers, &v.stack, &v.spill_stores, &v.spill_loads, &v.smem) == 5)
                *out = v;
        }
        if (!eol) break;
        p = eol + 1;
    }
}

/* Without ptxas figures: rows live at once, in 32-bit registers, plus what addressing needs. The
 * median excess of ptxas over PTX liveness was 33 registers; 255 is the architecture's limit. */
static int estimate_registers(const SgKernel *k) {
    const size_t rows = k->constant_row / (4 * LANES) + 33;
    return rows > 255 ? 255 : (int)rows;
}

/* Launch bounds that no launch could meet, and registers beyond what the text allows. */
static Status check_bounds(const PtxFunc *f, const SgPtxas *ptxas, Error *err) {
    const int *const r = f->reqntid;
    const int64_t threads = (int64_t)r[0] * r[1] * r[2];
    if (threads > MAX_THREADS)
        return err_set(err, ST_LIMIT, "%s: .reqntid asks for %lld threads; a block has at most %d",
                       f->name, (long long)threads, MAX_THREADS);
    if (f->max_registers && ptxas->known && ptxas->registers > f->max_registers)
        return err_set(
            err, ST_LIMIT,
            "%s: ptxas gave it %d registers, but .maxnreg allows %d: these figures are of "
            "another text",
            f->name, ptxas->registers, f->max_registers);
    const int registers = ptxas->known ? ptxas->registers : 0;
    if (threads * registers > MAX_REGISTERS)
        return err_set(err, ST_LIMIT,
                       "%s: %d registers for each of the %lld threads of .reqntid; a block has %d "
                       "registers: compile with .maxnreg %lld",
                       f->name, registers, (long long)threads, MAX_REGISTERS,
                       (long long)(MAX_REGISTERS / threads));
    return ST_OK;
}

static Status load_entry(SgModule *m, const PtxFunc *f, const char *text, size_t size, SgKernel *k,
                         Error *err) {
    k->module = m;
    k->func = f;
    k->info.name = f->name;
    k->shared_base = m->arch->cc >= 80 ? 1024 : 0; /* the driver's reserve lies below */
    const int *const limit = f->reqntid[0] ? f->reqntid : f->maxntid;
    const int64_t threads = limit[0] ? (int64_t)limit[0] * limit[1] * limit[2] : 1024;
    k->info.max_threads = threads > 1024 ? 1024 : (int)threads;
    k->info.min_blocks = f->min_blocks;
    Status st = layout_params(m, f, k, err);
    if (st == ST_OK) st = sg_decode(m, f, k, err);
    read_ptxas(text, size, f->name, &k->info.ptxas);
    if (st == ST_OK) st = check_bounds(f, &k->info.ptxas, err);
    if (k->info.ptxas.known) return st;
    k->info.ptxas.registers = estimate_registers(k);
    if (f->max_registers && k->info.ptxas.registers > f->max_registers)
        k->info.ptxas.registers = f->max_registers; /* ptxas would spill the rest */
    return st;
}

static Status load_entries(SgModule *m, const char *text, size_t size, Error *err) {
    int n = 0;
    for (int i = 0; i < m->ptx->func_count; i++) n += m->ptx->funcs[i]->entry;
    m->kernels = ARENA_ARRAY(m->arena, SgKernel, (size_t)n + 1);
    if (!m->kernels) return err_no_memory(err, (unsigned long long)(unsigned)n);
    for (int i = 0; i < m->ptx->func_count; i++) {
        const PtxFunc *const f = m->ptx->funcs[i];
        if (!f->entry || !f->body) continue;
        const Status st = load_entry(m, f, text, size, &m->kernels[m->kernel_count++], err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* A variable of two words: true for `yes`, false for `no` or where it is not set. */
static Status word_from_environment(const char *name, const char *yes, const char *no, bool *out,
                                    Error *err) {
    const char *const word = files_env(name);
    *out = word && strcmp(word, yes) == 0;
    if (*out || !word || strcmp(word, no) == 0) return ST_OK;
    return err_set(err, ST_INVALID, "%s is '%.40s'; it is %s or %s", name, word, yes, no);
}

Status sg_module_load(const char *text, size_t size, const GpuArch *arch, int driver_version,
                      int device, SgModule **out, Error *err) {
    Arena *const arena = arena_new();
    SgModule *const m = arena ? ARENA_NEW(arena, SgModule) : NULL;
    *out = NULL;
    if (!m) {
        arena_free(arena);
        return err_no_memory(err, sizeof *m);
    }
    m->arena = arena;
    m->arch = arch;
    m->device = device;
    Status st = sg_checks_from_environment(&m->checks, err);
    if (st == ST_OK) st = word_from_environment("SOFTGPU_MMA", "exact", "fast", &m->exact_mma, err);
    if (st == ST_OK) st = word_from_environment("SOFTGPU_APPROX", "noise", "exact", &m->noise, err);
    if (st == ST_OK) st = ptx_parse(text, size, arena, &m->ptx, err);
    if (st == ST_OK) st = check_target(m, driver_version, err);
    if (st == ST_OK) st = place_globals(m, err);
    if (st == ST_OK) st = load_entries(m, text, size, err);
    if (st != ST_OK) {
        sg_module_free(m);
        return st;
    }
    *out = m;
    return ST_OK;
}

void sg_module_free(SgModule *module) {
    if (!module) return;
    for (int i = 0; i < module->kernel_count; i++) {
        SgKernel *const k = &module->kernels[i];
        free(k->code); /* aligned_alloc */
        mem_free(k->places);
        mem_free(k->costs);
        mem_free(k->instr_block);
        mem_free(k->jumps);
        mem_free(k->constants);
        mem_free(k->specials);
    }
    sg_mem_free_owner(module);
    arena_free(module->arena);
}

const SgKernel *sg_module_kernel(const SgModule *module, const char *name) {
    for (int i = 0; i < module->kernel_count; i++)
        if (strcmp(module->kernels[i].info.name, name) == 0) return &module->kernels[i];
    return NULL;
}

size_t sg_module_kernel_count(const SgModule *module) {
    return (size_t)module->kernel_count;
}

const SgKernel *sg_module_kernel_at(const SgModule *module, size_t i) {
    return &module->kernels[i];
}

const SgKernelInfo *sg_kernel_info(const SgKernel *kernel) {
    return &kernel->info;
}

bool sg_kernel_polls(const SgKernel *kernel, size_t i) {
    return kernel->spins && kernel->polls[kernel->instr_block[i]];
}

const PtxFunc *sg_kernel_func(const SgKernel *kernel) {
    return kernel->func;
}

/* Of the variables of the space that begin at or below the address, the one nearest to it. */
static const PlacedVar *variable_at(const SgKernel *k, const char *space, uint64_t address) {
    const PtxSpace wanted = strcmp(space, "shared") == 0  ? PTX_SHARED
                            : strcmp(space, "local") == 0 ? PTX_LOCAL
                                                          : PTX_PARAM;
    const PlacedVar *best = NULL;
    for (int i = 0; i < k->var_count; i++) {
        const PlacedVar *const v = &k->vars[i];
        if (v->var->space == wanted && v->offset <= address && (!best || v->offset >= best->offset))
            best = v;
    }
    return best;
}

const char *sg_window_text(const SgKernel *kernel, const char *space, uint64_t address,
                           uint64_t size, char *out, size_t out_size) {
    const PlacedVar *const v = variable_at(kernel, space, address);
    const int n =
        snprintf(out, out_size, "%" PRIu64 " bytes at %s address 0x%" PRIx64, size, space, address);
    if (!v || n < 0 || (size_t)n >= out_size) return out;
    const uint64_t offset = address - v->offset;
    const bool beyond = v->var->size && offset + size > v->var->size; /* size 0: dynamic */
    char past[64] = "";
    if (beyond) snprintf(past, sizeof past, ", beyond its %" PRIu64 " bytes", v->var->size);
    snprintf(out + n, out_size - (size_t)n, " (%s + %" PRIu64 "%s)", v->var->name, offset, past);
    return out;
}

bool sg_module_global(const SgModule *module, const char *name, uint64_t *address, uint64_t *size) {
    for (int i = 0; i < module->global_count; i++) {
        const SgGlobal *const g = &module->globals[i];
        if (!g->address || strcmp(g->name, name) != 0) continue;
        *address = g->address;
        *size = g->size;
        return true;
    }
    return false;
}
