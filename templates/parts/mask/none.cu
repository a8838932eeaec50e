// No mask: every row sees every key.
enum : int { mask_cuts_left = 0 };

__device__ __forceinline__ KeyBounds key_bounds(const AttnParams &p, int) {
    return {0, p.len_kv - 1};
}
