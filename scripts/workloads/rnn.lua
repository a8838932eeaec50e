-- rnn: recurrent layers whose times others have published, and single steps of real-time models.
--
-- Every step of a sequence runs the same code, so sequences are cut to STEPS here: what wins for
-- these is what a longer one takes (nearest row). A multi-head model (FlashRNN) has recurrent
-- weights per head; heads stand here as further sequences of one head, which is the same work for a
-- block of the one-block tier and less for its weights.
local STEPS = 128

local flashrnn = "FlashRNN, figure head_dim--lstm.svg (H100 SXM): bf16, batch 16, T 1024, heads x head_dim = 768"
local small_h  = "cuDNN SMALL_H against STANDARD, PyTorch pull request 62143 (f32, forward)"
local vollo    = "Myrtle Vollo 25.1.2, LSTM latency table: batch 1, one step"
local samples  = "NVIDIA developer blog, code-samples posts/rnn/LSTM.cu: H 512, batch 64, T 100"

local items = {}

local function add(op, label, source, f)
  f.op, f.label, f.source = op, label, source
  items[#items + 1] = item(f)
end

-- A layer's two kernels: W x of all steps, then the steps.
local function layer(label, source, cell, dtype, hidden, batch, input)
  add("rnn_seq", label, source, { cell = cell, dtype = dtype, hidden = hidden, batch = batch, steps = STEPS })
  if input then
    add("rnn_input", label .. ", W x", source,
        { cell = cell, dtype = dtype, hidden = hidden, input = input, batch = batch, steps = STEPS })
  end
end

layer("lstm 768 x 16", flashrnn, "lstm", "bf16", 768, 16, 768)
layer("gru 768 x 16", flashrnn, "gru", "bf16", 768, 16, 768)
layer("lstm 768 x 16 f16", "the same, nn.LSTM's f16 row", "lstm", "f16", 768, 16, 768)
for _, heads in ipairs { { 16, 48 }, { 32, 24 }, { 64, 12 }, { 128, 6 }, { 256, 3 } } do
  layer("lstm " .. heads[1] .. " x 16 x " .. heads[2] .. " heads", flashrnn, "lstm", "bf16", heads[1], 16 * heads[2])
end

for _, s in ipairs { { 32, 20, 344 }, { 40, 6, 104 }, { 72, 6, 128 }, { 64, 5, 232 }, { 128, 16, 112 },
                     { 160, 1, 200 }, { 160, 44, 40 }, { 152, 45, 56 }, { 168, 62, 16 } } do
  layer("lstm " .. s[1] .. " x " .. s[2] .. " f32", small_h, "lstm", "f32", s[1], s[2], s[3])
end
layer("lstm 512 x 64", samples, "lstm", "f16", 512, 64, 512)

for _, hidden in ipairs { 128, 256, 480, 320, 960 } do
  add("rnn_cell", "lstm step " .. hidden, vollo,
      { cell = "lstm", dtype = "f16", hidden = hidden, input = hidden, batch = 1 })
end
add("rnn_cell", "lstm step 512 x 8", "none: eight streams at once", { cell = "lstm", dtype = "f16", hidden = 512, input = 512, batch = 8 })
add("rnn_cell", "gru step 256", "none: a real-time GRU", { cell = "gru", dtype = "f16", hidden = 256, input = 256, batch = 1 })

workload "rnn" { title = "LSTM and GRU layers of published timings, and single steps", items = items }
