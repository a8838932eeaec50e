/* The acceptance rule for recurrent outputs against an emulated correct kernel and against the same
 * with one defect: how often the rule accuses the first (it must not), how often it catches the
 * second (docs/verification.md has the figures). accept_rnn_few_test.c has rows of few elements. */
#include <math.h>

#include "tests/base/test.h"
#include "tests/verify/rnn_emulated.h"
#include "tuner/verify/accept.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const Inputs input_kinds[] = {
    {"normal", 1, 1, 0},           {"long memory", 1, 0.5, 4}, {"strong weights", 2, 1, 0},
    {"saturated gates", 1, 12, 0}, {"faint", 0.3, 0.05, 0},
};

/* ---- judging ---- */

typedef struct Verdict {
    int64_t rows, refused;
    double worst;
} Verdict;

static void judge(const Emulated *q, const double *y, Verdict *v) {
    static double ref[MAX_STEPS * MAX_HIDDEN], naive[MAX_STEPS * MAX_HIDDEN];
    RefRnnWeights weights;
    const RefRnn a = emulated_problem(q, &weights);
    const RefRnnOut right = {.y = ref}, low = {.y = naive};
    assert_int_equal(ref_rnn(&a, &right, NULL), ST_OK);
    assert_int_equal(ref_rnn_naive(&a, q->type, &low, NULL), ST_OK);
    AcceptSteps so_far = {0};
    for (int s = 0; s < q->steps; s++) {
        const int at = s * q->hidden;
        const double ratio =
            accept_step(&so_far, q->type, y + at, ref + at, naive + at, (size_t)q->hidden, NULL);
        v->worst = fmax(v->worst, ratio);
        v->refused += ratio > 1;
        v->rows++;
    }
}

static const int hiddens[] = {1, 2, 3, 7, 16, 32, 100, 128};
static const int lengths[] = {1, 2, 3, 8, 33, 128, 512};

static const Inputs *make(Emulated *q, int64_t i, Random *rng) {
    const Inputs *in = &input_kinds[i / 4 % (int64_t)COUNT(input_kinds)];
    q->type = i % 2 ? DTYPE_BF16 : DTYPE_F16;
    q->gru = i / 2 % 2;
    q->gates = q->gru ? 3 : 4;
    q->hidden = hiddens[random_below(rng, COUNT(hiddens))];
    q->steps = lengths[random_below(rng, COUNT(lengths))];
    emulated_weights(q, in, rng);
    emulated_pre(q, in, rng);
    return in;
}

static int64_t sweep_rows(void) {
    return getenv("SEQTUNE_ALL") ? 100000 : 6000;
}

static void a_correct_kernel_is_never_accused(void **state) {
    (void)state;
    static Emulated q;
    static double y[MAX_STEPS * MAX_HIDDEN];
    Random rng = {11};
    int64_t rows = 0, alarms = 0, accused = 0;
    double worst[COUNT(input_kinds)][2] = {{0}};
    for (int64_t i = 0; rows < sweep_rows(); i++) {
        const Inputs *in = make(&q, i, &rng);
        Verdict v = {0};
        emulated_run(&q, NONE, y, NULL, NULL);
        judge(&q, y, &v);
        double *w = &worst[in - input_kinds][q.type];
        *w = fmax(*w, v.worst);
        rows += v.rows;
        alarms += v.refused;
        if (v.refused > 0 && accused++ < 10)
            printf("# sequence %lld: %s, %s, %s, hidden %d, steps %d: %.3f, %lld rows\n",
                   (long long)i, q.gru ? "gru" : "lstm", dtype_name(q.type), in->name, q.hidden,
                   q.steps, v.worst, (long long)v.refused);
    }
    printf("# %lld false alarms in %lld rows (seed 11); worst error/limit (f16, bf16):\n",
           (long long)alarms, (long long)rows);
    for (size_t k = 0; k < COUNT(input_kinds); k++)
        printf("#   %-16s %.3f %.3f\n", input_kinds[k].name, worst[k][0], worst[k][1]);
    assert_int_equal(alarms, 0);
}

/* Share of sequences of 16 steps with normal inputs that the rule refuses. */
static double caught(Defect defect, Dtype type, bool gru, int hidden, int sequences) {
    static Emulated q;
    static double y[MAX_STEPS * MAX_HIDDEN];
    Random rng = {12};
    int hits = 0;
    q.type = type, q.gru = gru, q.gates = gru ? 3 : 4, q.hidden = hidden, q.steps = 16;
    for (int i = 0; i < sequences; i++) {
        Verdict v = {0};
        emulated_weights(&q, &input_kinds[0], &rng);
        emulated_pre(&q, &input_kinds[0], &rng);
        emulated_run(&q, defect, y, NULL, NULL);
        judge(&q, y, &v);
        hits += v.refused > 0;
    }
    return (double)hits / sequences;
}

static void defects_are_noticed_as_often_as_documented(void **state) {
    (void)state;
    static const char *const names[] = {[DROP_ONE_UNIT] = "a unit dropped from all products",
                                        [H_OF_STEP_BEFORE] = "stale h in one unit",
                                        [C_IN_DTYPE] = "c in the dtype",
                                        [GATES_SWAPPED] = "gates of one unit swapped"};
    printf("# share of sequences refused (lstm f16, bf16; gru f16, bf16) by hidden:\n");
    for (int d = DROP_ONE_UNIT; d <= GATES_SWAPPED; d++)
        for (int hidden = 8; hidden <= MAX_HIDDEN; hidden *= 4) {
            double share[4];
            for (int i = 0; i < 4; i++)
                share[i] = caught((Defect)d, i % 2 ? DTYPE_BF16 : DTYPE_F16, i / 2, hidden, 20);
            printf("#   %-34s %3d: %.2f %.2f  %.2f %.2f\n", names[d], hidden, share[0], share[1],
                   share[2], share[3]);
            if (d == GATES_SWAPPED || d == H_OF_STEP_BEFORE)
                assert_true(share[0] > 0.98 && share[2] > 0.98);
        }
}

static void limits_of_steps_are_the_documented_ones(void **state) {
    (void)state;
    const double one[1] = {1}, near[1] = {1 + 0x1p-10}, far[1] = {1 + 0x1p-8};
    AcceptSteps so_far = {0};
    /* Nothing lost so far: one ulp of the row. */
    assert_true(accept_step(&so_far, DTYPE_F16, near, one, one, 1, NULL) == 1);
    assert_true(accept_step(&so_far, DTYPE_F16, far, one, one, 1, NULL) == 4);
    /* What the textbook lost counts twice, and in later steps too. */
    accept_step(&so_far, DTYPE_F16, one, one, far, 1, NULL);
    const double ratio = accept_step(&so_far, DTYPE_F16, far, one, one, 1, NULL);
    assert_true(ratio > 0.4 && ratio <= 0.5);
    const double f32[2] = {1 + 4e-5, 100.006}, want[2] = {1, 100};
    assert_true(accept_step(&so_far, DTYPE_F32, f32, want, NULL, 1, NULL) < 1);
    assert_true(accept_step(&so_far, DTYPE_F32, f32, want, NULL, 2, NULL) > 1);
    const double bad[1] = {(double)NAN};
    assert_true(accept_step(&so_far, DTYPE_F16, bad, one, one, 1, NULL) > 1);
    assert_true(accept_step(&so_far, DTYPE_F32, bad, one, one, 1, NULL) > 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_correct_kernel_is_never_accused),
        cmocka_unit_test(defects_are_noticed_as_often_as_documented),
        cmocka_unit_test(limits_of_steps_are_the_documented_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
