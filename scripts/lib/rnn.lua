-- What the problems of rnn_input, rnn_seq and rnn_cell have in common.
local rnn = {}

local function flag(name, doc)
  return dim(name) { ints = { 0, 1 }, static = true, preset = 0, doc = doc }
end

-- Dimensions in key order. `o.op`: "input" (hidden and input are known at run time only), "seq" or
-- "cell"; `o.extra`: dims of one spec, at the end.
function rnn.problem(o)
  local dims = {}
  local function add(d) dims[#dims + 1] = d end
  local exact = o.op ~= "input"
  add(dim "cell"  { enum = { "lstm", "gru" }, static = true, doc = "gates i, f, g, o or r, z, n" })
  add(dim "dtype" { enum = { "f16", "bf16", "f32" }, static = true, doc = "of x, h, y and the weights" })
  add(dim "hidden" { min = 1, max = 16384, static = exact, key = exact and "exact" or "log2/4", preset = 512, doc = "units of a layer" })
  if o.op ~= "seq" then
    add(dim "input" { min = exact and 0 or 1, max = 32768, key = "log2/4", preset = 512, doc = exact and "elements of a row of x; 0: pre is given" or "elements of a row of x" })
    add(dim "parts" { ints = { 1, 2 }, key = "ignore", preset = 1, doc = "of a row of x: 2 below a bidirectional layer" })
    add(dim "align" { ints = { 8, 4, 2, 1 }, static = true, preset = 8,
                      doc = "elements: every row of x begins at a multiple" })
  end
  if o.op ~= "input" then
    add(dim "projection" { min = 0, max = 16384, static = true, preset = 0, doc = "elements of h; 0: as many as units" })
    add(flag("peephole", "1: the gates see c (LSTM)"))
    add(flag("layer_norm", "1: of W x, R h and c"))
    add(dim "reset" { enum = { "after", "before" }, static = true, doc = "GRU: r multiplies after or before the recurrent product of n" })
    add(flag("store_gates", "1: gates after activation are stored"))
    add(flag("clip", "1: c is limited (LSTM)"))
  end
  add(dim "lengths" { enum = { "none", "padded", "packed" }, static = true, doc = "of sequences: all steps, lens, or cu_seqlens" })
  add(dim "batch" { min = 1, max = 65535, key = "log2/4", preset = 16, doc = "sequences" })
  if o.op ~= "cell" then
    add(dim "steps" { min = 0, max = 16777216, key = "log2/4", preset = 128, doc = "steps of one launch" })
  end
  add(dim "directions" { min = 1, max = 2, preset = 1, doc = "side by side" })
  for _, d in ipairs(o.extra or {}) do add(d) end
  return dims
end

rnn.require = {
  need("cell == 'lstm' or peephole == 0", "peepholes belong to the LSTM"),
  need("cell == 'lstm' or projection == 0", "projection belongs to the LSTM"),
  need("cell == 'lstm' or clip == 0", "cell clip belongs to the LSTM"),
  need("cell == 'gru' or reset == 'after'", "reset belongs to the GRU"),
  need("projection <= hidden", "the projection is no longer than the cell"),
}

-- Lets of every spec, to stand first: see runtime/params/rnn.h for rows and pitches.
rnn.shape = {
  let("gates", "cell == 'lstm' and 4 or 3"),
  let("element", "dtype == 'f32' and 4 or 2"),      -- bytes
  let("units_pad", "cdiv(hidden, 16) * 16"),
  let("rows", "units_pad * gates"),
}

-- Of those that read x.
rnn.input = {
  let("x_align", "min(16, align * element)"),       -- bytes: one access
}

-- Of those that contract over h.
rnn.recurrent = {
  let("state", "projection > 0 and projection or hidden"),
  let("state_pitch", "cdiv(state, 32) * 32"),
}

-- One step as a launch of its own (templates/lib/rnn_step.cuh): the axes, and what follows from them.
rnn.step_axes = {
  axis "batch_tile" { 1, 2, 4, 8, 16, 32, 64 },   -- sequences per block
  axis "warp_units" { 1, 2, 8, 16 },              -- units per warp
  axis "groups"     { 1, 2, 4, 8 },               -- warps side by side
  axis "splits"     { 1, 2, 4, 8 },               -- warps that share out k
  axis "depth"      { 1, 2, 4, 8 },               -- loads of weights under way, in turns of the loop
}

-- Needs the lets of shape, recurrent and input, and `tensor`, `fused`, `streamed`.
rnn.step = {
  let("h_align", "streamed == 1 and 16 or (state * element % 16 == 0 and 16 or (state * element % 8 == 0 and 8 or (state * element % 4 == 0 and 4 or 2)))"),
  let("units", "groups * warp_units"),
  let("columns_", "max(1, batch_tile // 8)"),
  let("tiles_", "warp_units * gates // 16"),
  let("unit_sums_", "cell == 'gru' and fused == 0 and 3 or 4"),
  -- Sums of all splits meet in shared memory.
  let("smem_bytes", "splits * units * batch_tile * (tensor == 1 and unit_sums_ or 4) * 4"),
  -- 32-bit registers per lane: operands under way, sums, the units to finish, addresses of rows.
  let("unit_items_", "tensor == 1 and cdiv(units * batch_tile, 32 * groups * splits) or 1"),
  let("mma_regs", "depth * (tiles_ * 8 + columns_ * 4) + columns_ * warp_units // 8 * (gates + (cell == 'gru' and fused or 0)) * 2 + unit_items_ * 9 + columns_ * 2"),
  let("gemv_regs", "depth * (warp_units * gates * 4 + batch_tile * 4) + warp_units * batch_tile * 4 + (batch_tile + 1) * 16 // element + 9 + batch_tile * 2"),
  let("live_regs", "tensor == 1 and mma_regs or gemv_regs"),
  let("est_regs", "min(live_regs + 40, 255)"),
  let("step_threads", "32 * groups * splits"),
  let("launch_blocks", "max(1, min(gpu.smem_sm // (smem_bytes + 1024), gpu.regs_sm // (min(live_regs + 64, 255) * step_threads), gpu.warps_sm * 32 // step_threads))"),
  let("step_blocks", "cdiv(hidden, units) * cdiv(batch, batch_tile) * directions"),
  -- Bytes of weights under way per SM, up to what hides the latency of memory.
  let("flight", "min(launch_blocks, cdiv(step_blocks, gpu.sms)) * step_threads * depth * (tensor == 1 and tiles_ * 2 or warp_units * gates) * 16"),
}

rnn.step_rules = {
  rule("tensor == 0 or dtype ~= 'f32'", "TF32 products miss what f32 users expect"),
  rule("(tensor == 1) == (batch_tile >= 8)", "tensor cores take 8 sequences, CUDA cores keep up with few"),
  rule("(tensor == 1) == (warp_units >= 8)", "16 rows of tensor cores are gates of 8 or more units"),
  rule("tensor == 0 or warp_units == 16 or cell == 'lstm'", "8 units of a GRU are one and a half tiles"),
  rule("units <= units_pad", "a block of more units than there are is idle in part"),
  rule("batch_tile <= 8 and (batch_tile == 1 or batch_tile // 2 < batch or tensor == 1) or batch_tile // 2 < batch", "sequences that do not exist cost registers"),
  rule("groups * splits >= 2 and groups * splits <= 16", "64 to 512 threads a block"),
  rule("live_regs <= 150", "with addresses and masks it spills"),
  rule("h_align >= 4 and (fused == 0 or x_align >= 4) or depth * columns_ <= 2", "rows read element by element: more of them at a time only lengthen the code"),
  rule("splits <= max(1, cdiv(state_pitch, tensor == 1 and 32 or 512 // element))", "every split has a part of k"),
}

-- A list of lets from several.
function rnn.lets(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, l in ipairs(list) do all[#all + 1] = l end
  end
  return all
end

return rnn
