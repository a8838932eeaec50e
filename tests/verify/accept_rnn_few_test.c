/* The acceptance rule for recurrent outputs of 1 to 7 units, whose rows begin with the terms of all
 * sequences of a case: cases of 1 to 9 sequences of an emulated kernel, right (never accused) or
 * with one defect (docs/verification.md has the figures). */
#include <math.h>

#include "tests/base/test.h"
#include "tests/verify/rnn_emulated.h"
#include "tuner/verify/accept.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MAX_BATCH = 9, MAX_FEW_STEPS = 12, FEW_ROWS = 4 * (ACCEPT_FEW - 1) };
enum { MAX_Y = MAX_BATCH * MAX_FEW_STEPS * (ACCEPT_FEW - 1), MAX_GATES = 4 * MAX_Y };

static const Inputs input_kinds[] = {
    {"normal", 1.2, 1, 0},           {"long memory", 1.2, 0.5, 4}, {"strong weights", 2, 1, 0},
    {"saturated gates", 1.2, 40, 0}, {"faint", 0.3, 0.05, 0},
};
enum { SATURATED = 3 };

typedef enum Kind { LSTM, GRU, GRU_RESET_BEFORE, KINDS } Kind;
static const char *const kind_names[KINDS] = {"lstm", "gru", "gru, reset before"};

/* y, c and gates of a case: [batch][steps][n] each. */
typedef struct Numbers {
    double y[MAX_Y], c[MAX_Y], gates[MAX_GATES];
} Numbers;

typedef struct Case {
    Kind kind;
    Dtype type;
    bool state; /* h_in, c_in and a bias in pre */
    size_t inputs;
    int hidden, batch, steps;
    int64_t len[MAX_BATCH];
    int gates;
    Numbers out, right, naive;
} Case;

/* ---- a case ---- */

static void references(Case *k, const Emulated *q, int b) {
    RefRnnWeights weights;
    const RefRnn a = emulated_problem(q, &weights);
    const int at = b * k->steps * k->hidden;
    const struct {
        Numbers *to;
        bool naive;
    } both[] = {{&k->right, false}, {&k->naive, true}};
    for (size_t i = 0; i < COUNT(both); i++) {
        Numbers *n = both[i].to;
        const RefRnnOut out = {
            .y = n->y + at, .c_steps = n->c + at, .gates = n->gates + k->gates * at};
        if (both[i].naive && k->type == DTYPE_F32) continue;
        assert_int_equal(both[i].naive ? ref_rnn_naive(&a, k->type, &out, NULL)
                                       : ref_rnn(&a, &out, NULL),
                         ST_OK);
    }
}

static void run(Case *k, Defect defect, Random *rng) {
    static Emulated q;
    const Inputs *in = &input_kinds[k->inputs];
    q.type = k->type, q.gru = k->kind != LSTM, q.reset_before = k->kind == GRU_RESET_BEFORE;
    q.hidden = k->hidden, q.gates = k->gates = q.gru ? 3 : 4;
    emulated_weights(&q, in, rng);
    for (int b = 0; b < k->batch; b++) {
        const int at = b * k->steps * k->hidden;
        q.steps = (int)k->len[b];
        if (k->state) emulated_start(&q, rng);
        emulated_pre(&q, in, rng);
        references(k, &q, b);
        emulated_run(&q, defect, k->out.y + at, k->out.c + at, k->out.gates + k->gates * at);
    }
}

/* ---- judging, as rnn_judge.c does ---- */

typedef enum What { Y, C, GATES, WHATS } What;
static const char *const what_names[WHATS] = {"y", "c_out", "gates"};

typedef struct Verdict {
    int64_t rows;
    double worst[WHATS];
    bool coarse; /* c is of the dtype */
} Verdict;

static double *numbers_of(Numbers *n, What what) {
    return what == Y ? n->y : what == C ? n->c : n->gates;
}

