/* Judges what a recurrent kernel wrote; see the header. */
#include "tuner/verify/rnn_judge.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "tuner/verify/accept.h"

/* ---- what the references say, for one direction ---- */

typedef struct Answer {
    double *y, *gates, *c_steps; /* as RefRnnOut */
} Answer;

typedef struct Answers {
    Answer right, naive;
    void *memory;
} Answers;

static double *take(double **at, int64_t n) {
    double *here = *at;
    *at += n;
    return here;
}

static Status ask(RnnRun *r, int64_t direction, Answers *out, Error *err) {
    const RefRnn a = rnn_case_reference(r, direction);
    const int64_t rows = a.steps * a.batch, each = rows * (r->state + r->hidden),
                  gates = r->store_gates ? rows * r->pack.gates * r->hidden : 0;
    const size_t bytes = (size_t)(2 * (each + gates) + 1) * sizeof(double);
    *out = (Answers){.memory = mem_alloc(bytes)};
    if (!out->memory) return err_no_memory(err, bytes);
    double *at = out->memory;
    Answer *both[2] = {&out->right, &out->naive};
    Status status = ST_OK;
    for (int i = 0; i < 2 && status == ST_OK; i++) {
        both[i]->y = take(&at, rows * r->state);
        both[i]->c_steps = take(&at, rows * r->hidden);
        both[i]->gates = gates ? take(&at, gates) : NULL;
        const RefRnnOut to = {
            .y = both[i]->y, .gates = both[i]->gates, .c_steps = both[i]->c_steps};
        if (i == 0) status = ref_rnn(&a, &to, err);
        /* f32 needs no yardstick. */
        if (i == 1 && r->type != DTYPE_F32) status = ref_rnn_naive(&a, r->type, &to, err);
    }
    return status;
}

/* ---- rows ---- */

static unsigned char *result(const RnnRun *r, int at, int64_t direction) {
    return (unsigned char *)guarded_result(&r->b[at]) + (size_t)direction * r->each[at];
}

unsigned char *rnn_want(const RnnRun *r, int at, int64_t direction) {
    return r->want[at] + (size_t)direction * r->each[at];
}

int rnn_after(const RnnRun *r, int in, int out) {
    if (r->b[out].bytes) return out;
    return r->c->states == RNN_STATE_IN_PLACE && r->b[in].bytes ? in : -1;
}

/* `n` accepted elements from element `first` on: they are what is wanted from now on. */
static void adopt(RnnRun *r, int at, int64_t direction, int64_t first, int64_t n, size_t each) {
    memcpy(rnn_want(r, at, direction) + (size_t)first * each,
           result(r, at, direction) + (size_t)first * each, (size_t)n * each);
}

typedef struct Place {
    const char *what;
    int64_t direction, b, step;
} Place;

static Status refuse(RnnRun *r, const Place *p, double ratio, const double *out, const double *ref,
                     int64_t n, Error *err) {
    int64_t worst = 0;
    for (int64_t i = 0; i < n; i++)
        if (isnan(out[i]) || fabs(out[i] - ref[i]) > fabs(out[worst] - ref[worst])) worst = i;
    return check_fail(
        r->check, r->text, err,
        "element %" PRId64 " of %s, direction %" PRId64 ", sequence %" PRId64 " (length %" PRId64
        "), step %" PRId64 ", is %.8g, should be %.8g: the row is off by %.3g times its limit",
        worst, p->what, p->direction, p->b, r->len[p->b], p->step, out[worst], ref[worst], ratio);
}

/* A row against the references, which continue `so_far`. */
static Status judge_row(RnnRun *r, const Place *p, AcceptSteps *so_far, const double *out,
                        const double *ref, const double *naive, int64_t n, Error *err) {
    VerifyResult *v = r->check->result;
    for (int64_t i = 0; i < n && r->type != DTYPE_F32; i++)
        v->max_naive_error = fmax(v->max_naive_error, fabs(naive[i] - ref[i]));
    const double ratio =
        accept_step(so_far, r->type, out, ref, naive, (size_t)n, &v->max_abs_error);
    return check_ratio(r->check, ratio) ? refuse(r, p, ratio, out, ref, n, err) : ST_OK;
}

/* ---- what a run of steps must have written ---- */

/* One sequence and direction in the judging. */
typedef struct Track {
    RnnRun *r;
    const Answers *said;
    int64_t direction, b;
    AcceptSteps h, c, gates;
    int64_t free_cells, finer_cells; /* elements of c_out, and those finer than accept_coarse */
    double *row;                     /* space for one */
} Track;

