// The cells of recurrent kernels, one unit of one sequence at a time, in f32.
//
// A step of an LSTM is five exponentials and two reciprocals instead of five each, that of a GRU
// three and two instead of three each, since gates share denominators: the special-function unit
// (16 lanes an SM) is what a small layer waits for. With e(x) = 2^min(-x log2 e, 40):
//
//     LSTM  c' = f c + i g   = (c (1 + Ei)(1 + Eg) + (1 - Eg)(1 + Ef)) / ((1 + Ef)(1 + Ei)(1 + Eg))
//           h' = o tanh(c')  = (1 - Ec) / ((1 + Eo)(1 + Ec))        Ei = e(i), Eg = e(2 g), ...
//     GRU   h' = z h + (1 - z) n = (h (1 + En) + Ez (1 - En)) / ((1 + Ez)(1 + En))
//
// The limit of 40 keeps products of three in range (2^120) and costs 2^-40 of a sigmoid at most.
//
// ex2 is within 2^-22.5, rcp within 1 ulp (PTX ISA): sigmoid_f32 is within 1.2e-7, tanh_f32 within
// 2.4e-7 absolute, over all x. All are exact where every sum is 0 (sigmoid 0.5, tanh 0), which
// keeps the padded units of c and h at 0.
//
// Needs the static dimensions `peephole`, `clip` and `store_gates`.
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

// e^(-scale x), at most 2^40. Not fminf, which would make a number of NaN.
__device__ __forceinline__ float exp_neg(float x, float scale) {
    float y = x * (-scale * log2_e());
    asm("" : "+f"(y)); // or the comparison gets a multiplication of its own
    return exp2_approx(y > 40.0f ? 40.0f : y);
}

// Sums W x + R h + bias of one unit, then its gates after activation.
struct LstmGates {
    float i, f, g, o;
};

struct LstmPeephole { // of one unit; not read unless peephole
    float i, f, o;
};

__device__ __forceinline__ void lstm_limit(float &c, float cell_clip) {
    if constexpr (clip) {
        if (cell_clip > 0.0f) c = fminf(fmaxf(c, -cell_clip), cell_clip);
    }
}

// The new c from the sums of i, f, g, which become activations only where gates are stored.
__device__ __forceinline__ void lstm_cell(LstmGates &gate, float &c, const LstmPeephole &w,
                                          float cell_clip) {
    if constexpr (peephole) {
        gate.i = fmaf(w.i, c, gate.i);
        gate.f = fmaf(w.f, c, gate.f);
    }
    const float g = exp_neg(gate.g, 2.0f);
    const float both = (1.0f + exp_neg(gate.i, 1.0f)) * (1.0f + g);
    const float f = 1.0f + exp_neg(gate.f, 1.0f);
    c = fmaf(c, both, (1.0f - g) * f) * reciprocal_approx(f * both);
    if constexpr (store_gates) {
        gate.i = sigmoid_f32(gate.i);
        gate.f = sigmoid_f32(gate.f);
        gate.g = tanh_f32(gate.g);
    }
    lstm_limit(c, cell_clip);
}

// The new h, not rounded, from the sum of o, which sees the new c. `shown`: what h is made of, c or
// its norm.
__device__ __forceinline__ float lstm_output(LstmGates &gate, float c, float shown,
                                             const LstmPeephole &w) {
    if constexpr (peephole) gate.o = fmaf(w.o, c, gate.o);
    const float e = exp_neg(shown, 2.0f);
    const float h = (1.0f - e) * reciprocal_approx((1.0f + exp_neg(gate.o, 1.0f)) * (1.0f + e));
    if constexpr (store_gates) gate.o = sigmoid_f32(gate.o);
    return h;
}

// The whole step: the new c into `c`, the new h returned.
__device__ __forceinline__ float lstm_unit(LstmGates &gate, float &c, const LstmPeephole &w,
                                           float cell_clip) {
    lstm_cell(gate, c, w, cell_clip);
    return lstm_output(gate, c, c, w);
}

// r and z: sums of both products and the bias. n: W x + bias only, its recurrent product apart.
struct GruGates {
    float r, z, n;
};

// The new h, not rounded, from the sums of z and n and h of the step before. They become
// activations only where gates are stored.
__device__ __forceinline__ float gru_mix(GruGates &gate, float h) {
    const float z = exp_neg(gate.z, 1.0f), n = exp_neg(gate.n, 2.0f);
    const float mixed =
        fmaf(h, 1.0f + n, z * (1.0f - n)) * reciprocal_approx((1.0f + z) * (1.0f + n));
    if constexpr (store_gates) {
        gate.z = sigmoid_f32(gate.z);
        gate.n = tanh_f32(gate.n);
    }
    return mixed;
}

// Reset after the product; `recurrent` = R h + its bias, of n.
__device__ __forceinline__ float gru_unit(GruGates &gate, float recurrent, float h) {
    gate.r = sigmoid_f32(gate.r);
    gate.n = fmaf(gate.r, recurrent, gate.n);
    return gru_mix(gate, h);
}
