/* The generator: specs (Lua) and templates (CUDA text) to variants and CUDA source.
 *
 * A GenLibrary holds every spec of one source tree and is immutable after gen_open: all functions
 * that take it const may be called from many threads. Lua runs inside gen_open and
 * gen_workload_load only. Sizes in the structs are small and fixed on purpose: problems and
 * configurations are values. */
#ifndef SEQTUNE_GENERATOR_GEN_H
#define SEQTUNE_GENERATOR_GEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/expr.h"
#include "base/gpus.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/str.h"

enum { GEN_MAX_DIMS = 40, GEN_MAX_AXES = 24, GEN_MAX_STEPS = 10 };

typedef struct GenLibrary GenLibrary;
typedef struct GenSpec GenSpec;

/* How a problem dimension enters the database key (docs/design.md 4.5). */
typedef enum GenKeyRule { GEN_KEY_EXACT, GEN_KEY_LOG2_4, GEN_KEY_IGNORE } GenKeyRule;
typedef enum GenDimKind { GEN_DIM_ENUM, GEN_DIM_INT, GEN_DIM_DERIVED } GenDimKind;

typedef struct GenDim {
    const char *name;
    GenDimKind kind;
    GenKeyRule key;
    bool is_static;           /* part of the source: becomes an enumerator */
    const char *const *words; /* ENUM: the values, in order */
    const int64_t *ints;      /* INT with a list of legal values; NULL: min..max */
    size_t count;             /* of words or ints */
    int64_t min, max;
    int64_t preset;      /* value when the caller says nothing (ENUM: index) */
    const Expr *formula; /* DERIVED: from the other dimensions */
    const char *doc;
} GenDim;

typedef struct GenAxis {
    const char *name;
    const int64_t *values; /* in the order written */
    size_t count;
    bool is_bool; /* written as false, true; formulas see a boolean, value[] holds 0 or 1 */
    const char *doc;
} GenAxis;

typedef struct GenRule {
    const Expr *when;
    const char *reason;
    const char *file; /* "scripts/kernels/attn_prefill.lua" */
    int line;
} GenRule;

/* What the caller asks for. value[] is parallel to gen_dims; ENUM dimensions hold the word's index.
 */
typedef struct GenProblem {
    const GenSpec *spec;
    int64_t value[GEN_MAX_DIMS];
} GenProblem;

/* What the tuner may choose. value[] is parallel to gen_axes and holds the values themselves. */
typedef struct GenConfig {
    int64_t value[GEN_MAX_AXES];
} GenConfig;

/* ---- library ---- */

/* `root`: a source tree (its scripts/ and templates/ are read), or NULL for what was built in. */
Status gen_open(const char *root, GenLibrary **out, Error *err);
void gen_close(GenLibrary *lib);
size_t gen_spec_count(const GenLibrary *lib);
const GenSpec *gen_spec_at(const GenLibrary *lib, size_t i); /* sorted by name */
const GenSpec *gen_spec_find(const GenLibrary *lib, const char *name);

const char *gen_spec_name(const GenSpec *spec);
const char *gen_spec_title(const GenSpec *spec);
const char *gen_spec_file(const GenSpec *spec);
int gen_spec_generation(const GenSpec *spec);
Hash gen_spec_hash(const GenSpec *spec); /* canonical spec and every template text it can use */
const char *gen_spec_reference(const GenSpec *spec); /* `verify.reference`: "attention" */
const char *gen_spec_params(const GenSpec *spec);    /* "attn": runtime/params/attn.h */
/* What cannot be known while templates are still being written is said when a spec is used: a
 * missing template or part, a slot without a part. This asks every spec at once. */
Status gen_check(const GenLibrary *lib, Error *err);
const GenDim *gen_dims(const GenSpec *spec, size_t *count);
const GenAxis *gen_axes(const GenSpec *spec, size_t *count);
const GenRule *gen_rules(const GenSpec *spec, size_t *count);

/* ---- problems ---- */

void gen_problem_init(const GenSpec *spec, GenProblem *out); /* presets */
/* False when the spec has no such dimension. */
bool gen_problem_get(const GenProblem *problem, const char *name, int64_t *out);
const char *gen_problem_word(const GenProblem *problem,
                             const char *name); /* ENUM; NULL otherwise */
/* Errors name the dimension, the value, the legal ones, and the nearest name. */
Status gen_problem_set(GenProblem *problem, const char *name, int64_t value, Error *err);
Status gen_problem_set_word(GenProblem *problem, const char *name, const char *word, Error *err);
/* "dtype=bf16 head_dim=128 ...": sets what is named. */
Status gen_problem_parse(GenProblem *problem, const char *text, Error *err);
/* Computes derived dimensions and checks the spec's `require` lines. Call after the last set. */
Status gen_problem_check(GenProblem *problem, Error *err);
void gen_problem_text(const GenProblem *problem, Str *out); /* all given dimensions, spec order */
/* The database key: exact dimensions as they are, log2/4 ones as the smallest integer of their
 * bucket (bucket i holds v with floor(4*log2(v)) = i; 0 has its own), ignored ones left out. A key
 * is a member of its own bucket: bucketing it again changes nothing. */
