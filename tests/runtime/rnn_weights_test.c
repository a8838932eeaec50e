/* Descriptions of recurrent layers and the packing of their weights: every field's limits, every
 * framework's order against one truth, and that truth against places written out by hand. */
#include "tests/runtime/test.h"

#include <math.h>

#include "runtime/plan_internal.h"
#include "runtime/rnn.h"

typedef seqtune_rnn_desc Desc;
typedef seqtune_rnn_weights Weights;

static Desc cell_of(seqtune_rnn_cell cell, int64_t input, int64_t hidden) {
    Desc d = SEQTUNE_RNN_DESC_INIT;
    d.cell = cell;
    d.dtype = SEQTUNE_F32;
    d.input = input;
    d.hidden = hidden;
    return d;
}

static char *pack_as(const Desc *d, seqtune_rnn_layout layout, const Weights *weights) {
    size_t bytes = 0;
    assert_int_equal(seqtune_rnn_weights_bytes(d, &bytes), SEQTUNE_OK);
    char *out = malloc(bytes);
    assert_non_null(out);
    memset(out, 0xff, bytes); /* NaN where nothing is written */
    if (seqtune_rnn_pack_weights(d, layout, weights, out) != SEQTUNE_OK)
        fail_msg("%s", seqtune_open_error());
    return out;
}

static RnnBlock block_at(const Desc *given, int64_t layer, int64_t direction) {
    Desc d = *given;
    Error err;
    assert_ok(rnn_check_cell(&d, &err), err);
    return rnn_block(&d, layer, direction);
}

static const float *floats(const char *packed, int64_t at) {
    assert_true(at >= 0);
    return (const float *)(const void *)(packed + at);
}

/* ---- descriptions ---- */

static Status check(const Desc *d, Error *err) {
    Desc copy = *d;
    return rnn_check_desc(&copy, err);
}

