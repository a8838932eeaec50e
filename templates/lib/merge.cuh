// Attention over disjoint sets of keys put together: each part is a normalised row of O and its
// log-sum-exp. Parts are added one after the other, so their order alone decides the bits.
//
// Invariant: o = sum over the parts of exp(lse - top) * O, sum = the same without O, top = the
// largest lse. A part with lse = -inf saw no key: its O is not used, whatever it holds.
//% lib types
//% lib math

template <int count> struct Merged {
    float o[count];
    float top, sum;
};

template <int count> __device__ __forceinline__ void merge_begin(Merged<count> &m) {
#pragma unroll
    for (int i = 0; i < count; ++i) m.o[i] = 0.0f;
    m.top = -infinity();
    m.sum = 0.0f;
}

// Adds what is merged already: `o` and `sum` as in Merged, `lse` its top. A part has the sum 1.
template <int count>
__device__ __forceinline__ void merge_state(Merged<count> &m, const float (&o)[count], float lse,
                                            float sum) {
    if (lse == -infinity()) return;
    const float top = fmaxf(m.top, lse);
    const float keep = exp2_approx((m.top - top) * log2_e()); // the first part: 2^-inf = 0
    const float weight = exp2_approx((lse - top) * log2_e());
    m.sum = fmaf(m.sum, keep, weight * sum);
#pragma unroll
    for (int i = 0; i < count; ++i) m.o[i] = fmaf(m.o[i], keep, weight * o[i]);
    m.top = top;
}

// `lse`: natural logarithm.
template <int count>
__device__ __forceinline__ void merge_add(Merged<count> &m, const float (&o)[count], float lse) {
    merge_state(m, o, lse, 1.0f);
}

// Adds parts 0, 1 ... `parts` - 1, whose O and LSE `load(part, o, lse)` reads: `ahead` of them are
// read before the first is added.
template <int ahead, int count, class Load>
__device__ __forceinline__ void merge_parts(Merged<count> &m, int parts, Load load) {
#pragma unroll 1
    for (int first = 0; first < parts; first += ahead) {
        float o[ahead][count], lse[ahead];
#pragma unroll
        for (int a = 0; a < ahead; ++a) {
            lse[a] = -infinity();
            if (first + a < parts) load(first + a, o[a], lse[a]);
        }
#pragma unroll
        for (int a = 0; a < ahead; ++a) merge_add(m, o[a], lse[a]);
    }
}

// Normalises o and returns the log-sum-exp of all parts; no part that saw a key: 0 and -inf.
template <int count> __device__ __forceinline__ float merge_end(Merged<count> &m) {
    const float inverse = m.sum == 0.0f ? 0.0f : reciprocal_approx(m.sum);
#pragma unroll
    for (int i = 0; i < count; ++i) m.o[i] *= inverse;
    return m.sum == 0.0f ? -infinity() : m.top + ln2() * log2_approx(m.sum);
}
