/* Structures shared by the files of generator/; nobody else includes this.
 *
 * Everything lives in the arena of its library and never changes after gen_open. A TextPos points
 * into a text of the library's tree, so that an error found at use can still quote the line. */
#ifndef SEQTUNE_GENERATOR_INTERNAL_H
#define SEQTUNE_GENERATOR_INTERNAL_H

#include "generator/gen.h"

enum {
    GEN_MAX_LETS = 80,
    GEN_MAX_PIPES = 8,
    GEN_MAX_VISIBLE = GEN_MAX_DIMS + GEN_MAX_AXES + GEN_MAX_LETS + 8,
    GEN_MAX_CONFIGS = 1000000, /* cross product of a space: a minute of enumeration */
};

/* ---- tree.c: the texts ---- */

typedef struct GenFile {
    const char *path; /* "scripts/kernels/attn_prefill.lua" */
    const char *text;
    size_t size;
} GenFile;

typedef struct GenTree {
    const GenFile *files; /* sorted by path */
    size_t count;
} GenTree;

Status gen_tree_load(Arena *arena, const char *root, GenTree *out, Error *err);
/* As gen_open, of texts in memory (sorted by path), which must outlive the library: for tests. */
Status gen_open_tree(const GenTree *tree, GenLibrary **out, Error *err);
const GenFile *gen_tree_find(const GenTree *tree, const char *path);
/* Files below `prefix` that end in `suffix`: the first index and, through *count, how many entries
 * of the sorted list begin with the prefix. */
size_t gen_tree_range(const GenTree *tree, const char *prefix, size_t *count);
/* The listed files' base names ("common" of "scripts/workloads/common.lua"); arena memory. */
Status gen_tree_names(Arena *arena, const GenTree *tree, const char *prefix, const char *suffix,
                      const char *const **names, size_t *count, Error *err);

/* ---- formulas and names (eval.c) ---- */

typedef struct GenFormula {
    const Expr *expr; /* NULL: not given */
    TextPos pos;
    bool is_static; /* depends on static dimensions, axes and the architecture only */
} GenFormula;

typedef enum GenNameKind {
    GEN_NAME_DIM,
    GEN_NAME_AXIS,
    GEN_NAME_LET,
    GEN_NAME_RESOURCE
} GenNameKind;

/* Quantities of `resources` that later formulas may use, in order of evaluation. */
typedef enum GenResource {
    GEN_RES_THREADS,
    GEN_RES_SMEM,
    GEN_RES_REGS,
    GEN_RES_OCCUPANCY,
    GEN_RES_COUNT
} GenResource;

typedef struct GenName {
    const char *name;
    GenNameKind kind;
    int index;
    bool is_static;
} GenName;

typedef struct GenLet {
    const char *name;
    GenFormula formula;
} GenLet;

/* ---- parts of a spec ---- */

typedef struct GenTemplate GenTemplate;
typedef struct GenLayoutDef GenLayoutDef;

typedef struct GenPipe {
    const char *path; /* "templates/attn/prefill_mma.cu" */
    uint64_t needs;
    GenFormula when;
    TextPos pos;
    const GenTemplate *tmpl;
} GenPipe;

typedef struct GenStep {
    const char *entry;
    GenFormula grid[3];
    GenFormula block[3];
    GenFormula smem;
    GenFormula when;
    GenFormula rounds;
    bool cooperative;
    TextPos pos;
} GenStep;

typedef struct GenPartChoice {
    const char *value; /* of the name in `by`, as text; NULL: always */
    const char *path;  /* "templates/parts/mask/none.cu"; NULL: nothing */
    const GenTemplate *tmpl;
} GenPartChoice;

typedef struct GenPart {
    const char *slot;
    const char *by; /* NULL: one choice */
    const GenPartChoice *choices;
    size_t count;
    TextPos pos;
} GenPart;

typedef struct GenLayout {
    const char *name;
    const GenLayoutDef *def;
    TextPos pos;
} GenLayout;

