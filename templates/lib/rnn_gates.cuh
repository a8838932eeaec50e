// The cells of recurrent kernels, one unit of one sequence at a time, in f32.
//
// Absolute errors over all x: ex2 is within 2^-22.5, rcp within 1 ulp (PTX ISA), which makes 1.2e-7
// of sigmoid_f32 and 2.4e-7 of tanh_f32. Both are 0 or +-1 beyond the exponent's range, NaN for NaN,
// and exact at 0 (0.5 and 0), which keeps the padded units of c and h at 0.
//
// Needs the static dimensions `peephole` and `clip`.
//% lib types
//% lib math

// 1 / (1 + e^-x)
__device__ __forceinline__ float sigmoid_f32(float x) {
    return reciprocal_approx(1.0f + exp2_approx(x * -log2_e()));
}

// (e^2x - 1) / (e^2x + 1) as 1 - 2 / (1 + e^2x), which cannot become inf / inf.
__device__ __forceinline__ float tanh_f32(float x) {
    return 1.0f - 2.0f * reciprocal_approx(1.0f + exp2_approx(x * (2.0f * log2_e())));
}

// Sums W x + R h + bias of one unit, then its gates after activation.
struct LstmGates {
    float i, f, g, o;
};

struct LstmPeephole { // of one unit; not read unless peephole
    float i, f, o;
};

// i, f, g and the new c.
__device__ __forceinline__ void lstm_cell(LstmGates &gate, float &c, const LstmPeephole &w,
                                          float cell_clip) {
    if constexpr (peephole) {
        gate.i = fmaf(w.i, c, gate.i);
        gate.f = fmaf(w.f, c, gate.f);
    }
    gate.i = sigmoid_f32(gate.i);
    gate.f = sigmoid_f32(gate.f);
    gate.g = tanh_f32(gate.g);
    c = fmaf(gate.f, c, gate.i * gate.g);
    if constexpr (clip) {
        if (cell_clip > 0.0f) c = fminf(fmaxf(c, -cell_clip), cell_clip);
    }
}

// o, which sees the new c, and the new h, not rounded. `shown`: what h is made of, c or its norm.
__device__ __forceinline__ float lstm_output(LstmGates &gate, float c, float shown,
                                             const LstmPeephole &w) {
    if constexpr (peephole) gate.o = fmaf(w.o, c, gate.o);
    gate.o = sigmoid_f32(gate.o);
    return gate.o * tanh_f32(shown);
}

// The whole step: activations into `gate`, the new c into `c`, the new h returned.
__device__ __forceinline__ float lstm_unit(LstmGates &gate, float &c, const LstmPeephole &w,
                                           float cell_clip) {
    lstm_cell(gate, c, w, cell_clip);
    return lstm_output(gate, c, c, w);
}

// r and z: sums of both products and the bias. n: W x + bias only, its recurrent product apart.
struct GruGates {
    float r, z, n;
};

// h of the step before and n to the new h: z h + (1 - z) n.
__device__ __forceinline__ float gru_mix(float z, float n, float h) {
    return fmaf(z, h - n, n);
}

// Reset after the product; `recurrent` = R h + its bias, of n.
__device__ __forceinline__ float gru_unit(GruGates &gate, float recurrent, float h) {
    gate.r = sigmoid_f32(gate.r);
    gate.z = sigmoid_f32(gate.z);
    gate.n = tanh_f32(fmaf(gate.r, recurrent, gate.n));
    return gru_mix(gate.z, gate.n, h);
}
