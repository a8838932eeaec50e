-- rnn_cell: one step of a recurrent layer with the caller's h and c, W x fused or given as `pre`.
local rnn = require "rnn"

kernel "rnn_cell" {
  title = "one step of an LSTM or GRU layer",
  generation = 1,
  problem = rnn.problem { op = "cell", extra = {
    dim "fused" { ints = { 1, 0 }, static = true, preset = 1, doc = "1: W x is computed here; 0: pre is given" },
  } },
  require = rnn.lets(rnn.require, {
    need("input % parts == 0", "parts of a row of x are equal"),
    need("input > 0 or fused == 0", "x has elements when it is read"),
  }),
  space = {
    axis "batch_tile" (rnn.step_batch_tiles),   -- sequences per block
    axis "warp_units" (rnn.step_warp_units),    -- units per warp
    axis "k_splits"     (rnn.step_splits),        -- warps that share out k
    axis "depth"      (rnn.step_depths),        -- loads of weights under way
  },
  pipeline = rnn.step_pipes(),
  derive = rnn.lets(rnn.shape, rnn.recurrent, rnn.input, { let("streamed", "0") }, rnn.step),
  rules = rnn.step_rules(),
  resources = {
    threads = "step_threads",
    smem = "step_smem",
    regs = "min(step_regs + 40, 255)",
    workspace = "step_workspace",
    score = "step_score",
  },
  launch = rnn.step_launches(),
  params = "rnn",
  flops = "2 * directions * batch * hidden * (cell == 'lstm' and 4 or 3) * (hidden + fused * input)",
  bytes = "directions * (hidden * (cell == 'lstm' and 4 or 3) * (hidden + fused * input) * (dtype == 'f32' and 4 or 2) + batch * hidden * 12)",
  seeds = rnn.step_seeds(),
  verify = { reference = "rnn_cell" },
}
