// Pages of a KV cache: token t of a sequence is token t % page_size of page pages[e + t /
// page_size], with e the sequence's first entry. Offsets are 64-bit throughout.
//% lib types
//% lib global

// CSR rows by `indptr`; 0: rows of a block table, `stride` entries each.
__device__ __forceinline__ i64 first_page_entry(u64 indptr, i64 stride, int batch) {
    return indptr != 0 ? i64(load_global_i32(indptr + u64(batch) * 4)) : i64(batch) * stride;
}

// Page id `index` of those that begin at `table`.
__device__ __forceinline__ u32 page_id(u64 table, u32 index) {
    return u32(load_global_i32(table + u64(index) * 4));
}

// Elements from token 0 of page 0.
__device__ __forceinline__ i64 place_in_pages(i64 page, i64 in_page, i64 page_stride,
                                              i64 token_stride) {
    return page * page_stride + in_page * token_stride;
}
