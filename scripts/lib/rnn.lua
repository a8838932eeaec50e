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
  need("layer_norm == 0 or reset == 'after'", "a GRU with layer norm resets after the product"),
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

-- One step as a launch of its own (templates/rnn/step_mma.cu, step_gemv.cu). Axes: batch_tile (8 and
-- more: tensor cores), warp_units, k_splits (warps of a block that share out k; the others have other
-- units), depth (loads of weights under way, in turns of the loop).
rnn.step_batch_tiles = { 1, 2, 4, 8, 16, 32, 64 }
rnn.step_warp_units = { 1, 2, 8, 16 }
rnn.step_splits = { 1, 2, 4, 8 }
rnn.step_depths = { 1, 2, 4, 8 }

-- Needs the lets of shape, recurrent and input, `fused` and `streamed`.
rnn.step = {
  let("tensor", "batch_tile >= 8 and 1 or 0"),      -- mma.sync, or CUDA cores
  let("h_align", "streamed == 1 and 16 or (state * element % 16 == 0 and 16 or (state * element % 8 == 0 and 8 or (state * element % 4 == 0 and 4 or 2)))"),
  let("groups", "8 // k_splits"),                     -- warps side by side
  let("step_units", "groups * warp_units"),
  let("step_columns_", "max(1, batch_tile // 8)"),
  let("step_tiles_", "warp_units * gates // 16"),
  let("step_sums_", "cell == 'gru' and fused == 0 and 3 or 4"),
  let("step_threads", "256"),
  -- Sums of all k_splits meet in shared memory.
  let("step_smem", "k_splits * step_units * batch_tile * (tensor == 1 and step_sums_ or 4) * 4"),
  -- 32-bit registers per lane: operands under way, sums, the units to finish, addresses of rows.
  let("step_mma_regs", "depth * (step_tiles_ * 8 + step_columns_ * 4) + step_columns_ * warp_units // 8 * (gates + (cell == 'gru' and fused or 0)) * 2 + cdiv(step_units * batch_tile, step_threads) * 9 + step_columns_ * 2"),
  let("step_gemv_regs", "depth * (warp_units * gates * 4 + batch_tile * 4) + warp_units * batch_tile * 4 + (batch_tile + 1) * 16 // element + 9 + batch_tile * 2"),
  let("step_regs", "tensor == 1 and step_mma_regs or step_gemv_regs"),
  -- Two blocks of one unit a warp fit: ptxas takes no more than the estimate there (measured, 13.0), but for
  -- peepholes and stored gates, which cost 12 bytes of spills; an estimate of 137, in f32 of 129, spills 12 to 66 bytes.
  let("step_launch_blocks", "max(tensor == 0 and warp_units == 1 and step_regs + 8 * (peephole + store_gates) <= (dtype == 'f32' and 128 or 136) and 2 or 1, min(gpu.smem_sm // (step_smem + 1024), gpu.regs_sm // (min(step_regs + 64, 255) * step_threads), gpu.warps_sm * 32 // step_threads))"),
  -- Workspace: lib rnn_step says of what.
  let("step_floats", "layer_norm == 1 and rows * (1 + fused) or (reset == 'before' and 2 * units_pad or 0)"),
  let("step_workspace", "directions * batch * (streamed * 2 * state_pitch * element + ((projection > 0 or reset == 'before') and cdiv(units_pad, 32) * 32 * element or 0) + step_floats * 4 + streamed * hidden * 4)"),
  let("step_blocks", "cdiv(hidden, step_units) * cdiv(batch, batch_tile) * directions"),
  -- Bytes of weights under way per SM that has a block, up to what hides the latency of memory, less
  -- for SMs without one and for reading the weights once per batch tile. It orders compilation only.
  let("step_flight", "min(min(step_launch_blocks, cdiv(step_blocks, gpu.sms)) * step_threads * depth * (tensor == 1 and step_tiles_ * 2 or warp_units * gates) * 16, 65536)"),
  let("step_score", "step_flight * min(step_blocks, gpu.sms) // gpu.sms * 8 // (7 + cdiv(batch, batch_tile))"),
}

