/* SEQTUNE_CHECKED: lengths within the description's maxima, offsets ascending, slots and page ids
 * in the pool. One description of the tables (Tables) serves attention and the KV cache. */
#include "runtime/table_check.h"

#include "base/mem.h"

/* What a run reads on the device (addresses 0: not used) and what its entries must keep to. */
typedef struct Tables {
    st_address cu_q, cu_kv, lens, indptr, pages, slots;
    const char *cu_q_name;
    int64_t batch, tokens;   /* tokens: of slots; the last cu_q is at most this */
    int64_t max_q, max_kv;   /* of one sequence */
    int64_t page_size, pool; /* pages of the pool */
    int64_t table_stride;
    int64_t len_kv; /* of every sequence where lens is 0 */
    bool appends;   /* keys lens[b] .. lens[b] + its tokens are touched, else 0 .. lens[b] */
} Tables;

/* Host copies; NULL: not used. */
typedef struct Copies {
    int *cu_q, *cu_kv, *lens, *indptr, *pages;
    int64_t *slots;
} Copies;

static Status fetch(const Driver *driver, st_address from, int64_t count, size_t each, void *out,
                    Error *err) {
    void **const copy = out;
    if (from == 0 || count <= 0) return ST_OK;
    const size_t bytes = (size_t)count * each;
    *copy = mem_alloc(bytes);
    if (*copy == NULL) return err_no_memory(err, bytes);
    return driver_check(driver, driver->MemcpyDtoH(*copy, from, bytes), "cuMemcpyDtoH", err);
}

static Status check_offsets(const char *name, const int *cu, int64_t batch, int64_t most,
                            Error *err) {
    for (int64_t b = 0; cu != NULL && b < batch; b++) {
        const int64_t len = (int64_t)cu[b + 1] - cu[b];
        if (cu[b] < 0 || len < 0 || len > most)
            return err_set(err, ST_INVALID,
                           "%s[%lld] is %d and %s[%lld] is %d: offsets ascend from 0 by at most "
                           "%lld",
                           name, (long long)b, cu[b], name, (long long)b + 1, cu[b + 1],
                           (long long)most);
    }
    return ST_OK;
}

static Status check_lengths(const Tables *t, const Copies *c, Error *err) {
    for (int64_t b = 0; c->lens != NULL && b < t->batch; b++)
        if (c->lens[b] < 0 || c->lens[b] > t->max_kv)
            return err_set(err, ST_INVALID, "lens_kv[%lld] is %d: must be 0..%lld, max_len_kv",
                           (long long)b, c->lens[b], (long long)t->max_kv);
    return ST_OK;
}

/* The keys [*first, *end) of sequence b that the run touches. */
static void touched(const Tables *t, const Copies *c, int64_t b, int64_t *first, int64_t *end) {
    const int64_t len = c->lens != NULL ? c->lens[b] : t->len_kv;
    *first = t->appends ? len : 0;
    *end = t->appends ? len + (c->cu_q[b + 1] - c->cu_q[b]) : len;
}

/* The pages of sequence b: where its row begins and how many it has. */
static void row_of(const Tables *t, const Copies *c, int64_t b, int64_t *first, int64_t *count) {
    *first = c->indptr != NULL ? c->indptr[b] : b * t->table_stride;
    *count = c->indptr != NULL ? c->indptr[b + 1] - *first : t->table_stride;
}

static Status check_row(const Tables *t, const Copies *c, int64_t b, Error *err) {
    const char *name = c->indptr != NULL ? "page_indices" : "block_table";
    int64_t first = 0, end = 0, row = 0, count = 0;
    touched(t, c, b, &first, &end);
    row_of(t, c, b, &row, &count);
    const int64_t needed = (end + t->page_size - 1) / t->page_size;
    if (end > first && count < needed)
        return err_set(err, ST_INVALID,
                       "%s gives sequence %lld %lld pages, its length %lld needs %lld",
                       c->indptr != NULL ? "page_indptr" : "block_table_stride", (long long)b,
                       (long long)count, (long long)end, (long long)needed);
    for (int64_t i = first / t->page_size; end > first && i < needed; i++) {
        const int id = c->pages[row + i];
        if (id < 0 || id >= t->pool)
            return err_set(err, ST_INVALID,
                           "%s: page %lld of sequence %lld is %d: must be 0..%lld, the pool", name,
                           (long long)i, (long long)b, id, (long long)t->pool - 1);
    }
    return ST_OK;
}

