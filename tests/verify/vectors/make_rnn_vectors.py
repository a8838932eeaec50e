#!/usr/bin/env python3
"""Writes rnn_vectors.inc: small recurrent problems answered by others, who share no line with
tuner/verify/rnn_reference.c. Run it only to change the vectors:

    python3 -m pip install torch numpy onnx
    python3 tests/verify/vectors/make_rnn_vectors.py > tests/verify/vectors/rnn_vectors.inc

All in float64. Without a word to the contrary the answer is that of PyTorch's nn.LSTM and nn.GRU on
the CPU (packed sequences for lengths). Peepholes and the GRU's reset before the product, which
PyTorch lacks, come from onnx.reference.ReferenceEvaluator. Nobody at hand has a clipped cell or
layer norm: those two are an independent formulation here (einsum over named axes, F.layer_norm).
The other convention of z is nn.GRU with z's weights negated: sigmoid(-x) = 1 - sigmoid(x).
"""
import textwrap

import numpy as np
import onnx
import onnx.reference
import torch
import torch.nn.functional as F

D = torch.float64
EPS = 2.0**-7  # layer norm's: large enough that leaving it out is seen

# name, cell, batch, steps, input, hidden, projection, layers, directions, lens, what else
CASES = [
    ("lstm", "lstm", 2, 5, 3, 4, 0, 1, 1, None, {}),
    ("gru", "gru", 2, 5, 3, 4, 0, 1, 1, None, {}),
    ("lstm_projected", "lstm", 2, 4, 3, 5, 2, 1, 1, None, {}),
    ("lstm_both_ways", "lstm", 2, 4, 2, 3, 0, 1, 2, None, {}),
    ("lstm_two_layers_packed", "lstm", 3, 5, 3, 3, 0, 2, 2, (3, 5, 1), {}),
    ("lstm_all_packed", "lstm", 3, 4, 2, 4, 3, 2, 2, (4, 1, 2), {}),
    ("gru_two_layers_packed", "gru", 3, 5, 3, 3, 0, 2, 2, (2, 5, 1), {}),
    ("gru_new_by_z", "gru", 2, 4, 2, 3, 0, 1, 1, None, {"z_takes_new": True}),
    ("lstm_forget_bias", "lstm", 2, 4, 2, 3, 0, 1, 1, None, {"forget_bias": 1.0}),
    ("lstm_peephole", "lstm", 2, 5, 3, 4, 0, 1, 2, None, {"peephole": True}),
    ("gru_reset_before", "gru", 2, 5, 3, 4, 0, 1, 2, None, {"reset_before": True}),
    ("lstm_clipped", "lstm", 2, 6, 3, 4, 0, 1, 1, None, {"cell_clip": 0.25, "peephole": True}),
    ("lstm_layer_norm", "lstm", 2, 4, 3, 5, 0, 1, 1, None, {"layer_norm": True}),
    ("lstm_norm_projected", "lstm", 2, 4, 3, 5, 2, 1, 1, None,
     {"layer_norm": True, "peephole": True, "cell_clip": 0.5}),
]


