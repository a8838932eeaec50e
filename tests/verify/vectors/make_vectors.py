#!/usr/bin/env python3
"""Writes vectors.inc: small problems answered by PyTorch on the CPU, an implementation that shares
no line with tuner/verify/reference.c. Run it only to change the vectors:

    python3 -m pip install torch numpy
    python3 tests/verify/vectors/make_vectors.py > tests/verify/vectors/vectors.inc

Attention comes from scaled_dot_product_attention in float64 with PyTorch's own lower-right causal
bias, LSE from logsumexp, RoPE from complex multiplication (interleaved) and rotate_half (neox),
conversions from Tensor.to.
"""
import textwrap

import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right

TYPES = {"f16": torch.float16, "bf16": torch.bfloat16}

# name, dtype, batch, heads_q, heads_kv, head_dim, len_q, len_kv, left, right (-1: open)
ATTENTION = [
    ("none", "f16", 2, 2, 1, 8, 3, 5, -1, -1),
    ("causal_square", "bf16", 1, 3, 3, 8, 6, 6, -1, 0),
    ("causal_decode", "f16", 1, 4, 2, 8, 2, 9, -1, 0),
    ("causal_more_queries", "bf16", 1, 2, 2, 8, 7, 4, -1, 0),
    ("window_left", "f16", 1, 4, 1, 8, 8, 8, 2, 0),
    ("window_both", "bf16", 1, 2, 2, 8, 6, 10, 1, 2),
    ("window_zero", "f16", 1, 7, 1, 8, 5, 7, 0, 0),
]

# name, dtype, tokens, heads, head_dim, rotary_dim, rotary_offset, interleaved, first, theta
ROPE = [
    ("neox", "f16", 4, 2, 16, 16, 0, 0, 5, 1e4),
    ("interleaved", "bf16", 4, 2, 16, 16, 0, 1, 131068, 5e5),
    ("partial", "f16", 3, 1, 24, 8, 4, 0, 7, 1e4),
]


def array(kind, name, words):
    text = "static const %s %s[] = {%s};" % (kind, name, ", ".join(words))
    return textwrap.fill(text, width=100, subsequent_indent="    ", break_on_hyphens=False)


def codes(name, tensor):
    bits = tensor.contiguous().view(torch.int16).flatten().tolist()
    return array("uint16_t", name, ["0x%04x" % (b & 0xFFFF) for b in bits])


def doubles(name, tensor):
    values = tensor.double().contiguous().flatten().tolist()
    return array("double", name, ["-INFINITY" if v == float("-inf") else v.hex() for v in values])


def row(name, dtype, dims, fields):
    values = ", ".join(map(str, dims))
    print('    {"%s", DTYPE_%s, %s,\n     %s},' % (name, dtype.upper(), values, fields))


def mask_of(len_q, len_kv, left, right):
    sees = torch.ones(len_q, len_kv, dtype=torch.bool)
    if right == 0 and left < 0:
        return causal_lower_right(len_q, len_kv)._materialize()
    shift = len_kv - len_q
    if right >= 0:
        sees = sees.tril(diagonal=shift + right)
    if left >= 0:
        sees = sees.triu(diagonal=shift - left)
    return sees