void gen_problem_key(const GenProblem *problem, Str *out);
/* Distance of two keys of one spec for dispatch: sum of |log2 ratio| over bucketed dimensions;
 * negative when an exact dimension differs, or a bucketed one is negative in one of them only (a
 * flag such as "open"): then they are never interchangeable. */
double gen_key_distance(const GenSpec *spec, const char *key_a, const char *key_b);
Status gen_problem_flops(const GenProblem *problem, double *flops, double *bytes, Error *err);

/* ---- configurations ---- */

typedef struct GenResources {
    int64_t threads;
    int64_t smem; /* dynamic shared memory, bytes, largest step */
    int64_t regs; /* the spec's estimate per thread */
    int64_t workspace;
    double occupancy_blocks; /* blocks per SM by smem, threads and estimated registers */
    double score;            /* resource model: bigger is expected faster; orders compilation */
} GenResources;

/* Why a configuration is out: a rule of the spec, or a limit of the GPU. */
typedef struct GenReject {
    bool rejected;
    const GenRule *rule; /* NULL: `text` says which resource, how much, the limit */
    size_t passed;       /* checks before the one that fails: pipeline, rules in order, limits */
    size_t count;        /* configurations that are out together, this one included */
    char text[256];
} GenReject;

void gen_config_text(const GenSpec *spec, const GenConfig *config,
                     Str *out); /* "block_m=128 ..." */
/* Every axis must be named once with a value of the space. */
Status gen_config_parse(const GenSpec *spec, const char *text, GenConfig *out, Error *err);
bool gen_config_equal(const GenSpec *spec, const GenConfig *a, const GenConfig *b);
bool gen_config_get(const GenSpec *spec, const GenConfig *config, const char *axis, int64_t *out);

/* Rules, features and limits for this problem on this GPU. ST_OK also when rejected (see *why);
 * other statuses are faults of the spec. `resources` and `why` may be NULL. */
Status gen_config_check(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *config,
                        GenResources *resources, GenReject *why, Error *err);

/* Walks the cross product in the spec's order, the last axis fastest: called once per legal
 * configuration, and once per run of why->count that are out alike, with the first of them (the
 * rule that they break, and those before it, look at no later axis). Return false to stop. */
typedef bool (*GenVisit)(void *context, const GenConfig *config, const GenResources *resources,
                         const GenReject *why);
Status gen_enumerate(const GenProblem *problem, const GpuInfo *gpu, GenVisit visit, void *context,
                     Error *err);

/* First legal entry of the spec's `seeds`, else the legal configuration of best score.
 * ST_UNSUPPORTED, naming what stops the configurations that get furthest, when none is legal. */
Status gen_default(const GenProblem *problem, const GpuInfo *gpu, GenConfig *out, Error *err);
/* All legal seeds in order, default first; returns through *count (at most `max`). */
Status gen_seeds(const GenProblem *problem, const GpuInfo *gpu, GenConfig *out, size_t max,
                 size_t *count, Error *err);

/* ---- emission ---- */

typedef struct GenOutput {
    const char *source; /* one self-contained CUDA text, NUL-terminated, from the arena */
    size_t source_size;
    const char *name;       /* virtual name for NVRTC: "/seqtune/attn/prefill_mma.cu" */
    const char *arch;       /* "sm_80" */
    const char *options[8]; /* NVRTC options, NULL-terminated */
    const char *entries[GEN_MAX_STEPS + 1]; /* extern "C" names in launch order, NULL-terminated */
    Hash key;                               /* source + options + arch */
} GenOutput;

/* Deterministic: same inputs, same bytes. The text depends only on static dimensions, axes and
 * the GPU's architecture. */
Status gen_emit(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *config,
                Arena *arena, GenOutput *out, Error *err);

/* Rewrites places "/seqtune/..." in a compiler log to "templates/...". Memory from arena. */
char *gen_map_log(Arena *arena, const char *log);

typedef struct GenLaunch {
    const char *entry;
    int64_t grid[3];
    int64_t block[3];
    int64_t smem;     /* dynamic shared memory, bytes */
    int64_t rounds;   /* the steps run in rounds: round r is those with rounds > r, in order */
    bool cooperative; /* all blocks must be on the GPU at once */
} GenLaunch;

/* Launch steps in order and the workspace in bytes. Needs no Lua. Errors when a grid exceeds
 * 2^31-1 x 65535 x 65535 or a dimension is below 1 (an empty problem gives *count = 0; so does
 * rounds = 0 for its step). */
Status gen_launches(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *config,
                    GenLaunch out[GEN_MAX_STEPS], size_t *count, int64_t *workspace, Error *err);

/* ---- workloads ---- */

typedef struct GenWorkItem {
    GenProblem problem; /* checked */
    const char *label;  /* "llama-3-8b prefill 2048" */
    const char *source; /* where the shape comes from */
} GenWorkItem;

typedef struct GenWorkload {
    const char *name;
    const char *title;
    const GenWorkItem *items;
    size_t count;
} GenWorkload;

/* `name`: a built-in (scripts/workloads/NAME.lua) or a path that contains '/' or ends in .lua. */
Status gen_workload_load(const GenLibrary *lib, const char *name, Arena *arena, GenWorkload *out,
                         Error *err);
/* Built-in names, for help and errors. */
size_t gen_workload_count(const GenLibrary *lib);
const char *gen_workload_name(const GenLibrary *lib, size_t i);

#endif
