// Where the token of a sequence lies in K and V: by strides, or in pages (token t is token t %
// page_size of page table[t / page_size]; any page size). Offsets are 64-bit throughout. Table
// entries of tokens that do not exist are not read.
//% lib types
//% lib global

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
        const i64 entry = p.page_indptr != 0 ? i64(load_global_i32(p.page_indptr + u64(batch) * 4))
                                             : i64(batch) * p.table_stride;
        place.table = p.pages + u64(entry * 4);
    }
    return place;
}

// The row of an existing token.
__device__ __forceinline__ KvRow kv_row(const AttnParams &p, const KvPlace &place, int token) {
    if constexpr (kv == kv_paged) {
        const u32 size = page_size > 0 ? page_size : 1;
        const i64 id = load_global_i32(place.table + u64(u32(token) / size) * 4);
        const i64 in_page = u32(token) % size;
        return {place.k + u64((id * p.k_batch + in_page * p.k_token) * kv_element),
                place.v + u64((id * p.v_batch + in_page * p.v_token) * kv_element)};
    } else {
        return {place.k + u64(token * p.k_token * kv_element),
                place.v + u64(token * p.v_token * kv_element)};
    }
}