class Case:
    def __init__(self, name, cell, batch, steps, inp, hidden, proj, layers, dirs, lens, more):
        self.name, self.cell, self.batch, self.steps, self.inp = name, cell, batch, steps, inp
        self.hidden, self.proj, self.layers, self.dirs, self.lens = hidden, proj, layers, dirs, lens
        self.state, self.gates = proj or hidden, 4 if cell == "lstm" else 3
        flag = lambda key, otherwise=False: more.get(key, otherwise)
        self.peephole, self.norm = flag("peephole"), flag("layer_norm")
        self.before, self.new_by_z = flag("reset_before"), flag("z_takes_new")
        self.forget_bias, self.clip = flag("forget_bias", 0.0), flag("cell_clip", 0.0)
        self.x = numbers(batch, steps, inp)
        self.h, self.c = (numbers(layers * dirs, batch, n) for n in (self.state, hidden))
        self.weights = [self.make_weights(i // dirs) for i in range(layers * dirs)]

    def make_weights(self, layer):
        inp, rows = self.inp if layer == 0 else self.dirs * self.state, self.gates * self.hidden
        w = {"w": numbers(rows, inp), "r": numbers(rows, self.state)}
        w["bias"], w["hidden_bias"] = numbers(rows), numbers(rows)
        if self.peephole:
            w["peephole"] = numbers(3, self.hidden)
        if self.proj:
            w["projection"] = numbers(self.proj, self.hidden)
        if self.norm:
            w["norm_gain"], w["norm_shift"] = 1 + numbers(2, rows), numbers(2, rows)
            w["cell_gain"], w["cell_shift"] = 1 + numbers(self.hidden), numbers(self.hidden)
        return w


def numbers(*shape):
    """Normal, spread 0.7, in steps of 1/64: short to write down."""
    return (torch.randn(*shape, dtype=D) * 45).round() / 64


# ---- the answers: y [batch, steps, dirs * state], h, c [layers * dirs, batch, ..] ----


def by_pytorch(k):
    kind = torch.nn.LSTM if k.cell == "lstm" else torch.nn.GRU
    extra = {"proj_size": k.proj} if k.proj else {}
    m = kind(k.inp, k.hidden, k.layers, batch_first=True, bidirectional=k.dirs == 2, dtype=D, **extra)
    names = {"w": "weight_ih", "r": "weight_hh", "bias": "bias_ih", "hidden_bias": "bias_hh",
             "projection": "weight_hr"}
    sign = torch.ones(k.gates * k.hidden, dtype=D)
    if k.new_by_z:
        sign[k.hidden : 2 * k.hidden] = -1
    forget = torch.zeros(k.gates * k.hidden, dtype=D)
    forget[k.hidden : 2 * k.hidden] = k.forget_bias
    with torch.no_grad():
        for i, w in enumerate(k.weights):
            for key, value in w.items():
                by_row = sign[:, None] if value.dim() == 2 else sign
                value = value if key == "projection" else value * by_row
                value = value + forget if key == "bias" else value
                tail = "_l%d%s" % (i // k.dirs, "_reverse" if i % k.dirs else "")
                getattr(m, names[key] + tail).copy_(value)
        x, state = k.x, (k.h, k.c) if k.cell == "lstm" else k.h
        if k.lens:
            x = torch.nn.utils.rnn.pack_padded_sequence(x, k.lens, True, enforce_sorted=False)
        y, end = m(x, state)
        if k.lens:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, True, total_length=k.steps)
    return (y, *end) if k.cell == "lstm" else (y, end, None)


def by_onnx(k):
    order = (0, 3, 1, 2) if k.cell == "lstm" else (1, 0, 2)  # iofc of ifgo, zrh of rzn
    pick = lambda t: torch.cat([t.chunk(k.gates)[g] for g in order])
    stack = lambda key: torch.stack([pick(w[key]) for w in k.weights]).numpy()
    feed = {"X": k.x.transpose(0, 1).numpy(), "W": stack("w"), "R": stack("r")}
    feed["B"] = np.concatenate([stack("bias"), stack("hidden_bias")], axis=1)
    feed["L"], feed["H"] = np.full(k.batch, k.steps, np.int32), k.h.numpy()
    more = {"direction": "bidirectional" if k.dirs == 2 else "forward", "hidden_size": k.hidden}
    names, outputs = ["X", "W", "R", "B", "L", "H"], ["Y", "YH"]
    if k.cell == "lstm":
        p = [w["peephole"][[0, 2, 1]].flatten() for w in k.weights]  # i, o, f
        feed["C"], feed["P"] = k.c.numpy(), torch.stack(p).numpy()
        names, outputs = names + ["C", "P"], outputs + ["YC"]
    else:
        more["linear_before_reset"] = 0
    node = onnx.helper.make_node(k.cell.upper(), names, outputs, **more)
    value = lambda name: onnx.helper.make_tensor_value_info(
        name, onnx.TensorProto.INT32 if name == "L" else onnx.TensorProto.DOUBLE, None)
    graph = onnx.helper.make_graph([node], "g", [value(n) for n in names], [value(n) for n in outputs])
    out = onnx.reference.ReferenceEvaluator(onnx.helper.make_model(graph)).run(None, feed)
    y = torch.from_numpy(np.transpose(out[0], (2, 0, 1, 3)).copy()).reshape(k.batch, k.steps, -1)
    return y, torch.from_numpy(out[1]), torch.from_numpy(out[2]) if k.cell == "lstm" else None


def formulated(k):
    """One layer and direction of LSTM: a clipped cell (before the output's peephole), layer norm as
    in arXiv 1607.06450, eq. 20-22."""
    w, h, c, ys = k.weights[0], k.h[0], k.c[0], []
    rows = k.gates * k.hidden
    norm = lambda t, i: F.layer_norm(t, (rows,), w["norm_gain"][i], w["norm_shift"][i], EPS)
    p_i, p_f, p_o = w["peephole"] if k.peephole else torch.zeros(3, k.hidden, dtype=D)
    for t in range(k.steps):
        from_x = torch.einsum("ri,bi->br", w["w"], k.x[:, t])
        from_h = torch.einsum("rs,bs->br", w["r"], h)
        if k.norm:
            from_x, from_h = norm(from_x, 0), norm(from_h, 1)
        i, f, g, o = (from_x + from_h + w["bias"] + w["hidden_bias"]).split(k.hidden, dim=1)
        i, f = torch.special.expit(i + p_i * c), torch.special.expit(f + p_f * c)
        c = f * c + i * g.tanh()
        if k.clip:
            c = c.clamp(-k.clip, k.clip)
        o = torch.special.expit(o + p_o * c)
        bent = F.layer_norm(c, (k.hidden,), w["cell_gain"], w["cell_shift"], EPS) if k.norm else c
        h = o * bent.tanh()
        if k.proj:
            h = torch.einsum("ps,bs->bp", w["projection"], h)
        ys.append(h)
    return torch.stack(ys, dim=1), h[None], c[None]


# ---- as C ----


def doubles(name, tensors):
    words = [v.hex() for t in tensors for v in t.contiguous().flatten().tolist()]
    text = "static const double %s[] = {%s};" % (name, ", ".join(map(short, words)))
    print(textwrap.fill(text, width=100, subsequent_indent="    ", break_on_hyphens=False))


def short(word):
    """0x1.8000000000000p+0 as 0x1.8p+0."""
    digits, exponent = word.split("p")
    return digits.rstrip("0").rstrip(".") + "p" + exponent if "." in digits else word


def main():
    torch.manual_seed(20260807)
    print("/* Made by make_rnn_vectors.py with PyTorch %s and onnx %s on the CPU; do not edit. */"
          % (torch.__version__.split("+")[0], onnx.__version__))
    print("/* clang-format off */")
    rows = []
    for row in CASES:
        k = Case(*row)
        special = k.clip or k.norm
        y, h, c = formulated(k) if special else by_onnx(k) if k.peephole or k.before else by_pytorch(k)
        n = "rnn_" + k.name
        if k.lens:
            print("static const int64_t %s_lens[] = {%s};" % (n, ", ".join(map(str, k.lens))))
        doubles(n + "_weights", [t for w in k.weights for t in w.values()])
        doubles(n + "_x", [k.x])
        doubles(n + "_h_in", [k.h])
        doubles(n + "_y", [y])
        doubles(n + "_h", [h])
        lstm = k.cell == "lstm"
        if lstm:
            doubles(n + "_c_in", [k.c])
            doubles(n + "_c", [c])
        flags = [k.peephole, k.norm, k.before, k.new_by_z]
        rows.append('    {"%s", %d, %d, %d, %d, %d, %d, %d, %d, %s, %r, %r, %r, %s, %s_weights, %s_x, '
                    "%s_h_in, %s, %s_y, %s_h, %s},"
                    % (k.name, not lstm, k.batch, k.steps, k.inp, k.hidden, k.proj, k.layers, k.dirs,
                       ", ".join(str(int(f)) for f in flags), k.forget_bias, k.clip,
                       EPS if k.norm else 0.0, n + "_lens" if k.lens else "NULL", n, n, n,
                       n + "_c_in" if lstm else "NULL", n, n, n + "_c" if lstm else "NULL"))
    print("static const RnnVector rnn_vectors[] = {")
    print("\n".join(rows))
    print("};")


main()