-- `guard`: a formula; where it holds, the rules do not apply ("tier ~= 3"). nil: always.
function rnn.step_rules(guard)
  local function r(formula, reason)
    return rule(guard and guard .. " or (" .. formula .. ")" or formula, reason)
  end
  return {
    r("tensor == 0 or dtype ~= 'f32'", "TF32 products miss what f32 users expect"),
    r("(tensor == 1) == (warp_units >= 8) and warp_units <= 16", "16 rows of tensor cores are gates of 8 or more units; CUDA cores take units one by one"),
    r("tensor == 0 or warp_units == 16 or cell == 'lstm'", "8 units of a GRU are one and a half tiles"),
    r("step_units <= units_pad or k_splits == 8", "a block of more units than there are is idle in part"),
    r("k_splits <= max(1, cdiv(state_pitch, tensor == 1 and 32 or 512 // element)) or 2 * step_units > units_pad", "every split has a part of k"),
    r("batch_tile == 1 or batch_tile // 2 < batch or batch_tile == 8", "sequences that do not exist cost registers"),
    r("step_regs <= 150", "with addresses and masks it spills"),
    r("h_align >= 4 and (fused == 0 or x_align >= 4) or depth * step_columns_ <= 2", "rows read element by element: more of them at a time only lengthen the code"),
  }
end

-- The launches of one step. `guard` as above, but where they are taken; `rounds`: nil for one.
function rnn.step_launches(guard, rounds)
  local also = guard and guard .. " and " or ""
  local function units(entry, when, count)
    return step { entry = entry, grid = { count, "cdiv(batch, batch_tile)", "directions" }, block = { "threads" },
                  smem = "smem", rounds = rounds, when = when }
  end
  return {
    units("rnn_step", guard, "cdiv(hidden, step_units)"),
    step { entry = "rnn_norm", grid = { "batch", "1", "directions" }, block = { "threads" }, smem = "128", rounds = rounds,
           when = also .. "layer_norm == 1" },
    units("rnn_reset_n", also .. "reset == 'before'", "cdiv(hidden, step_units)"),
    units("rnn_project", also .. "projection > 0", "cdiv(state, step_units * gates)"),
  }
end

function rnn.step_pipes(guard)
  local also = guard and guard .. " and " or ""
  return {
    pipe "rnn/step_mma" { needs = { "mma_k16", "mma_bf16" }, when = also .. "tensor == 1 and dtype ~= 'f32'" },
    pipe "rnn/step_mma" { needs = { "mma_k8" }, when = also .. "tensor == 1 and dtype == 'f16'" },
    pipe "rnn/step_gemv" { when = also .. "tensor == 0" },
  }
end

-- Best first; `fixed`: values of the spec's other axes.
function rnn.step_seeds(fixed)
  local seeds = {}
  local function add(tile, units, k_splits, depth, when)
    local s = { batch_tile = tile, warp_units = units, k_splits = k_splits, depth = depth, when = when }
    for name, value in pairs(fixed or {}) do s[name] = value end
    seeds[#seeds + 1] = seed(s)
  end
  -- From two sequences on, eight columns of tensor cores cost less than two FMA per weight
  -- (modelled, H = I = 1024, two and four: 12.6 against 14.2 and 17.8 us on an A100).
  local many = "batch > 1 and dtype ~= 'f32' and "
  add(1, 1, 1, 4, "batch == 1 and hidden >= 512")
  add(1, 1, 1, 2, "batch == 1")
  add(4, 1, 1, 2, "dtype == 'f32'")
  -- H = I = 1024, 64 sequences on an H100, modelled: 13.7 us with 64 of them a block, 23.0 with 16.
  add(64, 8, 8, 1, "batch > 32 and dtype ~= 'f32' and cell == 'lstm'")
  add(32, 16, 8, 1, "batch > 16 and dtype ~= 'f32' and cell == 'gru'")
  add(32, 8, 8, 2, "batch > 16 and dtype ~= 'f32' and cell == 'lstm'")
  for _, tile in ipairs { 8, 16 } do
    local width = tile == 8 and many .. "batch <= 8 and " or many
    for _, k_splits in ipairs { 8, 4, 2, 1 } do
      add(tile, 8, k_splits, tile == 8 and 4 or 2, width .. "cell == 'lstm'")
      add(tile, 16, k_splits, 2, width .. "cell == 'gru'")
      add(tile, 16, k_splits, 1, width .. "cell == 'gru'")
    end
  end
  add(4, 1, 1, 2)
  add(2, 1, 1, 2)
  add(1, 1, 1, 1)
  return seeds
end

-- A list of lets from several.
function rnn.lets(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, l in ipairs(list) do all[#all + 1] = l end
  end
  return all
end

return rnn