static void every_field_has_limits_that_are_told(void **state) {
    (void)state;
    enum { INT, I64, F32 };
    const struct {
        size_t offset;
        int type;
        double value;
        seqtune_rnn_cell cell;
        const char *part;
    } rows[] = {
#define BAD(field, type, value, cell, part) {offsetof(Desc, field), type, value, cell, part}
        BAD(size, I64, 0, SEQTUNE_LSTM, "SEQTUNE_RNN_DESC_INIT"),
        BAD(cell, INT, 2, SEQTUNE_LSTM, "cell is 2: must be SEQTUNE_LSTM or SEQTUNE_GRU"),
        BAD(dtype, INT, 4, SEQTUNE_LSTM, "dtype is 4: must be SEQTUNE_F16, SEQTUNE_BF16 or"),
        BAD(direction, INT, 3, SEQTUNE_LSTM, "direction is 3"),
        BAD(batch, I64, -1, SEQTUNE_LSTM, "batch (number of sequences) is -1"),
        BAD(batch, I64, 65536, SEQTUNE_LSTM, "is 65536: must be 1..65535"),
        BAD(max_steps, I64, 1.5e9, SEQTUNE_LSTM,
            "batch 2 * max_steps 1500000000 is 3000000000 tokens: must be at most 2147483647; run"),
        BAD(input, I64, 0, SEQTUNE_LSTM, "input (features of x) is 0 and has no default"),
        BAD(input, I64, 16385, SEQTUNE_LSTM, "must be 1..16384"),
        BAD(hidden, I64, 0, SEQTUNE_LSTM, "hidden (number of units) is 0"),
        BAD(hidden, I64, 16385, SEQTUNE_LSTM, "must be 1..16384"),
        BAD(layers, I64, 65, SEQTUNE_LSTM, "layers (number of layers) is 65: must be 1..64"),
        BAD(max_steps, I64, 0, SEQTUNE_LSTM, "max_steps (largest number of steps) is 0"),
        BAD(projection, I64, -1, SEQTUNE_LSTM, "projection (length of the projected h) is -1"),
        BAD(projection, I64, 8, SEQTUNE_GRU, "projection: a GRU has none"),
        BAD(projection, I64, 17, SEQTUNE_LSTM, "projected h) is 17: must be 1..16, hidden"),
        BAD(total_tokens, I64, 9, SEQTUNE_LSTM, "total_tokens is 9: only packed"),
        BAD(packed, INT, 2, SEQTUNE_LSTM, "packed is 2: must be 0 or 1"),
        BAD(device_lengths, INT, -1, SEQTUNE_LSTM, "device_lengths is -1"),
        BAD(peephole, INT, 2, SEQTUNE_LSTM, "peephole is 2"),
        BAD(peephole, INT, 1, SEQTUNE_GRU, "peephole: a GRU has none"),
        BAD(layer_norm, INT, 3, SEQTUNE_LSTM, "layer_norm is 3"),
        BAD(reset_before, INT, 1, SEQTUNE_LSTM, "reset_before: an LSTM has none"),
        BAD(store_gates, INT, 2, SEQTUNE_LSTM, "store_gates is 2"),
        BAD(cell_clip, F32, -1, SEQTUNE_LSTM, "cell_clip is -1: must be finite"),
        BAD(cell_clip, F32, NAN, SEQTUNE_LSTM, "cell_clip is"),
        BAD(cell_clip, F32, 1, SEQTUNE_GRU, "cell_clip: a GRU has no c"),
        BAD(norm_eps, F32, INFINITY, SEQTUNE_LSTM, "norm_eps is inf"),
        BAD(x_stride_step, I64, -8, SEQTUNE_LSTM, "x_stride_step is -8"),
        BAD(y_stride_batch, I64, 4, SEQTUNE_LSTM, "rows that are written would overlap"),
        BAD(flags, INT, 1, SEQTUNE_LSTM, "flags is 0x1: must be SEQTUNE_RNN_SEQUENCE_ORDER"),
        BAD(flags, INT, 4, SEQTUNE_LSTM, "SEQTUNE_RNN_SEQUENCE_ORDER with max_steps 7"),
        BAD(chunk_steps, I64, -1, SEQTUNE_LSTM, "chunk_steps (steps of a launch) is -1"),
        BAD(order_steps, I64, 9, SEQTUNE_LSTM, "order_steps is 9: must be given with"),
#undef BAD
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Desc d = cell_of(rows[i].cell, 8, 16);
        d.max_steps = 7;
        d.batch = 2;
        Error err = {0};
        assert_ok(check(&d, &err), err);
        char *to = (char *)&d + rows[i].offset;
        const int64_t wide = rows[i].type == I64 ? (int64_t)rows[i].value : 0;
        const int narrow = rows[i].type == INT ? (int)rows[i].value : 0;
        const float real = (float)rows[i].value;
        if (rows[i].type == I64) memcpy(to, &wide, sizeof wide);
        if (rows[i].type == INT) memcpy(to, &narrow, sizeof narrow);
        if (rows[i].type == F32) memcpy(to, &real, sizeof real);
        assert_int_equal(check(&d, &err), ST_INVALID);
        assert_has(err.message, rows[i].part);
    }
}

static void lengths_are_told_one_way(void **state) {
    (void)state;
    Desc d = cell_of(SEQTUNE_LSTM, 8, 16);
    Error err = {0};
    d.max_steps = 7;
    d.packed = d.device_lengths = 1;
    assert_int_equal(check(&d, &err), ST_INVALID);
    assert_has(err.message, "set one of the two");
}

static void defaults_are_filled_in(void **state) {
    (void)state;
    Desc d = SEQTUNE_RNN_DESC_INIT;
    Error err;
    d.input = 8;
    d.hidden = 16;
    d.max_steps = 7;
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    assert_ok(rnn_check_desc(&d, &err), err);
    assert_int_equal(d.dtype, SEQTUNE_F16);
    assert_int_equal(d.batch, 1);
    assert_int_equal(d.layers, 1);
    assert_int_equal(d.total_tokens, 7);
    assert_true(d.norm_eps == 1e-5f);
    assert_int_equal(d.x_stride_step, 8);
    assert_int_equal(d.y_stride_batch, 32);
    Desc batch_first = cell_of(SEQTUNE_LSTM, 8, 16);
    batch_first.max_steps = 7;
    batch_first.batch = 3;
    batch_first.x_stride_step = 8;
    batch_first.x_stride_batch = 7 * 8;
    batch_first.y_stride_step = 16;
    batch_first.y_stride_batch = 7 * 16;
    assert_ok(rnn_check_desc(&batch_first, &err), err);
}

