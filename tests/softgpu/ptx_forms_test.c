/* One record per instruction form: what stands in four tables (softgpu/ptx/ops_*.def, features.def,
 * clock/classify.c with kinds.def, the GPUs' parameters) joined as docs/ptx-forms.md, which must be
 * the text made here. A form that lacks a column, or whose columns contradict each other, fails.
 *
 * Accept a new text with SEQTUNE_ACCEPT=1 build/tests/bin/test_softgpu_ptx_forms. */
#include "exec_help.h"
#include "exec_vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/gpus.h"
#include "softgpu/clock/classify.h"
#include "softgpu/exec/pipes.h"
#include "softgpu/ptx/feature.h"
#include "softgpu/ptx/form.h"

#define PATH SEQTUNE_SOURCE_DIR "/docs/ptx-forms.md"

static const char head[] =
    "# PTX instructions, one record per form\n\n"
    "Generated from the tables by `tests/softgpu/ptx_forms_test.c`, which fails when this text is "
    "not what they say.\n\n"
    "- *form*: the words of the opcode; `a/b` alternatives, `?a` may be absent, `*` any others "
    "(decoded by type).\n"
    "- *operands*: `r` `R` `P` destination of 32 bits or less, 64 bits, predicate; `a` `A` `p` "
    "sources of these, `f` `F` floating-point sources, `i` an immediate; a name: the family that "
    "takes the operands apart (`softgpu/exec/decode_*.c`).\n"
    "- *needs*: PTX version and target; then words that need more. An `a` behind the target: "
    "`sm_Na` or `sm_Nf` only. Nothing below PTX 6.3 and sm_75 is told apart. "
    "`min` and `max` of three f32 need 8.8 sm_100, which no word shows.\n"
    "- *pipe*: what an executed instruction counts as (`softgpu/exec/pipes.h`).\n"
    "- *clock*: what the clock takes it for; interval and latency are in the last table.\n\n"
    "| form | operands | needs | pipe | clock |\n|---|---|---|---|---|\n";

enum { MAX_VARIANTS = 512 };
typedef struct Variant {
    char opcode[256];
    char word[40]; /* that it has and the first has not */
} Variant;
static Variant variants[MAX_VARIANTS];
static int variant_count;

static void add_variant(const char *opcode, const char *word) {
    for (int i = 0; i < variant_count; i++)
        if (strcmp(variants[i].opcode, opcode) == 0) return;
    assert_true(variant_count < MAX_VARIANTS);
    Variant *const v = &variants[variant_count++];
    snprintf(v->opcode, sizeof v->opcode, "%s", opcode);
    snprintf(v->word, sizeof v->word, "%s", word);
}

/* The pattern with alternative `alt` of token `token` (-1: none), the first of the others, and the
 * optional ones left out. Returns whether there is such an alternative. */
static bool spell(const char *pattern, int token, int alt, char *out, size_t size, char *word) {
    size_t used = 0;
    bool found = token < 0;
    word[0] = '\0';
    for (int i = 0; *pattern; i++) {
        const size_t n = strcspn(pattern, " ");
        const bool optional = *pattern == '?';
        const char *p = pattern + optional, *const end = pattern + n;
        for (int k = 0; i == token && k < alt && p < end; k++) {
            p += strcspn(p, "/ ");
            p = p < end ? p + 1 : end;
        }
        if (i == token && p < end) found = true;
        if ((!optional || i == token) && p < end) {
            const size_t length = strcspn(p, "/ ");
            const int wrote =
                snprintf(out + used, size - used, "%s%.*s", used ? "." : "", (int)length, p);
            used += (size_t)wrote;
            if (i == token) snprintf(word, 40, "%.*s", (int)length, p);
        }
        pattern += n + (pattern[n] == ' ');
    }
    return found;
}

static void vectors_of(const PtxForm *form, const Vector *rows, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (const char *p = rows[i].code; *p;) {
            const size_t length = strcspn(p, " ;{},");
            char opcode[256];
            PtxWords words;
            snprintf(opcode, sizeof opcode, "%.*s", (int)length, p);
            if (length && ptx_words(opcode, &words) && words.count > 1 &&
                ptx_form_find(&words) == form)
                add_variant(opcode, strchr(opcode, '.') + 1);
            p += length + (p[length] != '\0');
        }
}

