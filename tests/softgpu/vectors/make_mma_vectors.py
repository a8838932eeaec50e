#!/usr/bin/env python3
"""Writes mma_vectors.inc: sums of tensor cores by the published rule, in exact integers.

The rule is MMA-Sim's (Xie et al., arXiv 2511.10909) as its text gives it: products are exact and
not normalised, every term and C are aligned to the largest exponent (that of a subnormal is its
type's least, that of a zero -126) and cut to F fraction bits, integers are added, the sum is cut to
f32 or rounded to nearest even to f16; a sum of zero, or one that becomes zero, is +0; NaN is
0x7fffffff or 0x7fff. This shares no line with softgpu/exec/mma_exact.h, and no method: there f32
and f64 vectors, here Python's integers.

    python3 tests/softgpu/vectors/make_mma_vectors.py > tests/softgpu/vectors/mma_vectors.inc
    python3 tests/softgpu/vectors/make_mma_vectors.py m16n8k16.f32.f16.f16.f32 sm_80 3   # one D

A row is FORM(name, first architecture, kind of operands, hash of D). Operands come from `draw`,
which exec_mma_vectors_test.c has too; the hash is FNV-1a over D's words by rows.
"""
import sys

# name: fraction bits, exponent bits
TYPES = {"f16": (10, 5), "bf16": (7, 8), "tf32": (23, 8), "e4m3": (3, 4), "e5m2": (2, 5),
         "f32": (23, 8)}
KINDS = 7  # tame, any, infinities, NaN, large, small, cancelling


class Random:
    """xorshift32 (Marsaglia 2003)."""

    def __init__(self, seed):
        self.x = seed

    def next(self):
        self.x ^= self.x << 13 & 0xFFFFFFFF
        self.x ^= self.x >> 17
        self.x ^= self.x << 5 & 0xFFFFFFFF
        return self.x


def draw(r, name, kind):
    fraction, exponent = TYPES[name]
    top, bias = (1 << exponent) - 1, (1 << (exponent - 1)) - 1
    bits, choice = r.next(), r.next()
    sign, mantissa = bits >> 31, bits & ((1 << fraction) - 1)
    field = (bits >> 23) % (top + (name == "e4m3"))  # finite: e4m3 has one NaN and no infinity
    if kind == 0 or kind == 6:
        field = bias - 2 + (bits >> 23) % 4
    if kind == 4:
        field = top - 1 - (bits >> 23) % 3
    if kind == 5:
        field = (bits >> 23) % 3
        if name in ("bf16", "tf32") and choice & 64:  # products near the least f32
            field = bias - 74 - (bits >> 23) % 3
    if kind != 0 and choice % 8 == 0:
        field = mantissa = 0
    if kind == 2 and choice % 24 == 1:
        field, mantissa = top, 0
    if kind == 3 and choice % 48 < 2:
        field, mantissa = top, mantissa if choice % 48 else 0
    elif name == "e4m3" and field == top and mantissa == 7:
        mantissa = 6
    return sign << (fraction + exponent) | field << fraction | mantissa


class Value:
    """significand * 2^(exponent - fraction), or special: "inf", "nan"."""

    def __init__(self, bits, name):
        self.fraction, width = TYPES[name]
        if name == "tf32":  # the low 13 bits of the register are ignored
            bits = bits >> 13 << 13
        bias, top = (1 << (width - 1)) - 1, (1 << width) - 1
        field = bits >> self.fraction & top
        mantissa = bits & ((1 << self.fraction) - 1)
        self.negative = bool(bits >> (self.fraction + width) & 1)
        self.special = None
        if name == "e4m3":
            if field == top and mantissa == 7:
                self.special = "nan"
        elif field == top:
            self.special = "nan" if mantissa else "inf"
        self.significand = mantissa | (1 << self.fraction if field else 0)
        self.exponent = max(field, 1) - bias
        if not self.significand:
            self.exponent = -126
        if self.negative:
            self.significand = -self.significand


def cut(number, shift):
    """number * 2^shift without what is below 1, towards zero."""
    if shift >= 0:
        return number << shift
    return -(-number >> -shift) if number < 0 else number >> -shift


def special(pairs, c):
    """NaN and infinities by IEEE arithmetic; None when all is finite."""
    signs = set()
    for a, b in pairs:
        if a.special == "nan" or b.special == "nan":
            return "nan"
        if a.special or b.special:
            if not a.significand or not b.significand:
                return "nan"
            signs.add(a.negative != b.negative)
    if c.special == "nan":
        return "nan"
    if c.special:
        signs.add(c.negative)
    return None if not signs else "nan" if len(signs) == 2 else "-inf" if True in signs else "inf"


def round_to(number, scale, name, keep):
    """number * 2^scale as bits: f32 with `keep` fraction bits by cutting, f16 to nearest even."""
    fraction, width = TYPES[name]
    bias, top = (1 << (width - 1)) - 1, (1 << width) - 1
    negative, number = number < 0, abs(number)
    if number == 0:
        return 0
    exponent = max(number.bit_length() - 1 + scale, 1 - bias)
    shift = scale + (fraction if name == "f16" else keep) - exponent
    if name == "f16" and shift < 0:
        rest, half = number & ((1 << -shift) - 1), 1 << (-shift - 1)
        number >>= -shift
        number += rest > half or (rest == half and number & 1)
    else:
        number = cut(number, shift)
    if name != "f16":
        number <<= fraction - keep
    if number == 0:
        return 0
    if number >> (fraction + 1):  # rounded up to a power of two
        number >>= 1
        exponent += 1
    if exponent + bias >= top:
        bits = top << fraction
    elif number >> fraction:
        bits = (exponent + bias) << fraction | number & ((1 << fraction) - 1)
    else:
        bits = number
    return negative << (fraction + width) | bits