/* ---- places ---- */

static void rows_of_a_unit_stand_eight_apart_in_blocks_of_eight_units(void **state) {
    (void)state;
    enum { HIDDEN = 10, INPUT = 3 };
    float w[4 * HIDDEN * INPUT], r[4 * HIDDEN * HIDDEN];
    for (int i = 0; i < 4 * HIDDEN * INPUT; i++) w[i] = (float)(i + 1);
    for (int i = 0; i < 4 * HIDDEN * HIDDEN; i++) r[i] = (float)(-i - 1);
    const Desc d = cell_of(SEQTUNE_LSTM, INPUT, HIDDEN);
    Weights weights = SEQTUNE_RNN_WEIGHTS_INIT;
    weights.w = w;
    weights.r = r;
    char *packed = pack_as(&d, SEQTUNE_RNN_PYTORCH, &weights);
    const RnnBlock b = block_at(&d, 0, 0);
    const float *to_w = floats(packed, b.w), *to_r = floats(packed, b.r);
    /* {unit, gate, row}: units 0..7 are rows 0..31, units 8..15 rows 32..63. */
    static const int places[][3] = {{0, 0, 0},  {0, 1, 8},  {0, 2, 16}, {0, 3, 24}, {1, 0, 1},
                                    {7, 3, 31}, {8, 0, 32}, {9, 1, 41}, {9, 3, 57}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const int source = places[i][1] * HIDDEN + places[i][0], row = places[i][2];
        for (int k = 0; k < INPUT; k++) assert_true(to_w[row * 32 + k] == w[source * INPUT + k]);
        for (int k = 0; k < HIDDEN; k++) assert_true(to_r[row * 32 + k] == r[source * HIDDEN + k]);
    }
    int filled = 0;
    for (int i = 0; i < 64 * 32; i++) filled += to_w[i] != 0;
    assert_int_equal(filled, 4 * HIDDEN * INPUT); /* and zeros elsewhere */
    for (int i = 0; i < 64; i++) assert_true(floats(packed, b.bias)[i] == 0);
    free(packed);
}

/* ---- frameworks ---- */

enum { UNITS = 5, COLUMNS = 7, STATE = 3 };

/* The truth: a number for each gate (by letter), unit and column. */
static float truth(char matrix, char gate, int unit, int k) {
    return (float)((matrix * 31 + gate) * 64 + unit * 8 + k) / 1024;
}

typedef struct Given {
    float w[4 * UNITS * COLUMNS], r[4 * UNITS * UNITS], bias_w[4 * UNITS], bias_r[4 * UNITS];
    float peephole[3 * UNITS], projection[STATE * UNITS];
} Given;

/* The truth as a framework that has its gates in the order of `gates` keeps it. */
static Weights given_in(Given *g, const char *gates, const char *peepholes, bool transposed,
                        int state) {
    const int n = (int)strlen(gates) * UNITS;
    for (int s = 0; s < n; s++) {
        const char gate = gates[s / UNITS];
        const int unit = s % UNITS;
        for (int k = 0; k < COLUMNS; k++)
            g->w[transposed ? k * n + s : s * COLUMNS + k] = truth('w', gate, unit, k);
        for (int k = 0; k < state; k++)
            g->r[transposed ? k * n + s : s * state + k] = truth('r', gate, unit, k);
        g->bias_w[s] = truth('b', gate, unit, 0);
        g->bias_r[s] = truth('c', gate, unit, 0);
    }
    for (int s = 0; s < 3 * UNITS; s++)
        g->peephole[s] = truth('p', peepholes[s / UNITS], s % UNITS, 0);
    for (int row = 0; row < STATE; row++)
        for (int unit = 0; unit < UNITS; unit++)
            g->projection[transposed ? unit * STATE + row : row * UNITS + unit] =
                truth('h', 'h', row, unit);
    Weights w = SEQTUNE_RNN_WEIGHTS_INIT;
    w.w = g->w;
    w.r = g->r;
    w.bias_w = g->bias_w;
    w.bias_r = g->bias_r;
    return w;
}

