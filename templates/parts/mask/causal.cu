// Causal, bottom-right aligned: the last query sees every key, each one before it one key less.
enum : int { mask_cuts_left = 0 };

__device__ __forceinline__ KeyBounds key_bounds(const AttnParams &p, int token) {
    return {0, min(token + p.len_kv - p.len_q, p.len_kv - 1)};
}
