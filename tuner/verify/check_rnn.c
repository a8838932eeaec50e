/* rnn_input, rnn_seq and rnn_cell: every row that is written against the fp64 reference, padded
 * tokens zero, all other bytes as they were; then again, whole, step by step or in chunks that
 * carry the state: to the same bits. */
#include "tuner/verify/check_rnn.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/plan_internal.h"
#include "tuner/verify/rnn_judge.h"

/* ---- running ---- */

static seqtune_device_ptr address(const RnnRun *r, int at, int64_t direction) {
    if (r->b[at].bytes == 0) return 0;
    return guarded_address(&r->b[at]) + (seqtune_device_ptr)((size_t)direction * r->each[at]);
}

/* x and y of a batch of empty sequences: no bytes, but an address. */
static seqtune_device_ptr rows_address(const RnnRun *r, int at, bool wanted) {
    return wanted ? guarded_address(&r->b[at]) : 0;
}

/* `carried`: not the first launch of the run, the state is where the one before left it. */
static void direction_args(const RnnRun *r, int64_t d, bool carried, RnnDirection *a) {
    const bool steps = r->op != RNN_INPUT;
    const int h = rnn_after(r, RNN_AT_H_IN, RNN_AT_H_OUT),
              c = rnn_after(r, RNN_AT_C_IN, RNN_AT_C_OUT);
    const seqtune_device_ptr y = rows_address(r, RNN_AT_Y, steps && !r->c->no_y);
    a->w = address(r, RNN_AT_W, d);
    a->r = address(r, RNN_AT_R, d);
    a->bias = address(r, RNN_AT_BIAS, d);
    a->hidden_bias = address(r, RNN_AT_HIDDEN_BIAS, d);
    a->peephole = address(r, RNN_AT_PEEPHOLE, d);
    a->projection = address(r, RNN_AT_PROJECTION, d);
    a->norm = address(r, RNN_AT_NORM, d);
    a->h_out = h < 0 ? 0 : address(r, h, d);
    a->c_out = c < 0 ? 0 : address(r, c, d);
    a->h_in = carried ? a->h_out : address(r, RNN_AT_H_IN, d);
    a->c_in = carried ? a->c_out : address(r, RNN_AT_C_IN, d);
    a->y = y ? y + (seqtune_device_ptr)((size_t)(d * r->state) * dtype_bytes(r->type)) : 0;
    a->gates = address(r, RNN_AT_GATES, d);
}

static Status launch(RnnRun *r, int64_t first, int64_t steps, Error *err) {
    RnnKernelArgs a = {.size = sizeof a};
    for (int64_t d = 0; d < r->c->directions; d++) direction_args(r, d, first > 0, &a.dir[d]);
    a.x = rows_address(r, RNN_AT_X, r->has_x);
    a.pre = address(r, RNN_AT_PRE, 0);
    a.lens = address(r, RNN_AT_LENS, 0);
    a.cu_seqlens = address(r, RNN_AT_CU, 0);
    a.error = r->c->states == RNN_NO_STATE ? 0 : address(r, RNN_AT_ERROR, 0);
    a.steps = steps;
    a.first_step = first;
    a.total_steps = r->c->steps;
    a.reverse = r->c->reverse;
    a.cell_clip = r->clip ? (float)RNN_CASE_CLIP : 0;
    a.norm_eps = (float)RNN_CASE_EPS;
    const Status status =
        plan_run_rnn_kernel(r->plan, &a, address(r, RNN_AT_WORKSPACE, 0), NULL, err);
    if (status != ST_OK) return status;
    if (seqtune_device_synchronize(r->check->ctx) == SEQTUNE_OK) return ST_OK;
    return err_set(err, ST_DRIVER, "%s", seqtune_last_error(r->check->ctx));
}

static Status upload_start(RnnRun *r, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < RNN_BUFFERS && status == ST_OK; i++) {
        if (i >= RNN_AT_H_IN) memcpy(guarded_image(&r->b[i]), r->start[i], r->b[i].bytes);
        status = guarded_upload(&r->b[i], err);
    }
    return status;
}