static const struct {
    seqtune_rnn_layout layout;
    const char *lstm, *gru, *peephole;
    bool transposed;
} frameworks[] = {
    /* torch.nn.LSTM: W_ii|W_if|W_ig|W_io; torch.nn.GRU: W_ir|W_iz|W_in */
    {SEQTUNE_RNN_PYTORCH, "ifgo", "rzn", "ifo", false},
    /* ONNX operators: "W[iofc]", "W[zrh]", "P[iof]" */
    {SEQTUNE_RNN_ONNX, "iofg", "zrn", "iof", false},
    {SEQTUNE_RNN_KERAS, "ifgo", "zrn", "ifo", true},
    {SEQTUNE_RNN_TF_ICFO, "igfo", NULL, "ifo", true},
    {SEQTUNE_RNN_TF_IFCO, "ifgo", NULL, "ifo", true},
};

static void every_framework_packs_to_the_same_weights(void **state) {
    (void)state;
    for (int gru = 0; gru < 2; gru++)
        for (size_t i = 0; i < sizeof frameworks / sizeof frameworks[0]; i++) {
            const char *gates = gru ? frameworks[i].gru : frameworks[i].lstm;
            const char *order = gru ? "rzn" : "ifgo";
            static Given g;
            if (gates == NULL) continue;
            Desc d = cell_of(gru ? SEQTUNE_GRU : SEQTUNE_LSTM, COLUMNS, UNITS);
            d.peephole = !gru;
            d.projection = gru ? 0 : STATE;
            const int state_size = gru ? UNITS : STATE;
            Weights w =
                given_in(&g, gates, frameworks[i].peephole, frameworks[i].transposed, state_size);
            if (!gru) {
                w.peephole = g.peephole;
                w.projection = g.projection;
            }
            char *packed = pack_as(&d, frameworks[i].layout, &w);
            const RnnBlock b = block_at(&d, 0, 0);
            const int count = gru ? 3 : 4;
            for (int gate = 0; gate < count; gate++)
                for (int unit = 0; unit < UNITS; unit++) {
                    const int row = gate * 8 + unit;
                    const bool apart = gru && gate == 2;
                    for (int k = 0; k < COLUMNS; k++)
                        assert_true(floats(packed, b.w)[row * 32 + k] ==
                                    truth('w', order[gate], unit, k));
                    for (int k = 0; k < state_size; k++)
                        assert_true(floats(packed, b.r)[row * 32 + k] ==
                                    truth('r', order[gate], unit, k));
                    assert_true(floats(packed, b.bias)[row] ==
                                truth('b', order[gate], unit, 0) +
                                    (apart ? 0 : truth('c', order[gate], unit, 0)));
                    if (apart)
                        assert_true(floats(packed, b.hidden_bias)[unit] ==
                                    truth('c', 'n', unit, 0));
                }
            for (int s = 0; s < 3 * UNITS && !gru; s++)
                assert_true(floats(packed, b.peephole)[s / UNITS * 16 + s % UNITS] ==
                            truth('p', "ifo"[s / UNITS], s % UNITS, 0));
            for (int s = 0; s < STATE * UNITS && !gru; s++)
                assert_true(floats(packed, b.projection)[s / UNITS * 32 + s % UNITS] ==
                            truth('h', 'h', s / UNITS, s % UNITS));
            free(packed);
        }
}

static void the_forget_bias_is_added_to_f_alone(void **state) {
    (void)state;
    static Given g;
    const Desc d = cell_of(SEQTUNE_LSTM, COLUMNS, UNITS);
    Weights w = given_in(&g, "igfo", "ifo", true, UNITS);
    w.bias_r = NULL;
    w.forget_bias = 1;
    char *packed = pack_as(&d, SEQTUNE_RNN_TF_ICFO, &w);
    const float *bias = floats(packed, block_at(&d, 0, 0).bias);
    for (int gate = 0; gate < 4; gate++)
        for (int unit = 0; unit < UNITS; unit++)
            assert_true(bias[gate * 8 + unit] ==
                        truth('b', "ifgo"[gate], unit, 0) + (gate == 1 ? 1 : 0));
    for (int i = 32; i < 64; i++) assert_true(bias[i] == 0); /* padded units stay 0 */
    free(packed);
}

