// Sliding window around the query's own key, inclusive on both sides; a negative extent is open.
enum : int { mask_cuts_left = 1 };

__device__ __forceinline__ KeyBounds key_bounds(const AttnParams &p, int token) {
    const int own = token + p.own_first;
    // Lengths stay below 2^21, so an extent beyond them is as good as open and cannot overflow.
    const int far = 1 << 28;
    const int left = p.window_left < 0 ? far : min(p.window_left, far);
    const int right = p.window_right < 0 ? far : min(p.window_right, far);
    return {max(own - left, 0), min(own + right, p.len_kv - 1)};
}