static Status judge_gates(Track *t, int64_t step, Error *err) {
    RnnRun *r = t->r;
    const RnnPacking *p = &r->pack;
    const int64_t plain = p->gates * r->hidden, index = step * r->c->batch + t->b;
    const Place place = {"gates", t->direction, t->b, step};
    for (int64_t g = 0; g < p->gates; g++)
        for (int64_t u = 0; u < r->hidden; u++)
            t->row[g * r->hidden + u] = dtype_load(r->type, result(r, RNN_AT_GATES, t->direction),
                                                   index * p->rows + rnn_pack_row(p, u, g));
    const double *naive = t->said->naive.gates;
    return judge_row(r, &place, &t->gates, t->row, t->said->right.gates + index * plain,
                     naive ? naive + index * plain : NULL, plain, err);
}

/* c of a step is not written: it only moves the limit of c_out. */
static void move_c(Track *t, int64_t step) {
    const int64_t cell = (step * t->r->c->batch + t->b) * t->r->hidden;
    const double *c = t->said->right.c_steps + cell;
    accept_step(&t->c, t->r->type, c, c, t->said->naive.c_steps + cell, (size_t)t->r->hidden, NULL);
}

/* y of one active step; without y the step only moves the limit. */
static Status judge_step(Track *t, int64_t step, Error *err) {
    RnnRun *r = t->r;
    const int64_t token = rnn_case_token(r, t->direction, t->b, step);
    const int64_t at = (t->b * r->c->steps + token) * r->state;
    const double *ref = t->said->right.y + at, *naive = t->said->naive.y + at;
    const Place place = {"y", t->direction, t->b, step};
    if (!r->gru) move_c(t, step);
    if (r->store_gates) {
        const Status status = judge_gates(t, step, err);
        if (status != ST_OK) return status;
    }
    if (r->b[RNN_AT_Y].bytes == 0) {
        accept_step(&t->h, r->type, ref, ref, naive, (size_t)r->state, NULL);
        return ST_OK;
    }
    const int64_t row = rnn_case_y_row(r, t->direction, t->b, token);
    for (int64_t u = 0; u < r->state; u++)
        t->row[u] = dtype_load(r->type, result(r, RNN_AT_Y, 0), row + u);
    adopt(r, RNN_AT_Y, 0, row, r->state, dtype_bytes(r->type));
    return judge_row(r, &place, &t->h, t->row, ref, naive, r->state, err);
}

/* h after the last step: the bits of the last y, or of h_in. */
static Status judge_h(Track *t, Error *err) {
    RnnRun *r = t->r;
    const int at = rnn_after(r, RNN_AT_H_IN, RNN_AT_H_OUT);
    const size_t each = dtype_bytes(r->type), bytes = (size_t)r->state * each;
    const int64_t length = r->len[t->b], first = t->b * r->state;
    if (at < 0) return ST_OK;
    unsigned char *to = rnn_want(r, at, t->direction) + (size_t)first * each;
    if (length == 0) { /* zeros, or h_in */
        memset(to, 0, bytes);
        if (r->b[RNN_AT_H_IN].bytes)
            memcpy(to,
                   r->start[RNN_AT_H_IN] + (size_t)t->direction * r->each[RNN_AT_H_IN] +
                       (size_t)first * each,
                   bytes);
        return ST_OK;
    }
    const int64_t token = rnn_case_token(r, t->direction, t->b, length - 1);
    if (r->b[RNN_AT_Y].bytes) {
        const int64_t row = rnn_case_y_row(r, t->direction, t->b, token);
        memcpy(to, result(r, RNN_AT_Y, 0) + (size_t)row * each, bytes);
        return ST_OK;
    }
    const int64_t y = (t->b * r->c->steps + token) * r->state;
    const Place place = {"h_out", t->direction, t->b, length - 1};
    for (int64_t u = 0; u < r->state; u++)
        t->row[u] = dtype_load(r->type, result(r, at, t->direction), first + u);
    adopt(r, at, t->direction, first, r->state, each);
    return judge_row(r, &place, &t->h, t->row, t->said->right.y + y, t->said->naive.y + y, r->state,
                     err);
}