static void reset_before_has_no_bias_inside_the_product(void **state) {
    (void)state;
    static Given g;
    Desc d = cell_of(SEQTUNE_GRU, COLUMNS, UNITS);
    d.reset_before = 1;
    const Weights w = given_in(&g, "zrn", "ifo", true, UNITS);
    char *packed = pack_as(&d, SEQTUNE_RNN_KERAS, &w);
    const RnnBlock b = block_at(&d, 0, 0);
    assert_int_equal(b.hidden_bias, -1);
    for (int unit = 0; unit < UNITS; unit++)
        assert_true(floats(packed, b.bias)[16 + unit] ==
                    truth('b', 'n', unit, 0) + truth('c', 'n', unit, 0));
    free(packed);
}

static void an_update_gate_that_weighs_the_new_value_is_negated(void **state) {
    (void)state;
    static Given g;
    Desc d = cell_of(SEQTUNE_GRU, COLUMNS, UNITS);
    Weights w = given_in(&g, "rzn", "ifo", false, UNITS);
    char *plain = pack_as(&d, SEQTUNE_RNN_PYTORCH, &w);
    w.update_new = 1;
    char *turned = pack_as(&d, SEQTUNE_RNN_PYTORCH, &w);
    const RnnBlock b = block_at(&d, 0, 0);
    for (int row = 0; row < 48; row++) {
        const float sign = row / 8 == 1 ? -1.0f : 1.0f; /* units 0..4 are in block 0 */
        assert_true(floats(turned, b.bias)[row] == sign * floats(plain, b.bias)[row]);
        for (int k = 0; k < 32; k++) {
            const int at = row * 32 + k;
            assert_true(floats(turned, b.w)[at] == sign * floats(plain, b.w)[at]);
            assert_true(floats(turned, b.r)[at] == sign * floats(plain, b.r)[at]);
        }
    }
    free(plain);
    free(turned);
    /* With layer norm the mean over all gates must see W x as it is: the gains turn. */
    d.layer_norm = 1;
    char *normed = pack_as(&d, SEQTUNE_RNN_PYTORCH, &w);
    const RnnBlock n = block_at(&d, 0, 0);
    assert_true(floats(normed, n.w)[8 * 32] == truth('w', 'z', 0, 0));
    assert_true(floats(normed, n.norm)[0] == 1);
    assert_true(floats(normed, n.norm)[8] == -1);      /* of W x */
    assert_true(floats(normed, n.norm)[48 + 8] == -1); /* of R h */
    assert_true(floats(normed, n.norm)[48 + 16] == 1);
    assert_true(floats(normed, n.norm)[5] == 0); /* a padded unit */
    assert_true(floats(normed, n.bias)[8] == -truth('b', 'z', 0, 0) - truth('c', 'z', 0, 0));
    free(normed);
}

static void gains_follow_the_gates_and_those_of_c_come_last(void **state) {
    (void)state;
    Desc d = cell_of(SEQTUNE_LSTM, COLUMNS, UNITS);
    d.layer_norm = 1;
    float gain_w[4 * UNITS], gain_r[4 * UNITS], gain_c[UNITS], shift_c[UNITS];
    for (int i = 0; i < 4 * UNITS; i++) {
        gain_w[i] = (float)(100 + i);
        gain_r[i] = (float)(200 + i);
    }
    for (int i = 0; i < UNITS; i++) {
        gain_c[i] = (float)(300 + i);
        shift_c[i] = (float)(400 + i);
    }
    Weights w = SEQTUNE_RNN_WEIGHTS_INIT;
    w.norm_w = gain_w;
    w.norm_r = gain_r;
    w.norm_c = gain_c;
    w.norm_c_shift = shift_c;
    char *packed = pack_as(&d, SEQTUNE_RNN_ONNX, &w); /* i o f g */
    const float *norm = floats(packed, block_at(&d, 0, 0).norm);
    assert_true(norm[0] == 100 && norm[8] == 100 + 2 * UNITS && norm[24 + 1] == 100 + UNITS + 1);
    assert_true(norm[64 + 16] == 200 + 3 * UNITS);
    assert_true(norm[128 + 4] == 304 && norm[128 + 5] == 0);
    assert_true(norm[128 + 16 + 4] == 404);
    free(packed);
}

