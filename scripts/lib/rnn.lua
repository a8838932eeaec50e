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
    add(dim "input" { min = 1, max = 16384, key = "log2/4", preset = 512, doc = "elements of a row of x" })
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
  if o.op ~= "cell" then
    add(dim "lengths" { enum = { "none", "padded", "packed" }, static = true, doc = "of sequences: all steps, lens, or cu_seqlens" })
  end
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

-- A list of lets from several.
function rnn.lets(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, l in ipairs(list) do all[#all + 1] = l end
  end
  return all
end

return rnn