/* Spellings that have every word of the form once; of a form with * those of the vectors. */
static void spellings(const PtxForm *form) {
    char opcode[256], word[40];
    variant_count = 0;
    if (strchr(form->pattern, '*')) {
        vectors_of(form, integers, COUNT(integers));
        vectors_of(form, floats, COUNT(floats));
        vectors_of(form, others, COUNT(others));
        vectors_of(form, modifiers, COUNT(modifiers));
        return;
    }
    (void)spell(form->pattern, -1, 0, opcode, sizeof opcode, word);
    add_variant(opcode, "");
    int tokens = 1;
    for (const char *p = form->pattern; *p; p++) tokens += *p == ' ';
    for (int t = 0; t < tokens; t++)
        for (int alt = 0; spell(form->pattern, t, alt, opcode, sizeof opcode, word); alt++)
            add_variant(opcode, word);
}

static PtxNeeds needs_of(const char *opcode) {
    PtxWords words;
    assert_true(ptx_words(opcode, &words));
    PtxNeeds needs = ptx_needs(&words);
    if (needs.version < 63) needs.version = 63;
    if (needs.target < 75) needs.target = 75;
    return needs;
}
static bool same_needs(PtxNeeds a, PtxNeeds b) {
    return a.version == b.version && a.target == b.target && a.special == b.special;
}
static void put_needs(Str *s, PtxNeeds n) {
    str_printf(s, "%d.%d sm_%d%s", n.version / 10, n.version % 10, n.target, n.special ? "a" : "");
}

/* The least of all, then what needs more, words with equal needs together. */
static void needs_column(Str *s) {
    PtxNeeds least = needs_of(variants[0].opcode), done[16];
    int count = 0;
    for (int i = 1; i < variant_count; i++) {
        const PtxNeeds n = needs_of(variants[i].opcode);
        if (n.version < least.version || (n.version == least.version && n.target < least.target))
            least = n;
    }
    put_needs(s, least);
    for (int i = 0; i < variant_count; i++) {
        const PtxNeeds n = needs_of(variants[i].opcode);
        bool known = same_needs(n, least);
        for (int k = 0; k < count; k++) known |= same_needs(n, done[k]);
        if (known) continue;
        assert_true(count < 16);
        done[count++] = n;
        str_puts(s, "; ");
        for (int k = i, first = 1; k < variant_count; k++)
            if (same_needs(needs_of(variants[k].opcode), n)) {
                str_printf(s, "%s`%s`", first ? "" : " ",
                           variants[k].word[0] ? variants[k].word : variants[k].opcode);
                first = 0;
            }
        str_puts(s, " ");
        put_needs(s, n);
    }
}