static void a_layer_above_two_directions_has_columns_in_two_padded_halves(void **state) {
    (void)state;
    enum { H = 5, INNER = 2 * H };
    Desc d = cell_of(SEQTUNE_LSTM, 3, H);
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    d.layers = 2;
    float w[4 * H * INNER];
    for (int i = 0; i < 4 * H * INNER; i++) w[i] = (float)(i + 1);
    Weights weights[4] = {SEQTUNE_RNN_WEIGHTS_INIT, SEQTUNE_RNN_WEIGHTS_INIT,
                          SEQTUNE_RNN_WEIGHTS_INIT, SEQTUNE_RNN_WEIGHTS_INIT};
    weights[3].w = w; /* layer 1, reverse */
    char *packed = pack_as(&d, SEQTUNE_RNN_PYTORCH, weights);
    const RnnBlock b = block_at(&d, 1, 1);
    for (int k = 0; k < INNER; k++) assert_true(floats(packed, b.w)[k / H * 32 + k % H] == w[k]);
    assert_true(floats(packed, b.w)[H] == 0 && floats(packed, b.w)[64] == w[INNER]);
    assert_true(floats(packed, block_at(&d, 1, 0).w)[0] == 0);
    free(packed);
}

static void blocks_lie_one_after_the_other_and_end_with_the_bytes(void **state) {
    (void)state;
    Desc d = cell_of(SEQTUNE_LSTM, 100, 33);
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    d.layers = 3;
    d.projection = 20;
    d.peephole = d.layer_norm = 1;
    int64_t end = 0;
    size_t bytes = 0;
    for (int layer = 0; layer < 3; layer++)
        for (int direction = 0; direction < 2; direction++) {
            const RnnBlock b = block_at(&d, layer, direction);
            assert_int_equal(b.w, end);
            assert_int_equal(b.r, b.w + 192 * (layer == 0 ? 128 : 64) * 4);
            assert_int_equal(b.bias, b.r + 192 * 32 * 4);
            assert_int_equal(b.hidden_bias, -1);
            assert_int_equal(b.peephole, b.bias + 192 * 4);
            assert_int_equal(b.projection, b.peephole + 768); /* 3 * 48 floats, padded */
            assert_int_equal(b.norm, b.projection + 32 * 64 * 4);
            assert_int_equal(b.w % 256 + b.r % 256 + b.bias % 256 + b.norm % 256, 0);
            end = b.end;
        }
    assert_int_equal(seqtune_rnn_weights_bytes(&d, &bytes), SEQTUNE_OK);
    assert_int_equal(bytes, end);
}

static void weights_are_rounded_to_nearest_even(void **state) {
    (void)state;
    static const struct {
        float x;
        uint16_t f16, bf16;
    } rows[] = {
        {1, 0x3c00, 0x3f80},
        {-2.5f, 0xc100, 0xc020},
        {1 + 0x1p-11f, 0x3c00, 0x3f80},     /* halfway: to even */
        {1 + 3 * 0x1p-11f, 0x3c02, 0x3f80}, /* halfway: to even */
        {1 + 0x1.2p-11f, 0x3c01, 0x3f80},
        {1 + 0x1p-8f, 0x3c04, 0x3f80},
        {1 + 3 * 0x1p-8f, 0x3c0c, 0x3f82},
        {0x1p-14f, 0x0400, 0x3880},
        {0x1p-24f, 0x0001, 0x3380}, /* the smallest of f16 */
        {0x1p-25f, 0x0000, 0x3300},
        {0x1.8p-24f, 0x0002, 0x33c0},
        {0x1.ff8p-15f, 0x03ff, 0x3880},
        {65504, 0x7bff, 0x4780},
        {65519, 0x7bff, 0x4780},
        {0.0f, 0, 0},
        {-0.0f, 0x8000, 0x8000},
    };
    enum { N = sizeof rows / sizeof rows[0] };
    float w[4 * N];
    for (int i = 0; i < 4 * N; i++) w[i] = rows[i % N].x;
    Weights weights = SEQTUNE_RNN_WEIGHTS_INIT;
    weights.w = w;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        Desc d = cell_of(SEQTUNE_LSTM, N, 1);
        d.dtype = bf16 ? SEQTUNE_BF16 : SEQTUNE_F16;
        char *packed = pack_as(&d, SEQTUNE_RNN_PYTORCH, &weights);
        const uint16_t *got = (const uint16_t *)(const void *)packed;
        for (int i = 0; i < N; i++) assert_int_equal(got[i], bf16 ? rows[i].bf16 : rows[i].f16);
        free(packed);
    }
}