/* Every row of y and gates, and c of the last step. */
static double judge_rows(Case *k, What what) {
    const int n = what == GATES ? k->gates * k->hidden : k->hidden;
    const double *ref = numbers_of(&k->right, what), *naive = numbers_of(&k->naive, what);
    const AcceptRows y = {ref, naive, n, k->batch, k->steps, k->len};
    const AcceptSteps begin = what == Y ? accept_begin(k->type, &y) : (AcceptSteps){0};
    double worst = 0;
    for (int b = 0; b < k->batch; b++) {
        AcceptSteps so_far = begin;
        for (int s = 0; s < k->len[b]; s++) {
            const int at = (b * k->steps + s) * n;
            const bool shown = what != C || s == k->len[b] - 1;
            const double *out = shown ? numbers_of(&k->out, what) : ref;
            worst = fmax(worst, accept_step(&so_far, k->type, out + at, ref + at, naive + at,
                                            (size_t)n, NULL));
        }
    }
    return worst;
}

static bool coarse(const Case *k) {
    int64_t cells = 0, finer = 0;
    for (int b = 0; b < k->batch; b++)
        for (int u = 0; u < k->hidden && k->len[b] > 0; u++) {
            const double c = k->out.c[(b * k->steps + k->len[b] - 1) * k->hidden + u];
            cells++;
            finer += c != dtype_round(accept_coarse(k->type), c);
        }
    return k->kind == LSTM && !accept_cells(cells, finer, k->inputs == SATURATED);
}

static Verdict judge(Case *k) {
    Verdict v = {.coarse = coarse(k)};
    for (int b = 0; b < k->batch; b++) v.rows += k->len[b];
    for (What what = 0; what < WHATS; what++)
        if (what != C || k->kind == LSTM) v.worst[what] = judge_rows(k, what);
    return v;
}

static bool refused(const Verdict *v) {
    return v->coarse || v->worst[Y] > 1 || v->worst[C] > 1 || v->worst[GATES] > 1;
}

/* ---- tests ---- */

static int64_t sweep_rows(void) {
    return getenv("SEQTUNE_ALL") ? 100000 : 6000;
}

static void make(Case *k, int64_t i, Random *rng) {
    static const int batches[] = {1, 1, 2, 3, 5, 9};
    k->type = (Dtype)(i % 3);
    k->kind = (Kind)(i / 3 % KINDS);
    k->inputs = (size_t)(i / 9) % COUNT(input_kinds);
    k->hidden = 1 + (int)random_below(rng, ACCEPT_FEW - 1);
    k->batch = batches[random_below(rng, COUNT(batches))];
    k->steps = 1 + (int)random_below(rng, MAX_FEW_STEPS);
    k->state = random_below(rng, 2);
    for (int b = 0; b < k->batch; b++) k->len[b] = random_below(rng, k->steps + 1);
    k->len[0] = k->steps;
}

static void a_correct_kernel_of_few_units_is_never_accused(void **state) {
    (void)state;
    static Case k;
    Random rng = {21};
    int64_t rows = 0, accused = 0;
    double worst[DTYPE_COUNT][WHATS] = {{0}};
    for (int64_t i = 0; rows < sweep_rows(); i++) {
        make(&k, i, &rng);
        run(&k, NONE, &rng);
        const Verdict v = judge(&k);
        rows += v.rows;
        for (What what = 0; what < WHATS; what++)
            worst[k.type][what] = fmax(worst[k.type][what], v.worst[what]);
        if (refused(&v) && accused++ < 20)
            printf("# case %lld: %s, %s, %s, %d units, %d sequences, %d steps, state %d: "
                   "y %.3f, c_out %.3f, gates %.3f%s\n",
                   (long long)i, kind_names[k.kind], dtype_name(k.type), input_kinds[k.inputs].name,
                   k.hidden, k.batch, k.steps, k.state, v.worst[Y], v.worst[C], v.worst[GATES],
                   v.coarse ? ", c of the dtype" : "");
    }
    printf("# %lld false alarms in %lld rows (seed 21); worst error/limit (f16, bf16, f32):\n",
           (long long)accused, (long long)rows);
    for (What what = 0; what < WHATS; what++)
        printf("#   %-6s %.3f %.3f %.3f\n", what_names[what], worst[DTYPE_F16][what],
               worst[DTYPE_BF16][what], worst[DTYPE_F32][what]);
    assert_int_equal(accused, 0);
}