static int pipe_named(const char *name) {
    static const char *const names[] = {
#define PIPE(name) #name,
        SG_PIPES
#undef PIPE
    };
    for (int i = 0; i < PIPE_COUNT; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

/* What the clock may take an instruction of a pipe for. MOVE and BRANCH, OTHER and BARRIER have no
 * port; a 64-bit or 16-bit operation is ALU to the counters and to the clock. */
static bool pipe_fits(int pipe, CodeKind kind) {
    const CodePort port = code_port(kind);
    switch ((SgPipe)pipe) {
    case PIPE_MMA: return port == TENSOR;
    case PIPE_LDMATRIX: return kind == CODE_LDMATRIX;
    case PIPE_SFU: return port == SFU || kind == CODE_FP32;
    case PIPE_LOAD:
    case PIPE_LOAD_SHARED:
    case PIPE_LOCAL:
    case PIPE_STORE: return port == SHARED || kind == CODE_MOVE; /* parameters, constants */
    case PIPE_STORE_SHARED:
    case PIPE_ATOMIC:
    case PIPE_CP_ASYNC:
    case PIPE_SHUFFLE: return port == SHARED || kind == CODE_ALU;
    case PIPE_FMA:
    case PIPE_FMA64:
    case PIPE_DIV: return port == FP32 || port == ALU || port == SFU;
    case PIPE_ALU:
    case PIPE_ALU2:
    case PIPE_ALU3: return port == ALU || port == FP32 || kind == CODE_MOVE;
    case PIPE_CVT: return port == ALU || port == SFU || kind == CODE_MOVE;
    case PIPE_BRANCH: return kind == CODE_BRANCH;
    case PIPE_BARRIER: return kind == CODE_BARRIER;
    default: return true; /* MOVE: dropped by ptxas or not; OTHER: has no unit */
    }
}

static int contradictions;

static void kinds_column(Str *s, const PtxForm *form) {
    bool seen[CODE_KINDS] = {false}, first = true;
    for (int i = 0; i < variant_count; i++) {
        const CodeKind kind = form_kind(variants[i].opcode);
        assert_in_range(kind, 0, CODE_KINDS - 1);
        if (!pipe_fits(pipe_named(form->pipe), kind)) {
            print_error("%s: the table's pipe is %s, the clock takes it for '%s'\n",
                        variants[i].opcode, form->pipe, code_kind_name(kind));
            contradictions++;
        }
        if (seen[kind]) continue;
        seen[kind] = true;
        str_printf(s, "%s%s", first ? "" : ", ", code_kind_name(kind));
        first = false;
    }
}

static void form_row(Str *s, const PtxForm *form) {
    spellings(form);
    if (!variant_count) fail_msg("%s: no vector spells it", form->pattern);
    for (int i = 0; i < variant_count; i++) {
        PtxWords words;
        assert_true(ptx_words(variants[i].opcode, &words));
        if (!ptx_form_matches(form, &words))
            fail_msg("%s does not match its own form '%s'", variants[i].opcode, form->pattern);
    }
    if (pipe_named(form->pipe) < 0) fail_msg("%s: no pipe '%s'", form->pattern, form->pipe);
    if (form->shape[0] != '=' && strspn(form->shape, "rRPaApfFi") != strlen(form->shape))
        fail_msg("%s: no operands '%s'", form->pattern, form->shape);
    const bool family = form->shape[0] == '=';
    str_printf(s, "| `%s` | %s%.*s%s | ", form->pattern, family ? "" : "`",
               (int)strcspn(form->shape + family, " "), form->shape[0] ? form->shape + family : "-",
               family ? "" : "`");
    needs_column(s);
    str_printf(s, " | %s | ", form->pipe);
    kinds_column(s, form);
    str_puts(s, " |\n");
}

/* Interval and latency of each kind, in cycles of a sub-core, on each GPU. */
static void kind_table(Str *s) {
    str_puts(s,
             "\n## Intervals and latencies\n\nCycles of a sub-core (`base/gpus.def`): how long an "
             "instruction of a warp keeps its port busy / from there to a dependent one's issue. "
             "`mma` stands for m16n8k16 of f16 with f32 sums; others by their FLOP and type "
             "(2048, 4096 and more, see the GPU's rates). Global loads and copies: from L2.\n\n"
             "| clock | port |");
    static const char *const ports[PORTS] = {"tensor", "shared", "ALU", "FP32", "SFU", "-"};
    for (size_t i = 0; i < gpu_model_count(); i++) str_printf(s, " %s |", gpu_model(i)->name);
    str_puts(s, "\n|---|---|");
    for (size_t i = 0; i < gpu_model_count(); i++) str_puts(s, "---|");
    str_puts(s, "\n");
    for (int k = 0; k < CODE_KINDS; k++) {
        const CodePort port = code_port(k);
        str_printf(s, "| %s | %s |", code_kind_name((CodeKind)k), ports[port]);
        for (size_t i = 0; i < gpu_model_count(); i++) {
            const CodeCosts c = code_costs(gpu_model(i), 1, false);
            const double interval = k == CODE_MMA ? 4096 * c.mma[GPU_MMA_F16_F32] : c.interval[k];
            const double latency = k == CODE_BARRIER ? c.barrier : c.latency[k];
            if (port != FREE && !(interval > 0)) fail_msg("%s: no interval", gpu_model(i)->name);
            if (port == FREE && latency <= 0)
                str_puts(s, " - |");
            else
                str_printf(s, " %.3g / %.3g |", port == FREE ? 0 : interval, latency);
        }
        str_puts(s, "\n");
    }
}

static char *read_text(void) {
    FILE *const f = fopen(PATH, "rb");
    char *const text = calloc(1, 1 << 20);
    assert_non_null(text);
    if (!f) return text;
    (void)fread(text, 1, (1 << 20) - 1, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void every_form_has_all_columns_and_stands_in_the_document(void **state) {
    (void)state;
    Str s = {0};
    str_puts(&s, head);
    for (size_t i = 0; i < ptx_form_count(); i++) form_row(&s, ptx_form(i));
    assert_int_equal(contradictions, 0);
    kind_table(&s);
    char *const old = read_text();
    if (strcmp(old, str_text(&s)) != 0) {
        if (!files_env("SEQTUNE_ACCEPT"))
            fail_msg("%s differs; see the new text with SEQTUNE_ACCEPT=1 and git diff", PATH);
        FILE *const f = fopen(PATH, "wb");
        assert_non_null(f);
        assert_true(fputs(str_text(&s), f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    free(old);
    str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_has_all_columns_and_stands_in_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