def fused(a, b, c, acc, F, keep):
    pairs = list(zip(a, b))
    odd = special(pairs, c)
    sign, inf = (0x8000, 0x7C00) if acc == "f16" else (0x80000000, 0x7F800000)
    if odd:
        return {"nan": sign - 1, "inf": inf, "-inf": sign | inf}[odd]
    most = max([c.exponent] + [x.exponent + y.exponent for x, y in pairs])
    total = cut(c.significand, F - c.fraction + c.exponent - most)
    for x, y in pairs:
        total += cut(x.significand * y.significand,
                     F - x.fraction - y.fraction + x.exponent + y.exponent - most)
    return round_to(total, most - F, acc, keep)


def unit(arch, ta, k):
    """F, fraction bits of an f32 result, terms that are added at once."""
    fp8 = ta in ("e4m3", "e5m2")
    if arch == 75:
        return 24, 23, 8
    if arch >= 90:
        return 25, 23, k
    halved = k == (32 if fp8 else 8 if ta == "tf32" else 16)
    step = k // 2 if halved else k
    return (13, 13, step) if fp8 and arch == 89 else (24, 23, step)


def matrices(m, n, k, ta, tb, acc, seed, kind):
    r = Random(seed)
    A = [[draw(r, ta, kind) for _ in range(k)] for _ in range(m)]
    B = [[draw(r, tb, kind) for _ in range(n)] for _ in range(k)]
    C = [[draw(r, acc, kind) for _ in range(n)] for _ in range(m)]
    if kind == 6:  # terms that cancel but for a last bit here and there
        for i in range(1, k, 2):
            for j in range(m):
                A[j][i] = A[j][i - 1] ^ (r.next() % 8 == 0)
            for j in range(n):
                B[i][j] = B[i - 1][j] ^ 1 << (sum(TYPES[tb]))
    return A, B, C


def multiply(form, arch, seed, kind):
    (m, n, k), ta, tb, acc = form
    A, B, C = matrices(m, n, k, ta, tb, acc, seed, kind)
    F, keep, step = unit(arch, ta, k)
    D = []
    for i in range(m):
        for j in range(n):
            d = C[i][j]
            for first in range(0, k, step):
                at = range(first, first + step)
                d = fused([Value(A[i][x], ta) for x in at], [Value(B[x][j], tb) for x in at],
                          Value(d, acc), acc, F, keep)
            D.append(d)
    return D


def fnv(words):
    h = 0xCBF29CE484222325
    for w in words:
        for i in range(4):
            h = (h ^ (w >> 8 * i & 255)) * 0x100000001B3 & (1 << 64) - 1
    return h


def forms():
    for k in (8, 16):
        yield "m16n8k%d.f32.f16.f16.f32" % k, ((16, 8, k), "f16", "f16", "f32"), 75 if k == 8 else 80
        yield "m16n8k%d.f16.f16.f16.f16" % k, ((16, 8, k), "f16", "f16", "f16"), 75 if k == 8 else 80
        yield "m16n8k%d.f32.bf16.bf16.f32" % k, ((16, 8, k), "bf16", "bf16", "f32"), 80
    for k in (4, 8):
        yield "m16n8k%d.f32.tf32.tf32.f32" % k, ((16, 8, k), "tf32", "tf32", "f32"), 80
    for k in (16, 32):
        for acc in ("f32", "f16"):
            for ta in ("e4m3", "e5m2"):
                for tb in ("e4m3", "e5m2"):
                    yield "m16n8k%d.%s.%s.%s.%s" % (k, acc, ta, tb, acc), ((16, 8, k), ta, tb, acc), 89
    for m, n in ((16, 16), (32, 8), (8, 32)):
        for acc in ("f32", "f16"):
            yield "wmma.m%dn%dk16.%s.%s" % (m, n, acc, acc), ((m, n, 16), "f16", "f16", acc), 75
        yield "wmma.m%dn%dk16.f32.bf16.bf16.f32" % (m, n), ((m, n, 16), "bf16", "bf16", "f32"), 80
    yield "wmma.m16n16k8.f32.tf32.tf32.f32", ((16, 16, 8), "tf32", "tf32", "f32"), 80


def main():
    for index, (name, form, least) in enumerate(forms()):
        for arch in (75, 80, 89, 90):
            if arch < least or (len(sys.argv) > 1 and sys.argv[1:3] != [name, "sm_%d" % arch]):
                continue
            for kind in range(KINDS):
                D = multiply(form, arch, 1 + 97 * index + kind, kind)
                if len(sys.argv) == 1:
                    print('FORM("%s", %d, %d, 0x%016x)' % (name, arch, kind, fnv(D)))
                elif int(sys.argv[3]) == kind:
                    n = form[0][1]
                    for i in range(0, len(D), n):
                        print(" ".join("%08x" % d for d in D[i:i + n]))


main()