/* Share of cases with normal inputs that the rule refuses. */
static double caught(Defect defect, Kind kind, Dtype type, int hidden, int batch, int cases) {
    static Case k;
    Random rng = {22};
    int hits = 0;
    k = (Case){.kind = kind, .type = type, .state = true, .hidden = hidden, .batch = batch};
    k.steps = 6;
    for (int b = 0; b < batch; b++) k.len[b] = k.steps - b % 2;
    for (int i = 0; i < cases; i++) {
        run(&k, defect, &rng);
        const Verdict v = judge(&k);
        hits += refused(&v);
    }
    return (double)hits / cases;
}

/* The least of 1 to 7 units. */
static double caught_of_few(Defect defect, Kind kind, Dtype type, int batch) {
    double least = 1;
    /* One element of c in the dtype may be an accident. */
    const int first = defect == C_IN_DTYPE && batch == 1 ? 2 : 1;
    for (int hidden = first; hidden < ACCEPT_FEW; hidden++)
        least = fmin(least, caught(defect, kind, type, hidden, batch, 50));
    return least;
}

static void defects_of_few_units_are_refused(void **state) {
    (void)state;
    static const char *const names[DEFECTS] = {[DROP_ONE_UNIT] = "a unit dropped from all products",
                                               [H_OF_STEP_BEFORE] = "stale h in one unit",
                                               [C_IN_DTYPE] = "c in the dtype",
                                               [GATES_SWAPPED] = "gates of one unit swapped",
                                               [BIAS_LEFT_OUT] = "bias of one unit left out"};
    static const int batches[] = {1, 2, 3, 9};
    printf("# share of cases refused (f16 bf16 f32), least of 1 to 7 units, by sequences:\n");
    for (Defect d = DROP_ONE_UNIT; d < DEFECTS; d++)
        for (Kind kind = 0; kind < KINDS; kind++)
            for (size_t i = 0; i < COUNT(batches); i++) {
                if (d == C_IN_DTYPE && kind != LSTM) continue;
                printf("#   %-32s %-17s %d:", names[d], kind_names[kind], batches[i]);
                double least = 1;
                for (Dtype t = 0; t < DTYPE_COUNT; t++) {
                    const double share = caught_of_few(d, kind, t, batches[i]);
                    least = fmin(least, share);
                    printf(" %.2f", share);
                }
                printf("\n");
                /* Of normal biases some are below what the dtype shows. */
                assert_true(least >= (d == BIAS_LEFT_OUT ? 0.9 : 1));
            }
}

static void two_coarse_cells_are_no_accident_unless_saturated(void **state) {
    (void)state;
    assert_true(accept_cells(0, 0, false) && accept_cells(1, 0, false));
    assert_false(accept_cells(2, 0, false));
    assert_true(accept_cells(2, 1, false));
    assert_true(accept_cells(7, 0, true));
    assert_false(accept_cells(8, 0, true));
}

static void rows_of_few_elements_begin_with_the_terms_of_all_sequences(void **state) {
    (void)state;
    /* Two sequences of two steps of one element, the first of one step alone; 9 is past its end. */
    const double ref[4] = {1, 9, 1, 1}, naive[4] = {1, 0, 1, 1.25};
    const int64_t lens[2] = {1, 2};
    const AcceptRows few = {ref, naive, 1, 2, 2, lens}, none = {ref, naive, 1, 1, 2, lens};
    assert_true(accept_begin(DTYPE_F16, &few).cost == 0.25);
    assert_true(accept_begin(DTYPE_F16, &none).cost == 0);
    assert_true(accept_begin(DTYPE_F32, &few).cost == 0);
    double wide_ref[ACCEPT_FEW] = {0}, wide_naive[ACCEPT_FEW] = {1};
    const AcceptRows wide = {wide_ref, wide_naive, ACCEPT_FEW, 1, 1, lens};
    const AcceptRows narrow = {wide_ref, wide_naive, ACCEPT_FEW - 1, 1, 1, lens};
    assert_true(accept_begin(DTYPE_F16, &wide).cost == 0);
    assert_true(accept_begin(DTYPE_F16, &narrow).cost == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_correct_kernel_of_few_units_is_never_accused),
        cmocka_unit_test(defects_of_few_units_are_refused),
        cmocka_unit_test(two_coarse_cells_are_no_accident_unless_saturated),
        cmocka_unit_test(rows_of_few_elements_begin_with_the_terms_of_all_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