static void mistakes_are_refused_with_their_names(void **state) {
    (void)state;
    static char out[1 << 20];
    static float numbers[4096];
    const Desc lstm = cell_of(SEQTUNE_LSTM, 3, 5), gru = cell_of(SEQTUNE_GRU, 3, 5);
    Weights w = SEQTUNE_RNN_WEIGHTS_INIT;
    struct {
        const Desc *d;
        seqtune_rnn_layout layout;
        size_t offset; /* of what is given in w */
        const char *part;
    } rows[] = {
        {&lstm, SEQTUNE_RNN_PYTORCH, offsetof(Weights, peephole), "has no peephole"},
        {&lstm, SEQTUNE_RNN_PYTORCH, offsetof(Weights, projection), "has no projection"},
        {&lstm, SEQTUNE_RNN_PYTORCH, offsetof(Weights, norm_r), "has no layer_norm"},
        {&lstm, SEQTUNE_RNN_PYTORCH, offsetof(Weights, update_new), "update_new is"},
        {&gru, SEQTUNE_RNN_PYTORCH, offsetof(Weights, forget_bias), "has no forget gate"},
        {&gru, SEQTUNE_RNN_TF_ICFO, offsetof(Weights, w), "SEQTUNE_RNN_TF_ICFO has no GRU"},
        {&gru, (seqtune_rnn_layout)7, offsetof(Weights, w), "layout is 7"},
        {&gru, SEQTUNE_RNN_ONNX, offsetof(Weights, size), "SEQTUNE_RNN_WEIGHTS_INIT"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Weights bad = w;
        const float *p = numbers;
        if (rows[i].offset < offsetof(Weights, forget_bias)) /* a pointer, or the size */
            memcpy((char *)&bad + rows[i].offset, &p, sizeof p);
        if (rows[i].offset == offsetof(Weights, forget_bias)) bad.forget_bias = 1;
        if (rows[i].offset == offsetof(Weights, update_new)) bad.update_new = 2;
        const seqtune_status st = seqtune_rnn_pack_weights(rows[i].d, rows[i].layout, &bad, out);
        assert_true(st == SEQTUNE_INVALID || st == SEQTUNE_UNSUPPORTED);
        assert_has(seqtune_open_error(), "seqtune_rnn_pack_weights");
        assert_has(seqtune_open_error(), rows[i].part);
    }
    Desc half = lstm;
    half.dtype = SEQTUNE_F16;
    w.r = numbers;
    numbers[7] = 65520; /* rounds to infinity */
    assert_int_equal(seqtune_rnn_pack_weights(&half, SEQTUNE_RNN_PYTORCH, &w, out),
                     SEQTUNE_INVALID);
    assert_has(seqtune_open_error(), "r has the value 65520, which is not finite in f16");
    assert_has(seqtune_open_error(), "layer 0, direction 0");
    half.dtype = SEQTUNE_BF16;
    assert_int_equal(seqtune_rnn_pack_weights(&half, SEQTUNE_RNN_PYTORCH, &w, out), SEQTUNE_OK);
    numbers[7] = NAN;
    assert_int_equal(seqtune_rnn_pack_weights(&lstm, SEQTUNE_RNN_PYTORCH, &w, out),
                     SEQTUNE_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_has_limits_that_are_told),
        cmocka_unit_test(lengths_are_told_one_way),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(rows_of_a_unit_stand_eight_apart_in_blocks_of_eight_units),
        cmocka_unit_test(every_framework_packs_to_the_same_weights),
        cmocka_unit_test(the_forget_bias_is_added_to_f_alone),
        cmocka_unit_test(reset_before_has_no_bias_inside_the_product),
        cmocka_unit_test(an_update_gate_that_weighs_the_new_value_is_negated),
        cmocka_unit_test(gains_follow_the_gates_and_those_of_c_come_last),
        cmocka_unit_test(a_layer_above_two_directions_has_columns_in_two_padded_halves),
        cmocka_unit_test(blocks_lie_one_after_the_other_and_end_with_the_bytes),
        cmocka_unit_test(weights_are_rounded_to_nearest_even),
        cmocka_unit_test(mistakes_are_refused_with_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