/* What came back becomes the result; the image becomes what is wanted. */
static Status download(RnnRun *r, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < RNN_BUFFERS && status == ST_OK; i++) {
        status = guarded_download(&r->b[i], err);
        if (i == RNN_AT_WORKSPACE) /* the kernel's own */
            memcpy(r->want[i], guarded_result(&r->b[i]), r->b[i].bytes);
    }
    return status;
}

static Status untouched(RnnRun *r, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < RNN_BUFFERS && status == ST_OK; i++) {
        if (i >= RNN_AT_H_IN) memcpy(guarded_image(&r->b[i]), r->want[i], r->b[i].bytes);
        status = check_untouched(r->check, r->text, &r->b[i], err);
    }
    return status;
}

/* A chunk's pre [directions, steps, batch, rows] begins where the buffer does. */
static Status load_chunk(RnnRun *r, int64_t first, int64_t steps, Error *err) {
    if (r->op != RNN_SEQ) return ST_OK;
    rnn_case_pre(r, first, steps);
    memcpy(r->want[RNN_AT_PRE], guarded_image(&r->b[RNN_AT_PRE]), r->b[RNN_AT_PRE].bytes);
    return guarded_upload(&r->b[RNN_AT_PRE], err);
}

/* A projected chunk must hold the bits of the whole's. */
static Status compare_chunk(RnnRun *r, int64_t first, int64_t steps, Error *err) {
    const size_t row = (size_t)(r->c->batch * r->pack.rows) * sizeof(float);
    const Status status = guarded_download(&r->b[RNN_AT_PRE], err);
    if (status != ST_OK) return status;
    for (int64_t d = 0; d < r->c->directions; d++)
        for (int64_t s = 0; s < steps; s++) {
            const unsigned char *got =
                (unsigned char *)guarded_result(&r->b[RNN_AT_PRE]) + (size_t)(d * steps + s) * row;
            for (int64_t b = 0; b < r->c->batch; b++) {
                const size_t each = row / (size_t)r->c->batch, at = (size_t)b * each;
                const size_t whole = (size_t)(first + s) * row + at;
                if (first + s >= r->len[b]) continue;
                if (memcmp(got + at, rnn_want(r, RNN_AT_PRE, d) + whole, each) != 0)
                    return check_fail(r->check, r->text, err,
                                      "pre of direction %" PRId64 ", sequence %" PRId64
                                      ", step %" PRId64 " is another in a chunk of %" PRId64
                                      " steps from %" PRId64 " on",
                                      d, b, first + s, steps, first);
            }
        }
    return ST_OK;
}

/* Steps of the next launch: singles, or 2, 3, 5, .. */
static int64_t next_chunk(const RnnRun *r, int64_t first, int64_t before) {
    const int64_t left = r->c->steps - first;
    const int64_t size = r->c->again == RNN_AGAIN_SINGLE_STEPS ? 1 : before + before / 2;
    return size < left ? size : left;
}

static Status run_in_chunks(RnnRun *r, Error *err) {
    Status status = upload_start(r, err);
    int64_t size = 2;
    for (int64_t first = 0; first < r->c->steps && status == ST_OK; first += size) {
        size = first == 0 && r->c->again == RNN_AGAIN_CHUNKS && r->c->steps > 2
                   ? 2
                   : next_chunk(r, first, size);
        status = load_chunk(r, first, size, err);
        if (status == ST_OK) status = launch(r, first, size, err);
        if (status == ST_OK && r->op == RNN_INPUT) status = compare_chunk(r, first, size, err);
    }
    return status;
}

/* ---- a case ---- */

static Status run_whole(RnnRun *r, Error *err) {
    Status status = upload_start(r, err);
    if (status == ST_OK) status = launch(r, 0, r->c->steps, err);
    return status == ST_OK ? download(r, err) : status;
}

