/* SEQTUNE_CHECKED: lengths within the description's maxima, offsets ascending, page ids in the
 * pool. */
#include "runtime/attention_check.h"

#include "base/mem.h"

/* Host copies of the device arrays; NULL: not used by this run. */
typedef struct Tables {
    int *cu_q, *cu_kv, *lens, *indptr, *pages;
} Tables;

static Status fetch(const seqtune_plan *plan, st_address from, int64_t count, int **out,
                    Error *err) {
    *out = NULL;
    if (from == 0 || count <= 0) return ST_OK;
    const size_t bytes = (size_t)count * sizeof **out;
    *out = mem_alloc(bytes);
    if (*out == NULL) return err_no_memory(err, bytes);
    const Driver *driver = plan->ctx->driver;
    return driver_check(driver, driver->MemcpyDtoH(*out, from, bytes), "cuMemcpyDtoH", err);
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

static Status check_pages(const seqtune_attention_desc *d, const Tables *t, int64_t len_kv,
                          Error *err) {
    const char *name = t->indptr != NULL ? "page_indices" : "block_table";
    for (int64_t b = 0; t->pages != NULL && b < d->batch; b++) {
        const int64_t len = t->lens != NULL ? t->lens[b] : len_kv;
        const int64_t count = (len + d->page_size - 1) / d->page_size;
        const int64_t first = t->indptr != NULL ? t->indptr[b] : b * d->block_table_stride;
        if (t->indptr != NULL && t->indptr[b + 1] - first < count)
            return err_set(err, ST_INVALID,
                           "page_indptr gives sequence %lld %lld pages, its length %lld needs %lld",
                           (long long)b, (long long)(t->indptr[b + 1] - first), (long long)len,
                           (long long)count);
        for (int64_t i = 0; i < count; i++) {
            const int id = t->pages[first + i];
            if (id < 0 || id >= d->pages)
                return err_set(err, ST_INVALID,
                               "%s: page %lld of sequence %lld is %d: must be 0..%lld, the pool",
                               name, (long long)i, (long long)b, id, (long long)d->pages - 1);
        }
    }
    return ST_OK;
}

static Status check_lengths(const seqtune_attention_desc *d, const Tables *t, Error *err) {
    for (int64_t b = 0; t->lens != NULL && b < d->batch; b++)
        if (t->lens[b] < 0 || t->lens[b] > d->max_len_kv)
            return err_set(err, ST_INVALID, "lens_kv[%lld] is %d: must be 0..%lld, max_len_kv",
                           (long long)b, t->lens[b], (long long)d->max_len_kv);
    return ST_OK;
}

static Status check_all(const seqtune_plan *plan, const AttnParams *p, Tables *t, Error *err) {
    const seqtune_attention_desc *d = &plan->desc.u.attention;
    Status st = fetch(plan, p->cu_seqlens_q, d->batch + 1, &t->cu_q, err);
    if (st == ST_OK) st = fetch(plan, p->cu_seqlens_kv, d->batch + 1, &t->cu_kv, err);
    if (st == ST_OK) st = fetch(plan, p->lens_kv, d->batch, &t->lens, err);
    if (st == ST_OK) st = fetch(plan, p->page_indptr, d->batch + 1, &t->indptr, err);
    if (st == ST_OK) st = check_offsets("cu_seqlens_q", t->cu_q, d->batch, d->max_len_q, err);
    if (st == ST_OK) st = check_offsets("cu_seqlens_kv", t->cu_kv, d->batch, d->max_len_kv, err);
    if (st == ST_OK) st = check_offsets("page_indptr", t->indptr, d->batch, d->pages, err);
    if (st == ST_OK) st = check_lengths(d, t, err);
    const int64_t entries =
        t->indptr != NULL ? t->indptr[d->batch] : d->batch * d->block_table_stride;
    if (st == ST_OK) st = fetch(plan, p->pages, entries, &t->pages, err);
    return st != ST_OK ? st : check_pages(d, t, p->len_kv, err);
}

Status attention_check_tables(const seqtune_plan *plan, const AttnParams *p, seqtune_stream stream,
                              Error *err) {
    const Driver *driver = plan->ctx->driver;
    Tables tables = {0};
    bool pushed = false;
    CuResult result = driver_enter(driver, plan->ctx->device.context, &pushed);
    Status st = driver_check(driver, result, "cuCtxPushCurrent", err);
    if (st == ST_OK)
        st = driver_check(driver, driver->StreamSynchronize(stream), "cuStreamSynchronize", err);
    if (st == ST_OK) st = check_all(plan, p, &tables, err);
    driver_leave(driver, pushed);
    int *const owned[] = {tables.cu_q, tables.cu_kv, tables.lens, tables.indptr, tables.pages};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) mem_free(owned[i]);
    return st;
}
