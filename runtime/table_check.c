/* SEQTUNE_CHECKED: lengths within the description's maxima, offsets ascending, slots and page ids
 * in the pool. One description of the tables (Tables) serves attention, the KV cache and recurrent
 * layers.
 *
 * Without the flag, on the software GPU: page ids and slots alone, of the keys that the run is sure
 * to touch. What a kernel cuts or leaves out by contract (lengths above the maxima, keys past a
 * row, keys that no window reaches) is no fault there. */
#include "runtime/table_check.h"

#include <limits.h>

#include "base/mem.h"

/* What a run reads on the device (addresses 0: not used) and what its entries must keep to. */
typedef struct Tables {
    st_address cu_q, cu_kv, lens, indptr, pages, slots;
    const char *cu_q_name, *lens_name, *max_kv_name;
    int64_t batch, tokens;     /* tokens: of slots */
    int64_t max_q, max_kv;     /* of one sequence */
    int64_t total_q, total_kv; /* where cu_q, cu_kv end at most */
    int64_t page_size, pool;   /* pages of the pool */
    int64_t table_stride;
    int64_t len_kv; /* of every sequence where lens is 0; longer ones are cut to it */
    bool appends;   /* keys lens[b] .. lens[b] + its tokens are touched, else 0 .. lens[b] */
    bool checked;   /* SEQTUNE_CHECKED; else ids alone */
    const AttnParams *attn; /* the mask; NULL: none */
} Tables;

/* Host copies; NULL: not used. */
typedef struct Copies {
    int *cu_q, *cu_kv, *lens, *indptr;
    int64_t *slots;
} Copies;

typedef struct Offsets {
    const char *name;
    const int *cu;       /* [batch + 1]; NULL: not used */
    int64_t most, total; /* of one sequence, of all */
    bool from_0;
} Offsets;

/* Where copies come from. `peek`: by Driver.Peek, which may refuse; nothing is checked then. */
typedef struct Source {
    const Driver *driver;
    seqtune_stream stream;
    bool peek, refused;
} Source;

static Status fetch(Source *source, st_address from, int64_t count, size_t each, void *out,
                    Error *err) {
    void **const copy = out;
    if (from == 0 || count <= 0 || source->refused) return ST_OK;
    const size_t bytes = (size_t)count * each;
    *copy = mem_alloc(bytes);
    if (*copy == NULL) return err_no_memory(err, bytes);
    const Driver *driver = source->driver;
    if (!source->peek)
        return driver_check(driver, driver->MemcpyDtoH(*copy, from, bytes), "cuMemcpyDtoH", err);
    source->refused = driver->Peek(source->stream, *copy, from, bytes) != CUDA_SUCCESS;
    return ST_OK;
}

/* Offsets of attention begin at 0; of others, tokens before the first are nobody's. */
static Status check_offsets(const Offsets *o, int64_t batch, Error *err) {
    if (o->cu == NULL) return ST_OK;
    if (o->from_0 && o->cu[0] != 0)
        return err_set(err, ST_INVALID, "%s[0] is %d: must be 0", o->name, o->cu[0]);
    for (int64_t b = 0; b < batch; b++) {
        const int64_t len = (int64_t)o->cu[b + 1] - o->cu[b];
        if (o->cu[b] < 0 || len < 0 || len > o->most)
            return err_set(err, ST_INVALID,
                           "%s[%lld] is %d and %s[%lld] is %d: offsets ascend from 0 by at most "
                           "%lld",
                           o->name, (long long)b, o->cu[b], o->name, (long long)b + 1, o->cu[b + 1],
                           (long long)o->most);
    }
    if (o->cu[batch] > o->total)
        return err_set(err, ST_INVALID, "%s[%lld] is %d: must be at most %lld, the tokens", o->name,
                       (long long)batch, o->cu[batch], (long long)o->total);
    return ST_OK;
}

static Status check_lengths(const Tables *t, const Copies *c, Error *err) {
    for (int64_t b = 0; c->lens != NULL && b < t->batch; b++)
        if (c->lens[b] < 0 || c->lens[b] > t->max_kv)
            return err_set(err, ST_INVALID, "%s[%lld] is %d: must be 0..%lld, %s", t->lens_name,
                           (long long)b, c->lens[b], (long long)t->max_kv, t->max_kv_name);
    return ST_OK;
}

/* The keys [*first, *end) of sequence b that some of its queries see. */
static void seen(const Tables *t, const Copies *c, int64_t b, int64_t len, int64_t *first,
                 int64_t *end) {
    const AttnParams *p = t->attn;
    int64_t queries = p->len_q;
    if (c->cu_q != NULL && c->cu_q[b + 1] - (int64_t)c->cu_q[b] < queries)
        queries = c->cu_q[b + 1] - (int64_t)c->cu_q[b];
    if (len > t->len_kv) len = t->len_kv;
    const int64_t own = p->top_left ? 0 : len - queries; /* of query 0 */
    *first = p->window_left >= 0 && own > p->window_left ? own - p->window_left : 0;
    *end = len;
    if (p->window_right >= 0 && own + queries + p->window_right < len)
        *end = own + queries + p->window_right;
    if (queries <= 0) *end = *first;
}