static Status again(RnnRun *r, Error *err) {
    if (r->c->again == RNN_AGAIN_WHOLE || r->c->steps < 2) {
        const Status status = run_whole(r, err);
        return status == ST_OK ? untouched(r, err) : status;
    }
    Status status = run_in_chunks(r, err);
    if (status != ST_OK || r->op == RNN_INPUT) return status;
    status = download(r, err);
    return status == ST_OK ? untouched(r, err) : status;
}

static Status wrapped(RnnRun *r, Status status, Error *err) {
    return status == ST_OK || status == ST_WRONG ? status
                                                 : check_broken(r->check, r->text, status, err);
}

static Status judge(RnnRun *r, Error *err) {
    Status status = rnn_case_fill(r, err);
    if (status == ST_OK) status = run_whole(r, err);
    if (status == ST_OK)
        status = r->op == RNN_INPUT ? rnn_judge_projection(r, err) : rnn_judge_steps(r, err);
    if (status == ST_OK) status = untouched(r, err);
    if (status == ST_OK) status = again(r, err);
    return wrapped(r, status, err);
}

static void describe(RnnRun *r) {
    static const char *const states[] = {"none", "out", "both", "in place"};
    static const char *const agains[] = {"whole", "single steps", "chunks"};
    static const char *const lengths[] = {"uniform", "padded", "packed"};
    static const char *const numbers[] = {"normal", "sparse", "wide"};
    const RnnCase *c = r->c;
    snprintf(r->text, sizeof r->text,
             "%s (%s dtype=%s batch=%" PRId64 " steps=%" PRId64 " input=%" PRId64 " hidden=%" PRId64
             " projection=%" PRId64 " directions=%" PRId64
             " reverse=%d lengths=%s state=%s numbers=%s again=%s layout=%d peephole=%d norm=%d "
             "reset_before=%d gates=%d clip=%d)",
             r->check->spec_name, r->gru ? "gru" : "lstm", dtype_name(r->type), c->batch, c->steps,
             r->input, r->hidden, r->projection, c->directions, c->reverse, lengths[r->lengths],
             states[c->states], numbers[c->numbers], agains[c->again], (int)c->layout, r->peephole,
             r->layer_norm, r->reset_before, r->store_gates, r->clip);
}

Status check_rnn_case(Check *check, const RnnCase *c, Error *err) {
    RnnRun r = {.check = check, .c = c};
    PlanDesc desc;
    Status status = rnn_case_shape(&r, err);
    if (status != ST_OK) return status;
    describe(&r);
    rnn_case_describe(&r, &desc);
    status = wrapped(&r, check_plan(check, &desc, &r.plan, err), err);
    if (status == ST_OK && r.plan) {
        check->result->cases++;
        status = judge(&r, err);
    }
    rnn_case_free(&r);
    arena_reset(check->arena);
    return status;
}

/* ---- cases ---- */

/* batch, steps, directions, input, hidden (where they are the run's), reverse, states, numbers,
 * again, layout, no_y, spare */
