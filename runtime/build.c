/* One NVRTC compilation: source to PTX, cubin, log and ptxas figures. */
#include "runtime/build.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

Hash build_key(const GenOutput *output, const char *toolchain) {
    HashState state;
    hash_begin(&state);
    hash_text(&state, "seqtune artifact 1");
    hash_field(&state, output->key.bytes, sizeof output->key.bytes);
    hash_text(&state, toolchain);
    return hash_end(&state);
}

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static Status nvrtc_check(const Nvrtc *nvrtc, int result, const char *call, Error *err) {
    enum { OUT_OF_MEMORY = 1, BUILTIN_OPERATION_FAILURE = 7 };
    if (result == 0) return ST_OK;
    if (result == BUILTIN_OPERATION_FAILURE) /* the machine's fault, not the source's */
        return err_set(err, ST_DRIVER,
                       "%s cannot compile anything: its libnvrtc-builtins.so.%d.%d is neither "
                       "beside it nor on the loader's path; install NVRTC as a whole",
                       nvrtc->path, nvrtc->version / 1000, nvrtc->version % 1000 / 10);
    return err_set(err, result == OUT_OF_MEMORY ? ST_NO_MEMORY : ST_COMPILE, "%s: %s (%s)", call,
                   nvrtc->GetErrorString(result), nvrtc->path);
}

/* NVRTC's pairs of "how big" and "give it": memory from arena, NUL-terminated, *size without a
 * terminating NUL that the producer counted. */
static Status fetch(const Nvrtc *nvrtc, void *program, int (*size_of)(void *, size_t *),
                    int (*get)(void *, char *), const char *call, Arena *arena, char **out,
                    size_t *size, Error *err) {
    size_t bytes = 0;
    Status st = nvrtc_check(nvrtc, size_of(program, &bytes), call, err);
    if (st != ST_OK) return st;
    char *data = arena_alloc(arena, bytes + 1);
    if (data == NULL) return err_no_memory(err, bytes + 1);
    if (bytes > 0) st = nvrtc_check(nvrtc, get(program, data), call, err);
    data[bytes] = '\0';
    *out = data;
    *size = bytes;
    return st;
}

static Status fetch_text(const Nvrtc *nvrtc, void *program, int (*size_of)(void *, size_t *),
                         int (*get)(void *, char *), const char *call, Arena *arena,
                         const char **out, size_t *size, Error *err) {
    char *text = NULL;
    size_t bytes = 0;
    Status st = fetch(nvrtc, program, size_of, get, call, arena, &text, &bytes, err);
    if (st != ST_OK) return st;
    *out = text;
    *size = strlen(text);
    return ST_OK;
}

static Status fetch_log(const Nvrtc *nvrtc, void *program, Arena *arena, Artifact *out,
                        Error *err) {
    Status st = fetch_text(nvrtc, program, nvrtc->GetProgramLogSize, nvrtc->GetProgramLog,
                           "nvrtcGetProgramLog", arena, &out->log, &out->log_size, err);
    if (st != ST_OK) return st;
    const char *mapped = gen_map_log(arena, out->log);
    if (mapped == NULL) return err_no_memory(err, out->log_size);
    out->log = mapped;
    out->log_size = strlen(mapped);
    return ST_OK;
}

/* The figures of ptxas as comment lines behind the PTX. */
static Status append_comments(Arena *arena, Artifact *out, Error *err) {
    Str text = {0};
    str_append(&text, out->ptx, out->ptx_size);
    if (out->ptx_size > 0 && out->ptx[out->ptx_size - 1] != '\n') str_putc(&text, '\n');
    for (size_t i = 0; i < out->entry_count; i++) build_put_comment(&text, &out->entries[i]);
    out->ptx = text.failed ? NULL : arena_strndup(arena, text.data, text.len);
    out->ptx_size = text.len;
    Status st = out->ptx == NULL ? err_no_memory(err, text.len) : ST_OK;
    str_free(&text);
    return st;
}