/* Two tokens in one slot would race; that is the scheduler's to avoid and not looked for here. */
static Status check_slots(const Tables *t, const Copies *c, Error *err) {
    const int64_t most = t->pool * t->page_size - 1;
    for (int64_t i = 0; c->slots != NULL && i < t->tokens; i++)
        if (c->slots[i] < -1 || c->slots[i] > most)
            return err_set(err, ST_INVALID,
                           "slots[%lld] is %lld: must be 0..%lld, the pool, or -1 for none",
                           (long long)i, (long long)c->slots[i], (long long)most);
    return ST_OK;
}

static Status fetch_lengths(const Driver *driver, const Tables *t, Copies *c, Error *err) {
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
        st = fetch(driver, rows[i].from, rows[i].count, rows[i].each, rows[i].to, err);
    return st;
}

static Status check_all(const Driver *driver, const Tables *t, Copies *c, Error *err) {
    Status st = fetch_lengths(driver, t, c, err);
    if (st == ST_OK) st = check_offsets(t->cu_q_name, c->cu_q, t->batch, t->max_q, err);
    if (st == ST_OK) st = check_offsets("cu_seqlens_kv", c->cu_kv, t->batch, t->max_kv, err);
    if (st == ST_OK) st = check_offsets("page_indptr", c->indptr, t->batch, t->pool, err);
    if (st == ST_OK) st = check_lengths(t, c, err);
    if (st == ST_OK) st = check_slots(t, c, err);
    if (st != ST_OK) return st;
    if (t->appends && c->cu_q != NULL && c->cu_q[t->batch] > t->tokens)
        return err_set(err, ST_INVALID, "%s[%lld] is %d: must be at most %lld, the tokens",
                       t->cu_q_name, (long long)t->batch, c->cu_q[t->batch], (long long)t->tokens);
    const int64_t entries = c->indptr != NULL ? c->indptr[t->batch] : t->batch * t->table_stride;
    st = fetch(driver, t->pages, entries, sizeof(int), &c->pages, err);
    for (int64_t b = 0; c->pages != NULL && b < t->batch && st == ST_OK; b++)
        st = check_row(t, c, b, err);
    return st;
}

static Status check_tables(const seqtune_plan *plan, const Tables *t, seqtune_stream stream,
                           Error *err) {
    const Driver *driver = plan->ctx->driver;
    Copies c = {0};
    bool pushed = false;
    CuResult result = driver_enter(driver, plan->ctx->device.context, &pushed);
    Status st = driver_check(driver, result, "cuCtxPushCurrent", err);
    if (st == ST_OK)
        st = driver_check(driver, driver->StreamSynchronize(stream), "cuStreamSynchronize", err);
    if (st == ST_OK) st = check_all(driver, t, &c, err);
    driver_leave(driver, pushed);
    void *const owned[] = {c.cu_q, c.cu_kv, c.lens, c.indptr, c.pages, c.slots};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) mem_free(owned[i]);
    return st;
}

Status attention_check_tables(const seqtune_plan *plan, const PlanCall *call, seqtune_stream stream,
                              Error *err) {
    const seqtune_attention_desc *d = &plan->desc.u.attention;
    const AttnParams *p = &call->params.attn;
    if (!(d->flags & SEQTUNE_CHECKED)) return ST_OK;
    const Tables tables = {
        .cu_q = p->cu_seqlens_q,
        .cu_kv = p->cu_seqlens_kv,
        .lens = p->lens_kv,
        .indptr = p->page_indptr,
        .pages = p->pages,
        .cu_q_name = "cu_seqlens_q",
        .batch = d->batch,
        .max_q = d->max_len_q,
        .max_kv = d->max_len_kv,
        .page_size = d->page_size,
        .pool = d->pages,
        .table_stride = d->block_table_stride,
        .len_kv = p->len_kv,
    };
    return check_tables(plan, &tables, stream, err);
}

Status kv_check_tables(const seqtune_plan *plan, const PlanCall *call, seqtune_stream stream,
                       Error *err) {
    const seqtune_kv_desc *d = &plan->desc.u.kv;
    const KvParams *p = &call->params.kv;
    if (!(d->flags & SEQTUNE_CHECKED)) return ST_OK;
    const int64_t capacity = d->pages * d->page_size;
    const Tables tables = {
        .cu_q = p->cu_seqlens,
        .lens = p->lens_kv,
        .indptr = p->page_indptr,
        .pages = p->pages,
        .slots = p->slots,
        .cu_q_name = "cu_seqlens",
        .batch = d->batch,
        .tokens = p->tokens,
        .max_q = p->tokens,
        .max_kv = capacity,
        .page_size = d->page_size,
        .pool = d->pages,
        .table_stride = d->block_table_stride,
        .appends = true,
    };
    return check_tables(plan, &tables, stream, err);
}