typedef struct GenSeed {
    GenConfig config;
    GenFormula when;
    TextPos pos;
} GenSeed;

struct GenSpec {
    const GenLibrary *lib;
    const GenFile *file;
    TextPos pos;
    const char *name, *title, *params, *reference;
    int generation;
    GenDim dims[GEN_MAX_DIMS];
    TextPos dim_pos[GEN_MAX_DIMS];
    size_t dim_count;
    GenAxis axes[GEN_MAX_AXES];
    TextPos axis_pos[GEN_MAX_AXES];
    size_t axis_count;
    GenLet lets[GEN_MAX_LETS];
    size_t let_count;
    const GenRule *rules, *needs;
    const TextPos *rule_pos, *need_pos; /* of the formulas */
    size_t rule_count, need_count;
    const GenPipe *pipes;
    size_t pipe_count;
    GenStep steps[GEN_MAX_STEPS];
    size_t step_count;
    const GenPart *parts;
    size_t part_count;
    const GenLayout *layouts;
    size_t layout_count;
    const GenSeed *seeds;
    size_t seed_count;
    const GenTemplate *const *libs; /* every lib the templates can name */
    size_t lib_count;
    GenFormula threads, smem, regs, workspace, score, flops, bytes;
    GenName names[GEN_MAX_VISIBLE]; /* sorted */
    size_t name_count;
    const char *canonical; /* the spec without places and prose; hashed */
    Hash hash;
    Status fault_status; /* templates missing or not matching: said at emission */
    const char *fault;
};

struct GenLibrary {
    Arena *arena;
    GenTree tree;
    GenSpec **specs; /* sorted by name */
    size_t spec_count;
    const char *const *workloads;
    size_t workload_count;
};

const GenName *gen_name_find(const GenSpec *spec, const char *name);
/* Adds a name; false when it is taken. Keeps the list sorted. */
bool gen_name_add(GenSpec *spec, GenName name);

/* One evaluation: a spec's names bound to a problem, a GPU and a configuration (any may be NULL;
 * their names are then unknown). Lets are computed when first used, so that a rule may guard a
 * later let that would fail. Not thread-safe; live on the stack. */
typedef struct GenEval {
    const GenSpec *spec;
    const GenProblem *problem;
    const GpuInfo *gpu;
    const GenConfig *config;
    int64_t resources[GEN_RES_COUNT];
    unsigned resources_known; /* bit per GenResource */
    unsigned char let_state[GEN_MAX_LETS];
    ExprValue lets[GEN_MAX_LETS];
    const char *loop_names[4]; /* `for` variables of a template */
    int64_t loop_values[4];
    int loops;
    size_t axes_used; /* 1 + the last axis that was looked at, in the spec's order */
    bool failed;      /* a let could not be computed; `fault` says why */
    Error fault;
} GenEval;

void gen_eval_init(GenEval *eval, const GenSpec *spec, const GenProblem *problem,
                   const GpuInfo *gpu, const GenConfig *config);
/* Value of one name; false when unknown or when its let failed. */
bool gen_eval_name(GenEval *eval, const char *name, ExprValue *out);
Status gen_eval_int(GenEval *eval, const GenFormula *formula, int64_t *out, Error *err);
Status gen_eval_bool(GenEval *eval, const GenFormula *formula, bool *out, Error *err);
Status gen_eval_value(GenEval *eval, const Expr *expr, TextPos pos, ExprValue *out, Error *err);
/* As an enumerator, a part's choice or a message shows it: word, decimal, true/false. */
void gen_value_text(ExprValue value, char *out, size_t size);
ExprValue gen_dim_value(const GenDim *dim, int64_t value);
ExprValue gen_axis_value(const GenAxis *axis, int64_t value);
/* Checks that every name of `expr` is visible (bit 1 << kind in `kinds`; lets below `let_limit`),
 * and tells whether all are static. `what` says whose formula it is. */