static Status judge_c(Track *t, Error *err) {
    RnnRun *r = t->r;
    const int at = rnn_after(r, RNN_AT_C_IN, RNN_AT_C_OUT);
    const int64_t length = r->len[t->b], first = t->b * r->hidden;
    if (at < 0) return ST_OK;
    float *to = (float *)(void *)rnn_want(r, at, t->direction) + first;
    if (length == 0) {
        const size_t bytes = (size_t)r->hidden * sizeof *to;
        memset(to, 0, bytes);
        if (r->b[RNN_AT_C_IN].bytes)
            memcpy(to,
                   r->start[RNN_AT_C_IN] + (size_t)t->direction * r->each[RNN_AT_C_IN] +
                       (size_t)first * sizeof *to,
                   bytes);
        return ST_OK;
    }
    const int64_t cell = ((length - 1) * r->c->batch + t->b) * r->hidden;
    const Place place = {"c_out", t->direction, t->b, length - 1};
    for (int64_t u = 0; u < r->hidden; u++) {
        t->row[u] = dtype_load(DTYPE_F32, result(r, at, t->direction), first + u);
        /* A clipped c may well be a number of the dtype. */
        if (r->clip && fabs(t->row[u]) == RNN_CASE_CLIP) continue;
        t->free_cells++;
        t->finer_cells += t->row[u] != dtype_round(accept_coarse(r->type), t->row[u]);
    }
    adopt(r, at, t->direction, first, r->hidden, sizeof *to);
    return judge_row(r, &place, &t->c, t->row, t->said->right.c_steps + cell,
                     t->said->naive.c_steps + cell, r->hidden, err);
}

/* Padded tokens are +0; slots of gates that no active unit has may hold anything. */
static void expect_padding(RnnRun *r, int64_t direction, int64_t b) {
    const size_t each = dtype_bytes(r->type);
    for (int64_t t = r->len[b]; t < r->c->steps && r->lengths != RNN_PACKED; t++)
        if (r->b[RNN_AT_Y].bytes)
            memset(r->want[RNN_AT_Y] + (size_t)rnn_case_y_row(r, direction, b, t) * each, 0,
                   (size_t)r->state * each);
    for (int64_t s = 0; s < r->c->steps && r->store_gates; s++)
        adopt(r, RNN_AT_GATES, direction, (s * r->c->batch + b) * r->pack.rows, r->pack.rows, each);
}

static Status judge_sequence(Track *t, Error *err) {
    Status status = ST_OK;
    for (int64_t s = 0; s < t->r->len[t->b] && status == ST_OK; s++) status = judge_step(t, s, err);
    if (status == ST_OK) status = judge_h(t, err);
    if (status == ST_OK && !t->r->gru) status = judge_c(t, err);
    if (status == ST_OK) expect_padding(t->r, t->direction, t->b);
    return status;
}

static Status judge_direction(RnnRun *r, int64_t direction, const Answers *said, double *row,
                              Error *err) {
    /* Rows lie by token: the active ones are the first of a sequence in a reverse direction too. */
    const AcceptRows y = {said->right.y, said->naive.y, r->state, r->c->batch, r->c->steps, r->len};
    const AcceptSteps begin = accept_begin(r->type, &y);
    int64_t cells = 0, finer = 0;
    Status status = ST_OK;
    for (int64_t b = 0; b < r->c->batch && status == ST_OK; b++) {
        Track t = {.r = r, .said = said, .direction = direction, .b = b, .row = row};
        t.h = begin;
        status = judge_sequence(&t, err);
        cells += t.free_cells;
        finer += t.finer_cells;
    }
    if (status == ST_OK && !accept_cells(cells, finer, r->c->numbers == RNN_WIDE))
        status = check_fail(r->check, r->text, err,
                            "all %" PRId64 " elements of c_out, direction %" PRId64
                            ", are numbers of %s: c was not kept in fp32",
                            cells, direction, dtype_name(accept_coarse(r->type)));
    return status;
}

Status rnn_judge_steps(RnnRun *r, Error *err) {
    Status status = ST_OK;
    double *row = mem_alloc((size_t)(r->pack.rows + r->state) * sizeof *row);
    if (!row) return err_no_memory(err, (size_t)(r->pack.rows + r->state) * sizeof *row);
    for (int64_t d = 0; d < r->c->directions && status == ST_OK; d++) {
        Answers said;
        status = ask(r, d, &said, err);
        if (status == ST_OK) status = judge_direction(r, d, &said, row, err);
        mem_free(said.memory);
    }
    mem_free(row);
    return status;
}

/* ---- what an input projection must have written ---- */

