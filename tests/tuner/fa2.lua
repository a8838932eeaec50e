-- FlashAttention-2's forward kernel (commit 0251105a) for `seqtune run-ptx`: heads side by side,
-- [batch, head, row, column] in f16. The numbers in brackets are offsets in its parameter structure.
-- --set: b h length d (shape), m n warps (the tile), causal, q (Q in registers), check.
local b, h, length, d = set.b or 1, set.h or 2, set.length or 256, set.d
local m, n, causal = set.m, set.n, set.causal or 0
local row, head, batch = d, d * length, d * length * h

for i, name in ipairs { "q", "k", "v" } do
  buffer(name) { dtype = "f16", count = b * batch, fill = { uniform = { -1, 1 }, seed = i } }
end
buffer "o" { dtype = "f16", count = b * batch }
buffer "lse" { dtype = "f32", count = b * h * length }

local rounded, scale = cdiv(length, 128) * 128, 1 / math.sqrt(d)
local p = {
  size = 472,
  [0] = ptr "q", [8] = ptr "k", [16] = ptr "v", [112] = ptr "o", [160] = ptr "lse",
  [96] = i32(h), [100] = i32(h), [104] = i32(1),
  [128] = i64(batch), [136] = i64(row), [144] = i64(head),
  [176] = i32(b), [180] = i32(length), [184] = i32(length), [192] = i32(d),
  [196] = i32(rounded), [200] = i32(rounded), [204] = i32(d),
  [216] = f32(scale), [220] = f32(scale * 1.4426950408889634),
  [372] = f32(1), [376] = u8(255), [380] = f32(1), -- no dropout
  [388] = i32(-1), [392] = i32(causal == 1 and 0 or -1), [441] = u8(causal),
}
for i = 0, 2 do -- strides of q, k, v
  p[24 + 8 * i], p[48 + 8 * i], p[72 + 8 * i] = i64(batch), i64(row), i64(head)
end
local of_q, of_kv = 2 * m * d, 4 * n * d
launch {
  grid = { cdiv(length, m), b, h },
  block = 32 * set.warps,
  smem = set.q == 1 and math.max(of_q, of_kv) or of_q + of_kv,
  params = { struct(p) },
}

if set.check == 1 then -- attention in double, one row at a time
  local known, out = -1, {}
  local function attend(i) -- row i of all heads
    local first, last, sum, weight = i // length * length, causal == 1 and i or nil, 0, {}
    last = last or first + length - 1
    for j = first, last do
      local s = 0
      for c = 0, d - 1 do s = s + at("q", i * d + c) * at("k", j * d + c) end
      weight[j] = math.exp(s * scale)
      sum = sum + weight[j]
    end
    for c = 0, d - 1 do
      out[c] = 0
      for j = first, last do out[c] = out[c] + weight[j] / sum * at("v", j * d + c) end
    end
    known = i
  end
  expect "o" {
    abs = 1e-3,
    equals = function(e)
      if e // d ~= known then attend(e // d) end
      return out[e % d]
    end,
  }
end
