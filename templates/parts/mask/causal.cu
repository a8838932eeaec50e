// Causal: a query sees the keys up to its own position. Bottom-right aligned the last query sees
// every key, top-left the first one sees one (p.own_first).
enum : int { mask_cuts_left = 0 };

__device__ __forceinline__ KeyBounds key_bounds(const AttnParams &p, int token) {
    return {0, min(token + p.own_first, p.len_kv - 1)};
}
