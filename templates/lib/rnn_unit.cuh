// One step of one unit of one sequence, LSTM or GRU (reset after), from the products R h and the
// prepared W x + bias of its gates.
//
// Needs the static dimensions `cell`, `peephole`, `clip`, and the lets gates, units_pad.
//% lib types
//% lib rnn_gates
//% lib rnn_elements

// What a unit keeps of its own through all steps.
struct UnitWeights {
    LstmPeephole peep;
    float hidden_bias;
};

__device__ __forceinline__ UnitWeights unit_weights(const RnnDirection &d, int unit) {
    UnitWeights w = {{0.0f, 0.0f, 0.0f}, 0.0f};
    if constexpr (peephole) {
        w.peep.i = load_f32(d.peephole + u64(unit) * 4);
        w.peep.f = load_f32(d.peephole + u64(units_pad + unit) * 4);
        w.peep.o = load_f32(d.peephole + u64(2 * units_pad + unit) * 4);
    }
    if constexpr (cell == cell_gru) {
        if (d.hidden_bias != 0) w.hidden_bias = load_f32(d.hidden_bias + u64(unit) * 4);
    }
    return w;
}

// `gate`: out, the gates after activation. `c`: in and out (LSTM). `h`: of the step before (GRU).
// Returns the new h, not rounded.
__device__ __forceinline__ float unit_step(float (&gate)[gates], const float (&product)[gates],
                                           const float (&pre)[gates], float &c, float h,
                                           const UnitWeights &w, float cell_clip) {
    if constexpr (cell == cell_gru) {
        GruGates v = {product[0] + pre[0], product[1] + pre[1], pre[2]};
        const float next = gru_unit(v, product[2] + w.hidden_bias, h);
        gate[0] = v.r;
        gate[1] = v.z;
        gate[2] = v.n;
        return next;
    } else {
        LstmGates v = {product[0] + pre[0], product[1] + pre[1], product[2] + pre[2],
                       product[gates - 1] + pre[gates - 1]};
        const float next = lstm_unit(v, c, w.peep, cell_clip);
        gate[0] = v.i;
        gate[1] = v.f;
        gate[2] = v.g;
        gate[gates - 1] = v.o;
        return next;
    }
}
