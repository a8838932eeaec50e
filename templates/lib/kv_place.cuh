// Where the token of a sequence lies in K and V: by strides, or in pages of any size. Table entries
// of tokens that do not exist are not read.
//% lib types
//% lib kv_pages

enum : u32 { page_tokens = page_size > 0 ? page_size : 1 };

struct KvPlace {
    u64 k, v;  // dense: token 0 of the sequence; paged: token 0 of page 0
    u64 table; // paged: the sequence's page ids
};

struct KvRow {
    u64 k, v;
};

__device__ __forceinline__ KvPlace kv_place(const AttnParams &p, int batch, int head_kv) {
    const bool paged = kv == kv_paged;
    const i64 k = i64(head_kv) * p.k_head + (paged ? 0 : i64(batch) * p.k_batch);
    const i64 v = i64(head_kv) * p.v_head + (paged ? 0 : i64(batch) * p.v_batch);
    KvPlace place = {p.k + u64(k * kv_element), p.v + u64(v * kv_element), 0};
    if constexpr (kv == kv_paged) {
        const i64 entry = first_page_entry(p.page_indptr, p.table_stride, batch);
        place.table = p.pages + u64(entry * 4);
    }
    return place;
}

// The page of an existing token; dense: nothing.
__device__ __forceinline__ u32 kv_page(const KvPlace &place, int token) {
    if constexpr (kv == kv_paged) return page_id(place.table, u32(token) / page_tokens);
    return 0;
}

// The row of a token whose page kv_page has said.
__device__ __forceinline__ KvRow kv_row(const AttnParams &p, const KvPlace &place, u32 page,
                                        int token) {
    if constexpr (kv == kv_paged) {
        const i64 id = int(page);
        const i64 in_page = u32(token) % page_tokens;
        return {place.k + u64(place_in_pages(id, in_page, p.k_batch, p.k_token) * kv_element),
                place.v + u64(place_in_pages(id, in_page, p.v_batch, p.v_token) * kv_element)};
    } else {
        return {place.k + u64(token * p.k_token * kv_element),
                place.v + u64(token * p.v_token * kv_element)};
    }
}
