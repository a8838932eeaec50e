-- Kernels that compute nothing: what plans of recurrent layers launch, seen through a fake driver.
kernel "rnn_input" {
  title = "a launch like that of an input projection",
  generation = 1,
  problem = {
    dim "cell"  { enum = { "lstm", "gru" }, static = true },
    dim "dtype" { enum = { "f16", "bf16", "f32" }, static = true },
    dim "lengths" { enum = { "none", "padded", "packed" }, static = true },
    dim "hidden" { min = 1, max = 16384 },
    dim "input" { min = 1, max = 32768 },
    dim "parts" { ints = { 1, 2 } },
    dim "batch" { min = 1, max = 65535 },
    dim "steps" { min = 0, max = 16777216 },
    dim "directions" { min = 1, max = 2 },
    dim "align" { ints = { 1, 2, 4, 8 } },
  },
  space = { axis "unused" { 1 } },
  pipeline = { pipe "rnn/input" {} },
  resources = { threads = 32, smem = 0, regs = 32, workspace = 0, score = 1 },
  launch = { step { entry = "rnn_input", grid = { "steps", 1, "directions" }, block = { "threads" } } },
  params = "rnn",
  flops = "1", bytes = "1",
  verify = { reference = "rnn_input" },
}
