/* The acceptance rules; docs/verification.md derives them and records how often they are wrong. */
#include "tuner/verify/accept.h"

#include <math.h>

/* fp32 arithmetic before the last step may be off by this much of the magnitude that it went
 * through: sums over head_dim and over keys, ex2.approx and lg2.approx (2 ulp each), the fold of
 * log2(e) into the scale (1 ulp), truncating tensor cores (1 ulp per step of 16). 16 ulp covers
 * head_dim 256 with room; a wrong base, scale or key is larger by orders of magnitude. */
static const double fp32_slack = 16 * 0x1p-23;

static double ratio(double error, double limit) {
    if (isnan(error)) return (double)INFINITY;
    if (error == 0) return 0;
    return error / limit;
}

static double moved(Dtype type, double ref) {
    return fabs(dtype_round(type, dtype_round(type, ref + 0.3) - 0.3) - ref);
}

double accept_row_limit(Dtype type, double factor, const double *ref, const double *naive,
                        size_t n) {
    double cost = 0, shift = 0, top = 0;
    for (size_t d = 0; d < n; d++) {
        cost = fmax(cost, fabs(naive[d] - ref[d]));
        shift = fmax(shift, moved(type, ref[d]));
        top = fmax(top, fabs(ref[d]));
    }
    return fmax(factor * cost + 2 * shift, dtype_ulp(type, top));
}

double accept_row(Dtype type, double factor, const double *out, const double *ref,
                  const double *naive, size_t n, double *error) {
    double worst = 0;
    for (size_t d = 0; d < n; d++) {
        const double e = fabs(out[d] - ref[d]);
        if (isnan(e)) return (double)INFINITY;
        worst = fmax(worst, e);
    }
    if (error) *error = fmax(*error, worst);
    return ratio(worst, accept_row_limit(type, factor, ref, naive, n));
}

/* PyTorch's own bound for an LSTM on two devices (its test of CPU against cuDNN). */
static const double f32_tolerance = 5e-5;

static double accept_step_f32(const double *out, const double *ref, size_t n, double *error) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double e = fabs(out[i] - ref[i]);
        if (isnan(e)) return (double)INFINITY;
        if (error) *error = fmax(*error, e);
        worst = fmax(worst, e / (f32_tolerance * fmax(1, fabs(ref[i]))));
    }
    return worst;
}

static void take_terms(AcceptSteps *so_far, Dtype type, const double *ref, const double *naive,
                       size_t n) {
    for (size_t i = 0; i < n; i++) {
        so_far->cost = fmax(so_far->cost, fabs(naive[i] - ref[i]));
        so_far->shift = fmax(so_far->shift, moved(type, ref[i]));
    }
}

AcceptSteps accept_begin(Dtype type, const AcceptRows *y) {
    AcceptSteps terms = {0};
    if (type == DTYPE_F32 || y->n >= ACCEPT_FEW) return terms;
    for (int64_t b = 0; b < y->sequences; b++) {
        const int64_t at = b * y->steps * y->n;
        take_terms(&terms, type, y->ref + at, y->naive + at, (size_t)(y->lens[b] * y->n));
    }
    return terms;
}

double accept_step(AcceptSteps *so_far, Dtype type, const double *out, const double *ref,
                   const double *naive, size_t n, double *error) {
    double worst = 0, top = 0;
    if (type == DTYPE_F32) return accept_step_f32(out, ref, n, error);
    for (size_t i = 0; i < n; i++) {
        const double e = fabs(out[i] - ref[i]);
        if (isnan(e)) return (double)INFINITY;
        worst = fmax(worst, e);
        top = fmax(top, fabs(ref[i]));
    }
    take_terms(so_far, type, ref, naive, n);
    if (error) *error = fmax(*error, worst);
    const double limit = ACCEPT_FACTOR * so_far->cost + 2 * so_far->shift;
    return ratio(worst, fmax(limit, dtype_ulp(type, top)));
}

Dtype accept_coarse(Dtype type) {
    return type == DTYPE_F32 ? DTYPE_F16 : type;
}

bool accept_cells(int64_t cells, int64_t finer, bool saturated) {
    /* One in 2^13 numbers of fp32 is one of f16: two are no accident, one could be. */
    const int64_t enough = saturated ? 8 : 2;
    return cells < enough || finer > 0;
}

double accept_lse(double out, double ref, double magnitude, double score_error) {
    if (isinf(ref)) return out == ref ? 0 : (double)INFINITY;
    return ratio(fabs(out - ref), fp32_slack * (1 + fabs(ref) + magnitude) + score_error);
}

double accept_rounded(Dtype type, double out, double ref, double magnitude, double steps) {
    /* Half an ulp for the rounding; the fp32 error may also move the result over a rounding
     * boundary: that is inside the same bound. */
    const double limit = 0.5 * dtype_ulp(type, ref) + steps * 0x1p-23 * magnitude;
    return ratio(fabs(out - ref), limit);
}

double accept_rope(Dtype type, double out, double ref, double magnitude) {
    /* Two fp32 products and a sum err by 2 ulp of fp32 at most. */
    return accept_rounded(type, out, ref, magnitude, 4);
}

double accept_share(Dtype type, double out, double count) {
    return ratio(fabs(out - 1 / count), dtype_ulp(type, 1 / count));
}
