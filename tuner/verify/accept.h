/* The acceptance rules: how far from the reference a result may be (docs/verification.md).
 *
 * Each function returns error / limit: up to 1 passes, a NaN anywhere gives infinity. Nothing here
 * knows devices or kernels. */
#ifndef SEQTUNE_TUNER_VERIFY_ACCEPT_H
#define SEQTUNE_TUNER_VERIFY_ACCEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuner/verify/dtype.h"

/* Factor on the naive term; scores bent by tanh lose more. */
#define ACCEPT_FACTOR          2.0
#define ACCEPT_FACTOR_SOFT_CAP 3.0

/* One row of an attention output: the largest error that is accepted,
 *   factor * max|naive - ref| + 2 * max|r16(r16(ref + 0.3) - 0.3) - ref|
 * but at least one ulp of the row's maximum. Returns the limit. */
double accept_row_limit(Dtype type, double factor, const double *ref, const double *naive,
                        size_t n);

/* max|out - ref| over the row's limit. *error (may be NULL) is raised to the row's error. */
double accept_row(Dtype type, double factor, const double *out, const double *ref,
                  const double *naive, size_t n, double *error);

/* h of one sequence and direction, step after step. An error in h goes on into all later steps, and
 * at one step the textbook's may be small by luck (with few units it often is): the terms of the
 * rule of a row are the largest so far. Begin with {0}. */
typedef struct AcceptSteps {
    double cost, shift; /* max|naive - ref|, max|r16(r16(ref + 0.3) - 0.3) - ref| of steps so far */
} AcceptSteps;

/* y of a case and direction, [sequences, steps, n], of which lens[b] steps count. */
typedef struct AcceptRows {
    const double *ref, *naive;
    int64_t n, sequences, steps;
    const int64_t *lens;
} AcceptRows;

/* Where the terms of h begin: at 0, but with rows of fewer than ACCEPT_FEW elements at the largest
 * of all sequences. Such a row tells little of what the dtype costs: by luck the textbook is right
 * in all of it. Rows of c and of gates do without (accept_rnn_few_test.c). */
enum { ACCEPT_FEW = 8 };
AcceptSteps accept_begin(Dtype type, const AcceptRows *y);

/* Error / limit of the next step's n elements; f32: 5e-5 * max(1, |ref|) each, naive is not used.
 * The limit of a 16-bit type is at least one ulp of the largest element of the row. */
double accept_step(AcceptSteps *so_far, Dtype type, const double *out, const double *ref,
                   const double *naive, size_t n, double *error);

/* What c must be finer than: the 16-bit dtype, for f32 f16. */
Dtype accept_coarse(Dtype type);

/* False: c was not kept in fp32, for of its `cells` elements none is finer than accept_coarse.
 * `saturated`: gates of exactly 0 and 1 make c a small integer. */
bool accept_cells(int64_t cells, int64_t finer, bool saturated);

/* LSE in fp32. `magnitude` is the largest sum of |q k| * scale of the row's keys: what the fp32
 * sums of the scores went through. `score_error`: how far the kernel's definition lets a score be
 * off (0; half an ulp of the dtype for the textbook kernels, which store S in it); the LSE moves by
 * at most that. An infinite reference wants the same infinity. */
double accept_lse(double out, double ref, double magnitude, double score_error);

/* One element computed in fp32 from terms whose absolute values sum to `magnitude`, by steps that
 * err by `steps` ulp of fp32 in all, then rounded once. */
double accept_rounded(Dtype type, double out, double ref, double magnitude, double steps);

/* One rotated element: computed in fp32 from terms whose absolute values sum to `magnitude`, then
 * rounded once. */
double accept_rope(Dtype type, double out, double ref, double magnitude);

/* p = 1 / count after one rounding to `type` and fp32 arithmetic before it: within one ulp. */
double accept_share(Dtype type, double out, double count);

#endif
