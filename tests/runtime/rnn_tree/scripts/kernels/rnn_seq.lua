-- hidden chooses what kind of launches the steps have: up to 99 one, up to 499 a reset and a grid whose
-- blocks wait for each other, above one per step.
kernel "rnn_seq" {
  title = "launches like those of the tiers",
  generation = 1,
  problem = {
    dim "cell"  { enum = { "lstm", "gru" }, static = true },
    dim "dtype" { enum = { "f16", "bf16", "f32" }, static = true },
    dim "lengths" { enum = { "none", "padded", "packed" }, static = true },
    dim "hidden" { min = 1, max = 16384 },
    dim "projection" { min = 0, max = 16384, preset = 0 },
    dim "layer_norm" { ints = { 0, 1 } },
    dim "store_gates" { ints = { 0, 1 } },
    dim "batch" { min = 1, max = 65535 },
    dim "steps" { min = 0, max = 16777216, key = "log2/4" },
    dim "directions" { min = 1, max = 2 },
  },
  space = { axis "order" { 1, 2 } },
  pipeline = { pipe "rnn/seq" {} },
  derive = { let("waits", "hidden > 99 and hidden <= 499") },
  resources = { threads = 64, smem = 0, regs = 32, workspace = "waits and 4096 or 0", score = 1 },
  launch = {
    step { entry = "rnn_reset", grid = { 1 }, block = { 32 }, when = "waits" },
    step { entry = "rnn_grid", grid = { "hidden // order" }, block = { "threads" }, when = "waits", cooperative = true },
    step { entry = "rnn_step", grid = { 4, 1, "directions" }, block = { "threads" }, when = "not waits",
           rounds = "hidden > 499 and steps or 1" },
  },
  params = "rnn",
  flops = "1", bytes = "1",
  -- Of grids order 2 is the smaller one.
  seeds = { seed { order = 2, when = "steps >= 8" }, seed { order = 1 }, seed { order = 2, when = "batch == 4" } },
  verify = { reference = "rnn_seq" },
}