static const RnnCase quick_steps[] = {
    {3, 5, 1, 0, 0, 0, RNN_STATE_IN_PLACE, RNN_NORMAL, RNN_AGAIN_CHUNKS, RNN_STEP_OUTER_GAPS, 0, 1},
    {9, 3, 1, 0, 0, 1, RNN_NO_STATE, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER, 0, 0},
};
static const RnnCase full_steps[] = {
    {5, 7, 1, 0, 0, 0, RNN_STATE_IN_PLACE, RNN_NORMAL, RNN_AGAIN_SINGLE_STEPS, RNN_STEP_OUTER_GAPS,
     0, 2},
    {9, 6, 1, 0, 0, 1, RNN_STATE_BOTH, RNN_SPARSE, RNN_AGAIN_CHUNKS, RNN_STEP_OUTER, 0, 0},
    {2, 9, 2, 0, 0, 2, RNN_STATE_OUT, RNN_NORMAL, RNN_AGAIN_CHUNKS, RNN_BATCH_OUTER_GAPS, 0, 1},
    {1, 4, 1, 0, 0, 0, RNN_NO_STATE, RNN_WIDE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER_GAPS, 0, 0},
    {17, 2, 2, 0, 0, 1, RNN_STATE_BOTH, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER_GAPS, 0, 0},
    {4, 5, 1, 0, 0, 0, RNN_STATE_OUT, RNN_WIDE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER, 1, 3},
};
static const RnnCase quick_inputs[] = {
    {5, 7, 1, 40, 24, 0, RNN_STATE_BOTH, RNN_NORMAL, RNN_AGAIN_CHUNKS, RNN_STEP_OUTER_GAPS, 0, 1},
    {3, 9, 1, 100, 33, 1, RNN_NO_STATE, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER, 0, 0},
};
static const RnnCase full_inputs[] = {
    {5, 7, 1, 40, 24, 0, RNN_STATE_BOTH, RNN_NORMAL, RNN_AGAIN_CHUNKS, RNN_STEP_OUTER_GAPS, 0, 1},
    {3, 9, 2, 100, 33, 1, RNN_NO_STATE, RNN_SPARSE, RNN_AGAIN_SINGLE_STEPS, RNN_STEP_OUTER, 0, 0},
    {1, 1, 1, 1, 1, 0, RNN_STATE_BOTH, RNN_NORMAL, RNN_AGAIN_WHOLE, RNN_STEP_OUTER_GAPS, 0, 0},
    {17, 11, 2, 65, 100, 2, RNN_STATE_BOTH, RNN_SPARSE, RNN_AGAIN_CHUNKS, RNN_BATCH_OUTER_GAPS, 0,
     2},
    {2, 40, 1, 257, 16, 0, RNN_STATE_BOTH, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER_GAPS, 0, 0},
    {64, 3, 1, 32, 7, 1, RNN_NO_STATE, RNN_NORMAL, RNN_AGAIN_CHUNKS, RNN_STEP_OUTER, 0, 0},
};
static const RnnCase quick_cells[] = {
    {3, 1, 1, 40, 0, 0, RNN_STATE_BOTH, RNN_NORMAL, RNN_AGAIN_WHOLE, RNN_STEP_OUTER_GAPS, 0, 0},
    {9, 1, 1, 33, 0, 0, RNN_STATE_OUT, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER, 0, 0},
};
static const RnnCase full_cells[] = {
    {3, 1, 1, 40, 0, 0, RNN_STATE_BOTH, RNN_NORMAL, RNN_AGAIN_WHOLE, RNN_STEP_OUTER_GAPS, 0, 0},
    {9, 1, 1, 33, 0, 0, RNN_STATE_OUT, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER, 0, 0},
    {1, 1, 1, 1, 0, 0, RNN_STATE_BOTH, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER, 1, 0},
    {4, 1, 2, 100, 0, 2, RNN_STATE_BOTH, RNN_SPARSE, RNN_AGAIN_WHOLE, RNN_STEP_OUTER_GAPS, 0, 0},
    {17, 1, 1, 130, 0, 0, RNN_STATE_BOTH, RNN_WIDE, RNN_AGAIN_WHOLE, RNN_BATCH_OUTER_GAPS, 0, 0},
};

#define CASES(list)                                                                                \
    { list, sizeof(list) / sizeof *(list) }

Status check_rnn(Check *check, RnnOp op, Error *err) {
    static const struct {
        const RnnCase *cases;
        size_t count;
    } lists[RNN_OPS][2] = {
        [RNN_INPUT] = {CASES(quick_inputs), CASES(full_inputs)},
        [RNN_SEQ] = {CASES(quick_steps), CASES(full_steps)},
        [RNN_CELL] = {CASES(quick_cells), CASES(full_cells)},
    };
    const int level = check->level == VERIFY_FULL;
    Status status = ST_OK;
    for (size_t i = 0; i < lists[op][level].count && status == ST_OK; i++)
        status = check_rnn_case(check, &lists[op][level].cases[i], err);
    return status;
}
