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
    need("projection == 0", "no projection"),
    need("layer_norm == 0", "no layer norm"),
    need("reset == 'after'", "the reset gate multiplies the product"),
  }),
  space = rnn.lets({ axis "tensor" { 1, 0 } }, rnn.step_axes),   -- mma.sync, or CUDA cores
  pipeline = {
    pipe "rnn/step_mma" { needs = { "mma_k16", "mma_bf16" }, when = "tensor == 1 and dtype ~= 'f32'" },
    pipe "rnn/step_mma" { needs = { "mma_k8" }, when = "tensor == 1 and dtype == 'f16'" },
    pipe "rnn/step_gemv" { when = "tensor == 0" },
  },
  derive = rnn.lets(rnn.shape, rnn.recurrent, rnn.input, { let("streamed", "0") }, rnn.step),
  rules = rnn.step_rules,
  resources = {
    threads = "step_threads",
    smem = "smem_bytes",
    regs = "est_regs",
    workspace = "0",
    score = "min(flight, 65536) * 100 // (cdiv(batch, batch_tile) * max(batch_tile, batch) * 100 // batch)",
  },
  launch = {
    step { entry = "rnn_step", grid = { "cdiv(hidden, units)", "cdiv(batch, batch_tile)", "directions" },
           block = { "threads" }, smem = "smem" },
  },
  params = "rnn",
  flops = "2 * directions * batch * hidden * (cell == 'lstm' and 4 or 3) * (hidden + fused * input)",
  bytes = "directions * (hidden * (cell == 'lstm' and 4 or 3) * (hidden + fused * input) * (dtype == 'f32' and 4 or 2) + batch * hidden * 12)",
  seeds = {
    seed { tensor = 0, batch_tile = 1, warp_units = 1, groups = 8, splits = 1, depth = 4, when = "batch == 1" },
    seed { tensor = 0, batch_tile = 2, warp_units = 1, groups = 8, splits = 1, depth = 4, when = "batch == 2" },
    seed { tensor = 0, batch_tile = 4, warp_units = 1, groups = 8, splits = 1, depth = 2, when = "batch <= 4 or dtype == 'f32'" },
    seed { tensor = 1, batch_tile = 8, warp_units = 16, groups = 1, splits = 8, depth = 2, when = "cell == 'gru' and batch <= 8" },
    seed { tensor = 1, batch_tile = 8, warp_units = 8, groups = 1, splits = 8, depth = 4, when = "cell == 'lstm' and batch <= 8" },
    seed { tensor = 1, batch_tile = 16, warp_units = 16, groups = 1, splits = 8, depth = 2, when = "cell == 'gru'" },
    seed { tensor = 1, batch_tile = 16, warp_units = 8, groups = 1, splits = 8, depth = 2, when = "cell == 'lstm'" },
    seed { tensor = 1, batch_tile = 8, warp_units = 16, groups = 1, splits = 4, depth = 2, when = "cell == 'gru' and batch <= 8" },
    seed { tensor = 1, batch_tile = 8, warp_units = 8, groups = 1, splits = 4, depth = 4, when = "cell == 'lstm' and batch <= 8" },
    seed { tensor = 1, batch_tile = 16, warp_units = 16, groups = 1, splits = 4, depth = 2, when = "cell == 'gru'" },
    seed { tensor = 1, batch_tile = 16, warp_units = 8, groups = 1, splits = 4, depth = 2, when = "cell == 'lstm'" },
    seed { tensor = 1, batch_tile = 8, warp_units = 16, groups = 1, splits = 2, depth = 2, when = "cell == 'gru' and batch <= 8" },
    seed { tensor = 1, batch_tile = 8, warp_units = 8, groups = 1, splits = 2, depth = 4, when = "cell == 'lstm' and batch <= 8" },
    seed { tensor = 1, batch_tile = 16, warp_units = 16, groups = 1, splits = 2, depth = 2, when = "cell == 'gru'" },
    seed { tensor = 1, batch_tile = 16, warp_units = 8, groups = 1, splits = 2, depth = 2, when = "cell == 'lstm'" },
    seed { tensor = 0, batch_tile = 4, warp_units = 1, groups = 8, splits = 1, depth = 1 },
  },
  verify = { reference = "rnn_cell" },
}
