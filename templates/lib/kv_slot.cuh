// Where the tokens of kv_append and kv_gather belong (runtime/params/kv.h): by slots, or by
// position, where the sequence is found by bisection of cu_seqlens.
//% lib types
//% lib global
//% lib kv_pages
//% lib vector

struct KvSlot {
    bool token;  // the token belongs to a sequence (by slots: always)
    bool exists; // and has a slot
    i64 page, in_page;
    i64 position; // for RoPE
};

// The sequence b with cu_seqlens[b] <= token < cu_seqlens[b + 1]; -1: none. Empty sequences have
// no token: the last b with cu_seqlens[b] <= token is it, if any is.
__device__ __forceinline__ int sequence_of(const KvParams &p, int token) {
    int low = 0, high = p.batch;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (load_global_i32(p.cu_seqlens + u64(middle) * 4) <= token)
            low = middle;
        else
            high = middle;
    }
    const u64 at = p.cu_seqlens + u64(low) * 4;
    return load_global_i32(at) <= token && token < load_global_i32(at + 4) ? low : -1;
}

__device__ __forceinline__ void page_of_position(const KvParams &p, int batch, int position,
                                                 KvSlot &slot) {
    const int index = int(u32(position) / u32(p.page_size));
    slot.in_page = u32(position) % u32(p.page_size);
    if (p.pages == 0) { // dense: the page is the sequence
        slot.exists = index == 0;
        slot.page = batch;
        return;
    }
    const i64 first = first_page_entry(p.page_indptr, p.table_stride, batch);
    i64 count = p.table_stride;
    if (p.page_indptr != 0) count = load_global_i32(p.page_indptr + u64(batch) * 4 + 4) - first;
    slot.exists = index < count; // entries of others are not read
    if (slot.exists) slot.page = int(page_id(p.pages + u64(first * 4), u32(index)));
}

__device__ __forceinline__ KvSlot kv_slot(const KvParams &p, int token) {
    KvSlot slot = {true, false, 0, 0, 0};
    if (p.slots != 0) {
        const i64 at = load_global_i64(p.slots + u64(token) * 8);
        slot.exists = at >= 0;
        slot.page = u32(at) / u32(p.page_size);
        slot.in_page = u32(at) % u32(p.page_size);
        if (at > 0x7fffffff) slot.page = at; // no cache has it: fault, not the slot of its low half
    } else {
        const int batch = sequence_of(p, token);
        slot.token = batch >= 0;
        if (!slot.token) return slot;
        int position = token - load_global_i32(p.cu_seqlens + u64(batch) * 4);
        if (p.lens_kv != 0) position += load_global_i32(p.lens_kv + u64(batch) * 4);
        slot.position = position;
        if (position >= 0) page_of_position(p, batch, position, slot);
    }
    if (p.positions != 0) slot.position = load_global_i64(p.positions + u64(token) * 8);
    return slot;
}

// Element 0 of a head of K (kind k) or V in the cache.
__device__ __forceinline__ u64 cache_row(const KvParams &p, const KvSlot &slot, bool is_k,
                                         int head) {
    const i64 token = is_k ? place_in_pages(slot.page, slot.in_page, p.k_batch, p.k_token)
                           : place_in_pages(slot.page, slot.in_page, p.v_batch, p.v_token);
    const i64 element = token + head * (is_k ? p.k_head : p.v_head);
    return (is_k ? p.k : p.v) + u64(element * kv_element);
}

// The same in new_k or new_v.
__device__ __forceinline__ u64 new_row(const KvParams &p, int token, bool is_k, int head) {
    const i64 element = is_k ? i64(token) * p.new_k_token + head * p.new_k_head
                             : i64(token) * p.new_v_token + head * p.new_v_head;
    return (is_k ? p.new_k : p.new_v) + u64(element * 2);
}

// The scale of a head of an 8-bit cache.
__device__ __forceinline__ float cache_scale(const KvParams &p, bool is_k, int head) {
    const u64 scales = is_k ? p.k_scale : p.v_scale;
    if (scales == 0) return 1.0f;
    return __uint_as_float(load_vector<4>(scales + (p.scale_heads ? u64(head) * 4 : 0)).word[0]);
}