enum { GEN_SEE_GPU = 1 << 8, GEN_SEE_STATIC_ONLY = 1 << 9 };
typedef struct GenScope {
    const GenSpec *spec;
    unsigned kinds;
    int dim_limit, let_limit, resource_limit;
    const char *const *extra; /* loop variables */
    size_t extra_count;
} GenScope;
Status gen_check_names(const GenScope *scope, const Expr *expr, TextPos pos, const char *what,
                       bool *is_static, Error *err);

/* ---- problems, configurations ---- */

/* The pipeline for this evaluation, or NULL with the reason in `why` (at most `size` bytes). */
Status gen_pick_pipe(GenEval *eval, const GenPipe **out, char *why, size_t size, Error *err);

/* ---- template.c ---- */

typedef enum GenNodeKind {
    GEN_NODE_TEXT,
    GEN_NODE_LIB,
    GEN_NODE_SLOT,
    GEN_NODE_IF,
    GEN_NODE_ELSE,
    GEN_NODE_FOR,
    GEN_NODE_END
} GenNodeKind;

typedef struct GenNode {
    GenNodeKind kind;
    int line;         /* 1-based */
    const char *text; /* the line without its newline */
    size_t size;
    const char *name; /* lib, slot, loop variable */
    const Expr *a, *b;
    TextPos pos_a, pos_b; /* of the formulas; pos_a of the name for lib and slot */
    size_t next;          /* IF: its ELSE or END; ELSE, FOR: their END */
    bool substitutes;     /* TEXT: contains $(...) */
} GenNode;

struct GenTemplate {
    const GenFile *file;
    const GenNode *nodes;
    size_t count;
};

Status gen_template_parse(Arena *arena, const GenFile *file, const GenTemplate **out, Error *err);
/* Loads the templates, parts and libs that a spec names, checks slots, names and entries, and
 * hashes them into spec->hash. A fault is stored in the spec. ST_NO_MEMORY only. */
Status gen_spec_link(GenLibrary *lib, GenSpec *spec, Error *err);

/* ---- layout.c ---- */

enum { GEN_LAYOUT_BITS = 8, GEN_LAYOUT_REPS = 4 };

typedef struct GenBasis {
    int row, col;
} GenBasis;

typedef struct GenRep {
    bool rows; /* multiplies rows; else columns */
    GenFormula count;
} GenRep;

/* Register layout (atom set) or shared tile (atom NULL). */
struct GenLayoutDef {
    const char *atom;
    GenBasis reg[GEN_LAYOUT_BITS], lane[5];
    int reg_bits;
    int atom_rows, atom_cols;
    GenRep reps[GEN_LAYOUT_REPS];
    int rep_count;
    GenFormula rows, cols, elem_bytes; /* shared tile */
};

/* Tables of a layout made concrete: what the emitted functions compute. */
typedef struct GenLayoutShape {
    const GenLayoutDef *def;
    int64_t rows, cols, elem_bytes;
    int64_t row_reps, col_reps;
} GenLayoutShape;

Status gen_layout_shape(GenEval *eval, const GenLayout *layout, GenLayoutShape *out, Error *err);
void gen_layout_reg(const GenLayoutShape *shape, int reg, int lane, int *row, int *col);
int64_t gen_layout_offset(const GenLayoutShape *shape, int64_t row, int64_t col);
int gen_layout_regs(const GenLayoutShape *shape);
/* Chunk bits that the swizzle moves, and the row bit it takes them from. */
void gen_layout_swizzle(const GenLayoutShape *shape, int *bits, int *row_shift);
Status gen_layout_prove(const char *name, const GenLayoutShape *shape, TextPos pos, Error *err);
void gen_layout_emit(const char *name, const GenLayoutShape *shape, Str *out);

/* ---- Lua (host.c, spec_read.c, workload.c) ---- */

void gen_canonical(const GenSpec *spec, Str *out); /* canonical.c */
Status gen_read_spec(GenLibrary *lib, const GenFile *file, GenSpec **out, Error *err);

#endif