/* Half an ulp for each of the products and sums that a truncating tensor core does per step of 16,
 * doubled; the bias, the order of sums and the first rounding are in the constant. */
static double projection_limit(const RnnRun *r, double magnitude) {
    return (8 + (double)r->input / 8) * 0x1p-23 * magnitude;
}

/* One row of pre: every unit by its own limit, paddings exactly 0. */
static Status judge_projected(RnnRun *r, const Place *p, const double *ref, const double *sizes,
                              double *out, Error *err) {
    const RnnPacking *k = &r->pack;
    const int64_t plain = k->gates * r->hidden;
    const int64_t at = (p->step * r->c->batch + p->b) * k->rows;
    const float *row = (const float *)(void *)result(r, RNN_AT_PRE, p->direction) + at;
    double worst = 0;
    for (int64_t i = 0; i < plain; i++) {
        out[i] = (double)row[rnn_pack_row(k, i % r->hidden, i / r->hidden)];
        const double error = fabs(out[i] - ref[i]);
        if (isnan(error)) worst = (double)INFINITY;
        r->check->result->max_abs_error = fmax(r->check->result->max_abs_error, error);
        if (error > 0) worst = fmax(worst, error / projection_limit(r, sizes[i]));
    }
    for (int64_t u = r->hidden; u < k->units_pad; u++)
        for (int64_t g = 0; g < k->gates; g++)
            if (row[rnn_pack_row(k, u, g)] != 0)
                return check_fail(r->check, r->text, err,
                                  "pre of gate %" PRId64 " of unit %" PRId64
                                  ", which is padding, is %g: must be 0 (sequence %" PRId64
                                  ", step %" PRId64 ")",
                                  g, u, (double)row[rnn_pack_row(k, u, g)], p->b, p->step);
    adopt(r, RNN_AT_PRE, p->direction, at, k->rows, sizeof *row);
    return check_ratio(r->check, worst) ? refuse(r, p, worst, out, ref, plain, err) : ST_OK;
}

typedef struct Projector {
    double *w_size, *bias_size, *x_size; /* absolute values */
    double *ref, *size, *out;            /* a row each */
} Projector;

static void absolute(const double *from, int64_t n, double *to) {
    for (int64_t i = 0; i < n; i++) to[i] = fabs(from[i]);
}

static Status project_direction(RnnRun *r, int64_t d, const Projector *k, Error *err) {
    const RefRnnWeights *weights = &r->ref[d].weights;
    const int64_t plain = r->pack.gates * r->hidden;
    Status status = ST_OK;
    absolute(weights->w, plain * r->input, k->w_size);
    if (weights->bias) absolute(weights->bias, plain, k->bias_size);
    for (int64_t b = 0; b < r->c->batch; b++)
        for (int64_t s = 0; s < r->c->steps && status == ST_OK; s++) {
            const Place place = {"pre", d, b, s};
            if (s >= r->len[b]) { /* nobody reads it */
                adopt(r, RNN_AT_PRE, d, (s * r->c->batch + b) * r->pack.rows, r->pack.rows, 4);
                continue;
            }
            const int64_t token = rnn_case_token(r, d, b, s);
            const double *x = r->x + (b * r->c->steps + token) * r->input;
            absolute(x, r->input, k->x_size);
            ref_rnn_project(1, r->input, plain, weights->w, weights->bias, x, k->ref);
            ref_rnn_project(1, r->input, plain, k->w_size, weights->bias ? k->bias_size : NULL,
                            k->x_size, k->size);
            status = judge_projected(r, &place, k->ref, k->size, k->out, err);
        }
    return status;
}

Status rnn_judge_projection(RnnRun *r, Error *err) {
    const int64_t plain = r->pack.gates * r->hidden;
    const size_t doubles = (size_t)(plain * r->input + r->input + 4 * plain);
    double *at = mem_alloc(doubles * sizeof *at);
    if (!at) return err_no_memory(err, doubles * sizeof *at);
    double *const memory = at;
    Projector k;
    k.w_size = take(&at, plain * r->input);
    k.x_size = take(&at, r->input);
    k.bias_size = take(&at, plain);
    k.ref = take(&at, plain);
    k.size = take(&at, plain);
    k.out = take(&at, plain);
    Status status = ST_OK;
    for (int64_t d = 0; d < r->c->directions && status == ST_OK; d++)
        status = project_direction(r, d, &k, err);
    mem_free(memory);
    return status;
}