/* The keys [*first, *end) of sequence b that the run touches. */
static void touched(const Tables *t, const Copies *c, int64_t b, int64_t *first, int64_t *end) {
    const int64_t len = c->lens != NULL ? c->lens[b] : t->len_kv;
    *first = 0, *end = len;
    if (t->appends) {
        const int64_t last = c->cu_q[b + 1] < t->tokens ? c->cu_q[b + 1] : t->tokens;
        *first = len, *end = len + last - c->cu_q[b];
    }
    if (!t->checked && t->attn != NULL) seen(t, c, b, len, first, end);
    if (*first < 0) *first = 0; /* of negative lengths: not there */
}

/* The pages of sequence b: where its row begins and how many it has. */
static void row_of(const Tables *t, const Copies *c, int64_t b, int64_t *first, int64_t *count) {
    *first = c->indptr != NULL ? c->indptr[b] : b * t->table_stride;
    *count = c->indptr != NULL ? c->indptr[b + 1] - *first : t->table_stride;
}

static Status check_ids(const Tables *t, const Copies *c, const int *ids, int64_t b, int64_t first,
                        int64_t count, Error *err) {
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= t->pool)
            return err_set(err, ST_INVALID,
                           "%s: page %lld of sequence %lld is %d: must be 0..%lld, the pool",
                           c->indptr != NULL ? "page_indices" : "block_table",
                           (long long)(first + i), (long long)b, ids[i], (long long)t->pool - 1);
    return ST_OK;
}

static Status check_row(Source *source, const Tables *t, const Copies *c, int64_t b, Error *err) {
    int64_t first = 0, end = 0, row = 0, count = 0;
    int *ids = NULL;
    touched(t, c, b, &first, &end);
    row_of(t, c, b, &row, &count);
    if (end <= first) return ST_OK;
    int64_t needed = (end + t->page_size - 1) / t->page_size;
    if (t->checked && count < needed)
        return err_set(err, ST_INVALID,
                       "%s gives sequence %lld %lld pages, its length %lld needs %lld",
                       c->indptr != NULL ? "page_indptr" : "block_table_stride", (long long)b,
                       (long long)count, (long long)end, (long long)needed);
    if (t->appends && needed > count) needed = count; /* the others belong nowhere */
    first /= t->page_size;
    const st_address from = t->pages + (st_address)(row + first) * sizeof *ids;
    Status st = fetch(source, from, needed - first, sizeof *ids, &ids, err);
    if (st == ST_OK && !source->refused) st = check_ids(t, c, ids, b, first, needed - first, err);
    mem_free(ids);
    return st;
}

/* A cache without a table: sequence b is page b. */
static Status check_dense(const Tables *t, const Copies *c, int64_t b, Error *err) {
    int64_t first = 0, end = 0;
    touched(t, c, b, &first, &end);
    if (end <= first || end <= t->page_size) return ST_OK;
    return err_set(
        err, ST_INVALID,
        "sequence %lld has keys %lld..%lld in this run: must be below %lld, page_size of "
        "a dense cache",
        (long long)b, (long long)first, (long long)end - 1, (long long)t->page_size);
}

/* Two tokens in one slot would race; that is the scheduler's to avoid and not looked for here. */
static Status check_slots(const Tables *t, const Copies *c, Error *err) {
    const int64_t most = t->pool * t->page_size - 1;
    for (int64_t i = 0; c->slots != NULL && i < t->tokens; i++)
        if ((t->checked && c->slots[i] < -1) || c->slots[i] > most)
            return err_set(err, ST_INVALID,
                           "slots[%lld] is %lld: must be 0..%lld, the pool, or -1 for none",
                           (long long)i, (long long)c->slots[i], (long long)most);
    return ST_OK;
}