static Status check_entries(const GenOutput *output, const Artifact *artifact, Error *err) {
    for (size_t i = 0; output->entries[i] != NULL; i++) {
        bool found = false;
        for (size_t k = 0; k < artifact->entry_count; k++)
            if (strcmp(output->entries[i], artifact->entries[k].name) == 0) found = true;
        if (!found)
            return err_set(err, ST_COMPILE,
                           "%s compiled, but has no entry %s: the spec's launch step and the "
                           "template's extern \"C\" __global__ name must agree",
                           output->name, output->entries[i]);
    }
    return ST_OK;
}

static Status fetch_code(const Nvrtc *nvrtc, void *program, Arena *arena, Artifact *out,
                         Error *err) {
    char *cubin = NULL;
    Status st = fetch_text(nvrtc, program, nvrtc->GetPTXSize, nvrtc->GetPTX, "nvrtcGetPTX", arena,
                           &out->ptx, &out->ptx_size, err);
    if (st != ST_OK) return st;
    st = fetch(nvrtc, program, nvrtc->GetCUBINSize, nvrtc->GetCUBIN, "nvrtcGetCUBIN", arena, &cubin,
               &out->cubin_size, err);
    out->cubin = cubin;
    return st;
}

/* "sm_120a" for a library that ends at 90 is a matter of its version, not of the source. */
static Status check_arch(const Nvrtc *nvrtc, const GenOutput *output, Error *err) {
    int cc = 0, newest = 0;
    if (sscanf(output->arch, "sm_%d", &cc) != 1 || nvrtc_knows_arch(nvrtc, cc)) return ST_OK;
    for (int i = 0; i < nvrtc->arch_count; i++)
        if (nvrtc->archs[i] > newest) newest = nvrtc->archs[i];
    return err_set(err, ST_COMPILE,
                   "%s (%s) does not compile for %s, its newest architecture is sm_%d: install "
                   "another NVRTC and name it with SEQTUNE_NVRTC",
                   nvrtc->toolchain, nvrtc->path, output->arch, newest);
}

static Status compile(const Nvrtc *nvrtc, void *program, const GenOutput *output, Arena *arena,
                      Artifact *out, Error *err) {
    int options = 0;
    while (output->options[options] != NULL) options++;
    double start = now_seconds();
    int result = nvrtc->CompileProgram(program, options, output->options);
    out->seconds = now_seconds() - start;
    Status st = fetch_log(nvrtc, program, arena, out, err);
    if (st != ST_OK) return st;
    if (result != 0) {
        st = nvrtc_check(nvrtc, result, "nvrtcCompileProgram", err);
        if (st != ST_COMPILE) return st;
        return err_set(err, st, "%s for %s: %s with %s:\n%s", output->name, output->arch,
                       nvrtc->GetErrorString(result), nvrtc->toolchain, out->log);
    }
    if ((st = fetch_code(nvrtc, program, arena, out, err)) != ST_OK) return st;
    st = build_parse_ptxas(out->log, out->entries, ARTIFACT_MAX_ENTRIES, &out->entry_count, err);
    if (st != ST_OK) return st;
    if ((st = check_entries(output, out, err)) != ST_OK) return st;
    return append_comments(arena, out, err);
}

Status build_compile(const Nvrtc *nvrtc, const GenOutput *output, Arena *arena, Artifact *out,
                     Error *err) {
    void *program = NULL;
    *out = (Artifact){.key = build_key(output, nvrtc->toolchain),
                      .source = output->source,
                      .source_size = output->source_size};
    memcpy(out->toolchain, nvrtc->toolchain, sizeof out->toolchain);
    Status st = check_arch(nvrtc, output, err);
    if (st != ST_OK) return st;
    int result = nvrtc->CreateProgram(&program, output->source, output->name, 0, NULL, NULL);
    st = nvrtc_check(nvrtc, result, "nvrtcCreateProgram", err);
    if (st != ST_OK) return st;
    st = compile(nvrtc, program, output, arena, out, err);
    (void)nvrtc->DestroyProgram(&program);
    return st;
}