def attention(case):
    name, dtype, batch, hq, hk, d, lq, lk, left, right = case
    make = lambda length, heads: torch.randn(batch, length, heads, d).to(TYPES[dtype])
    q, k, v = make(lq, hq), make(lk, hk), make(lk, hk)
    # float64, [batch, head, token, dim], K and V repeated to all query heads
    heads = lambda x, n: x.double().transpose(1, 2).repeat_interleave(n, dim=1)
    Q, K, V = heads(q, 1), heads(k, hq // hk), heads(v, hq // hk)
    sees = mask_of(lq, lk, left, right)
    empty = ~sees.any(dim=1)
    out = F.scaled_dot_product_attention(Q, K, V, attn_mask=sees)
    out[:, :, empty] = 0  # the convention; PyTorch's own answer has changed between versions
    scores = (Q @ K.transpose(2, 3)) / d**0.5
    scores = scores.masked_fill(~sees, float("-inf"))
    lse = torch.logsumexp(scores, dim=3)
    low = (scores.float().to(TYPES[dtype])).double()
    prob = torch.softmax(low, dim=3).float().to(TYPES[dtype]).double()
    prob[:, :, empty] = 0
    naive = prob @ V
    for part, x in (("q", q), ("k", k), ("v", v)):
        print(codes("%s_%s" % (name, part), x))
    print(doubles("%s_o" % name, out.transpose(1, 2)))
    print(doubles("%s_naive" % name, naive.transpose(1, 2)))
    print(doubles("%s_lse" % name, lse))


def rope(case):
    name, dtype, tokens, heads, d, rot, off, interleaved, first, theta = case
    x = torch.randn(tokens, heads, d).to(TYPES[dtype])
    freq = theta ** (-torch.arange(0, rot, 2, dtype=torch.float64) / rot)
    angle = torch.outer(torch.arange(first, first + tokens, dtype=torch.float64), freq)
    cos, sin = angle.cos().float(), angle.sin().float()
    y = x.double()
    part = y[..., off : off + rot]
    if interleaved:
        turn = torch.complex(cos.double(), sin.double())[:, None, :]
        pairs = torch.view_as_complex(part.reshape(tokens, heads, rot // 2, 2).contiguous())
        turned = torch.view_as_real(pairs * turn).reshape(tokens, heads, rot)
    else:
        c = torch.cat([cos, cos], dim=-1).double()[:, None, :]
        s = torch.cat([sin, sin], dim=-1).double()[:, None, :]
        half = torch.cat([-part[..., rot // 2 :], part[..., : rot // 2]], dim=-1)
        turned = part * c + half * s
    y = torch.cat([y[..., :off], turned, y[..., off + rot :]], dim=-1)
    print(codes("rope_%s_x" % name, x))
    print(doubles("rope_%s_cos" % name, cos))
    print(doubles("rope_%s_sin" % name, sin))
    print(doubles("rope_%s_out" % name, y))


def conversions():
    """Ties, subnormals, overflow and random values, each through Tensor.to."""
    edges = []
    for t in TYPES.values():
        info = torch.finfo(t)
        for base in (1.0, 1.0 + info.eps, info.max, info.tiny, info.tiny * info.eps, 0.3, 0.0):
            step = base * info.eps / 2
            edges += [base, -base, base + step, base - step, base + 1.001 * step, base * 0.5,
                      base * 1.5, base * 2]
    x = torch.cat([torch.tensor(edges, dtype=torch.float64).float(), torch.randn(64),
                   torch.randn(32) * 1e-6, torch.randn(32) * 1e5])
    bits = x.view(torch.int32).tolist()
    half = x.to(torch.float16).view(torch.int16).tolist()
    bf = x.to(torch.bfloat16).view(torch.int16).tolist()
    print("static const struct { uint32_t bits; uint16_t f16, bf16; } conversions[] = {")
    for a, b, c in zip(bits, half, bf):
        print("    {0x%08x, 0x%04x, 0x%04x}," % (a & 0xFFFFFFFF, b & 0xFFFF, c & 0xFFFF))
    print("};")


def main():
    torch.manual_seed(20240807)
    version = torch.__version__.split("+")[0]
    print("/* Made by make_vectors.py with PyTorch %s on the CPU; do not edit. */" % version)
    print("/* clang-format off */")
    for case in ATTENTION:
        attention(case)
    print("static const AttentionVector attention_vectors[] = {")
    for name, dtype, *dims in ATTENTION:
        fields = ", ".join("%s_%s" % (name, p) for p in ("q", "k", "v", "o", "naive", "lse"))
        row(name, dtype, dims, fields)
    print("};")
    for case in ROPE:
        rope(case)
    print("static const RopeVector rope_vectors[] = {")
    for name, dtype, *dims in ROPE:
        fields = ", ".join("rope_%s_%s" % (name, p) for p in ("x", "cos", "sin", "out"))
        row(name, dtype, dims[:-1], fields)
    print("};")
    conversions()


main()