static Status fetch_lengths(Source *source, const Tables *t, Copies *c, Error *err) {
    const struct {
        st_address from;
        int64_t count;
        size_t each;
        void *to;
    } rows[] = {
        {t->cu_q, t->batch + 1, sizeof(int), &c->cu_q},
        {t->cu_kv, t->batch + 1, sizeof(int), &c->cu_kv},
        {t->lens, t->batch, sizeof(int), &c->lens},
        {t->indptr, t->batch + 1, sizeof(int), &c->indptr},
        {t->slots, t->tokens, sizeof(int64_t), &c->slots},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = fetch(source, rows[i].from, rows[i].count, rows[i].each, rows[i].to, err);
    return st;
}

static Status check_lengths_and_offsets(const Tables *t, const Copies *c, Error *err) {
    const bool attention = t->attn != NULL;
    const Offsets rows[] = {
        {t->cu_q_name, c->cu_q, t->max_q, t->total_q, attention},
        {"cu_seqlens_kv", c->cu_kv, t->max_kv, t->total_kv, attention},
        {"page_indptr", c->indptr, t->pool, INT_MAX, false}, /* nobody says how many indices */
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = check_offsets(&rows[i], t->batch, err);
    if (st == ST_OK) st = check_lengths(t, c, err);
    for (int64_t b = 0; t->appends && t->pages == 0 && b < t->batch && st == ST_OK; b++)
        st = check_dense(t, c, b, err);
    return st;
}

static Status check_all(Source *source, const Tables *t, Copies *c, Error *err) {
    Status st = fetch_lengths(source, t, c, err);
    if (st != ST_OK || source->refused) return st;
    if (t->checked) st = check_lengths_and_offsets(t, c, err);
    if (st == ST_OK) st = check_slots(t, c, err);
    for (int64_t b = 0; t->pages != 0 && b < t->batch && st == ST_OK; b++)
        st = check_row(source, t, c, b, err);
    return st;
}

static Status check_tables(const seqtune_plan *plan, const Tables *t, seqtune_stream stream,
                           Error *err) {
    const Driver *driver = plan->ctx->driver;
    Source source = {driver, stream, .peek = !t->checked};
    if (!t->checked && (driver->Peek == NULL || (t->pages == 0 && t->slots == 0))) return ST_OK;
    Copies c = {0};
    bool pushed = false;
    CuResult result = driver_enter(driver, plan->ctx->device.context, &pushed);
    Status st = driver_check(driver, result, "cuCtxPushCurrent", err);
    if (st == ST_OK && t->checked)
        st = driver_check(driver, driver->StreamSynchronize(stream), "cuStreamSynchronize", err);
    if (st == ST_OK) st = check_all(&source, t, &c, err);
    driver_leave(driver, pushed);
    void *const owned[] = {c.cu_q, c.cu_kv, c.lens, c.indptr, c.slots};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) mem_free(owned[i]);
    return st;
}

Status attention_check_tables(const seqtune_plan *plan, const PlanCall *call, seqtune_stream stream,
                              Error *err) {
    const seqtune_attention_desc *d = &plan->desc.u.attention;
    const AttnParams *p = &call->params.attn;
    const Tables tables = {
        .cu_q = p->cu_seqlens_q,
        .cu_kv = p->cu_seqlens_kv,
        .lens = p->lens_kv,
        .indptr = p->page_indptr,
        .pages = p->pages,
        .cu_q_name = "cu_seqlens_q",
        .lens_name = "lens_kv",
        .max_kv_name = "max_len_kv",
        .batch = d->batch,
        .max_q = d->max_len_q,
        .max_kv = d->max_len_kv,
        .total_q = d->total_q,
        .total_kv = d->batch * d->max_len_kv,
        .page_size = d->page_size,
        .pool = d->pages,
        .table_stride = d->block_table_stride,
        .len_kv = p->len_kv,
        .checked = (d->flags & SEQTUNE_CHECKED) != 0,
        .attn = p,
    };
    return check_tables(plan, &tables, stream, err);
}

Status kv_check_tables(const seqtune_plan *plan, const PlanCall *call, seqtune_stream stream,
                       Error *err) {
    const seqtune_kv_desc *d = &plan->desc.u.kv;
    const KvParams *p = &call->params.kv;
    const int64_t capacity = d->pages * d->page_size;
    const Tables tables = {
        .cu_q = p->cu_seqlens,
        .lens = p->lens_kv,
        .indptr = p->page_indptr,
        .pages = p->pages,
        .slots = p->slots,
        .cu_q_name = "cu_seqlens",
        .lens_name = "lens_kv",
        .max_kv_name = "pages * page_size",
        .batch = d->batch,
        .tokens = p->tokens,
        .max_q = p->tokens,
        .max_kv = capacity,
        .total_q = p->tokens,
        .page_size = d->page_size,
        .pool = d->pages,
        .table_stride = d->block_table_stride,
        .appends = true,
        .checked = (d->flags & SEQTUNE_CHECKED) != 0,
    };
    return check_tables(plan, &tables, stream, err);
}

Status rnn_check_tables(const seqtune_plan *plan, const seqtune_rnn_args *args,
                        seqtune_stream stream, Error *err) {
    const seqtune_rnn_desc *d = &plan->desc.u.rnn;
    const Tables tables = {
        .cu_q = args->cu_seqlens,
        .lens = args->lens,
        .cu_q_name = "cu_seqlens",
        .lens_name = "lens",
        .max_kv_name = "max_steps",
        .batch = d->batch,
        .max_q = d->max_steps,
        .max_kv = d->max_steps,
        .total_q = d->total_tokens,
        .checked = true,
    };
    return check_tables(plan, &tables, stream, err);
}
