/* The acceptance rule for recurrent outputs against an emulated correct kernel (fp32 sums, c and
 * pre-activations, h rounded once per step) and against the same with one defect: how often the
 * rule accuses the first (it must not), how often it catches the second (docs/verification.md has
 * the figures). */
#include <math.h>

#include "tests/base/test.h"
#include "tuner/verify/accept.h"
#include "tuner/verify/random.h"
#include "tuner/verify/rnn_reference.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MAX_HIDDEN = 128, MAX_STEPS = 512, MAX_ROWS = 4 * MAX_HIDDEN };

typedef enum Defect {
    NONE,
    DROP_ONE_UNIT,    /* the last of a product */
    H_OF_STEP_BEFORE, /* for one unit */
    C_IN_DTYPE,
    GATES_SWAPPED /* of one unit: f and o, r and z */
} Defect;

/* How far weights reach: a fading memory, one that lasts, one that is nearly chaotic. */
typedef struct Inputs {
    const char *name;
    double weights, pre, forget;
} Inputs;

static const Inputs input_kinds[] = {
    {"normal", 1, 1, 0},           {"long memory", 1, 0.5, 4}, {"strong weights", 2, 1, 0},
    {"saturated gates", 1, 12, 0}, {"faint", 0.3, 0.05, 0},
};

typedef struct Sequence {
    Dtype type;
    bool gru;
    int hidden, steps, gates;
    double r[MAX_ROWS * MAX_HIDDEN], bias[MAX_ROWS], pre[MAX_STEPS * MAX_ROWS];
} Sequence;

/* Numbers a kernel would get: R of the dtype, the rest fp32. */
static void fill(Sequence *q, const Inputs *in, Random *rng) {
    const int rows = q->gates * q->hidden;
    const double spread = in->weights / sqrt((double)q->hidden);
    for (int i = 0; i < rows * q->hidden; i++)
        q->r[i] = dtype_round(q->type, spread * random_normal(rng));
    /* The GRU's: of n, inside the reset product. */
    for (int i = 0; i < rows; i++)
        q->bias[i] = q->gru && i >= 2 * q->hidden ? (double)(float)(0.3 * random_normal(rng)) : 0;
    for (int i = 0; i < q->steps * rows; i++) {
        const bool keeps = i % rows / q->hidden == 1; /* f, or z */
        q->pre[i] = (double)(float)(in->pre * random_normal(rng) + (keeps ? in->forget : 0));
    }
}

/* ---- the emulated kernel ---- */

static float sigmoid32(float x) {
    return 1 / (1 + expf(-x));
}

static void sums(const Sequence *q, const float *h, const float *before, Defect defect,
                 float *out) {
    const int n = q->hidden;
    for (int row = 0; row < q->gates * n; row++) {
        float sum = 0;
        const bool stale = defect == H_OF_STEP_BEFORE && row % n == 0;
        for (int k = 0; k < n - (defect == DROP_ONE_UNIT); k++)
            sum += (float)q->r[row * n + k] * (stale ? before : h)[k];
        out[row] = sum;
    }
}

static float lstm_unit(const Sequence *q, const float *x, const float *h, int u, float *c,
                       Defect defect) {
    const int n = q->hidden;
    float a[4];
    for (int g = 0; g < 4; g++) a[g] = x[g * n + u] + h[g * n + u];
    const bool swapped = defect == GATES_SWAPPED && u == 0;
    const float f = sigmoid32(a[swapped ? 3 : 1]), o = sigmoid32(a[swapped ? 1 : 3]);
    *c = f * *c + sigmoid32(a[0]) * tanhf(a[2]);
    if (defect == C_IN_DTYPE) *c = (float)dtype_round(q->type, (double)*c);
    return o * tanhf(*c);
}

static float gru_unit(const Sequence *q, const float *x, const float *h, int u, float old,
                      Defect defect) {
    const int n = q->hidden;
    const float a = sigmoid32(x[u] + h[u]), b = sigmoid32(x[n + u] + h[n + u]);
    const bool swapped = defect == GATES_SWAPPED && u == 0;
    const float r = swapped ? b : a, z = swapped ? a : b;
    const float fresh = tanhf(x[2 * n + u] + r * (h[2 * n + u] + (float)q->bias[2 * n + u]));
    return z * old + (1 - z) * fresh;
}

static void kernel(const Sequence *q, Defect defect, double *y) {
    static float h[MAX_HIDDEN], before[MAX_HIDDEN], c[MAX_HIDDEN], from_h[MAX_ROWS], x[MAX_ROWS];
    memset(h, 0, sizeof h), memset(before, 0, sizeof before), memset(c, 0, sizeof c);
    const int n = q->hidden, rows = q->gates * n;
    for (int s = 0; s < q->steps; s++) {
        sums(q, h, before, defect, from_h);
        for (int i = 0; i < rows; i++) x[i] = (float)q->pre[s * rows + i];
        memcpy(before, h, sizeof h);
        for (int u = 0; u < n; u++) {
            const float fresh = q->gru ? gru_unit(q, x, from_h, u, h[u], defect)
                                       : lstm_unit(q, x, from_h, u, &c[u], defect);
            h[u] = (float)(y[s * n + u] = dtype_round(q->type, (double)fresh));
        }
    }
}

/* ---- judging ---- */

typedef struct Verdict {
    int64_t rows, refused;
    double worst;
} Verdict;

static void judge(const Sequence *q, const double *y, Verdict *v) {
    static double ref[MAX_STEPS * MAX_HIDDEN], naive[MAX_STEPS * MAX_HIDDEN];
    const RefRnnWeights weights = {.r = q->r, .hidden_bias = q->bias};
    const RefRnn a = {.gru = q->gru,
                      .batch = 1,
                      .steps = q->steps,
                      .hidden = q->hidden,
                      .weights = &weights,
                      .pre = q->pre};
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

static const Inputs *make(Sequence *q, int64_t i, Random *rng) {
    const Inputs *in = &input_kinds[i / 4 % (int64_t)COUNT(input_kinds)];
    q->type = i % 2 ? DTYPE_BF16 : DTYPE_F16;
    q->gru = i / 2 % 2;
    q->gates = q->gru ? 3 : 4;
    q->hidden = hiddens[random_below(rng, COUNT(hiddens))];
    q->steps = lengths[random_below(rng, COUNT(lengths))];
    fill(q, in, rng);
    return in;
}

static int64_t sweep_rows(void) {
    return getenv("SEQTUNE_ALL") ? 100000 : 6000;
}

static void a_correct_kernel_is_never_accused(void **state) {
    (void)state;
    static Sequence q;
    static double y[MAX_STEPS * MAX_HIDDEN];
    Random rng = {11};
    int64_t rows = 0, alarms = 0, accused = 0;
    double worst[COUNT(input_kinds)][2] = {{0}};
    for (int64_t i = 0; rows < sweep_rows(); i++) {
        const Inputs *in = make(&q, i, &rng);
        Verdict v = {0};
        kernel(&q, NONE, y);
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
    static Sequence q;
    static double y[MAX_STEPS * MAX_HIDDEN];
    Random rng = {12};
    int hits = 0;
    q.type = type, q.gru = gru, q.gates = gru ? 3 : 4, q.hidden = hidden, q.steps = 16;
    for (int i = 0; i < sequences; i++) {
        Verdict v = {0};
        fill(&q, &input_kinds[0], &rng);
        kernel(&q, defect, y);
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
