-- attn_combine: partial attention over disjoint keys to attention over all of them.
kernel "attn_combine" {
  title = "merge of partial attention by LSE",
  generation = 1,
  problem = {
    dim "dtype"     { enum = { "f16", "bf16" }, static = true, doc = "of o" },
    dim "part_type" { enum = { "same", "f32" }, static = true, doc = "of the parts: dtype or f32" },
    dim "head_dim"  { min = 8, max = 1024, static = true, preset = 128, doc = "elements of one head" },
    dim "parts"     { min = 0, max = 1024, key = "log2/4", preset = 8, doc = "parts to merge" },
    dim "tokens"    { min = 0, max = 16777216, key = "ignore", preset = 512, doc = "rows" },
    dim "heads"     { min = 1, max = 65535, key = "ignore", preset = 32, doc = "heads per row" },
    dim "rows"      { derive = "tokens * heads", key = "log2/4", doc = "merged alike" },
  },
  require = {
    need("head_dim % 8 == 0", "rows are whole 16-byte vectors"),
    need("tokens * heads <= 2147483647", "rows are counted in 32 bits"),
  },
  space = {
    axis "vec"           { 2, 4, 8 },          -- elements per thread
    axis "block_threads" { 64, 128, 256 },
    axis "slices"        { 1, 2, 4, 8, 16 },   -- threads that share an element's parts
  },
  pipeline = { pipe "attn/combine" { needs = {} } },
  derive = {
    let("units", "head_dim // vec"),
    let("rows_per_block", "block_threads // slices // max(units, 1)"),
    -- What the GPU holds of them at once, of 1024 threads per SM.
    let("busy", "rows * units * slices * 100 // (gpu.sms * 1024)"),
  },
  rules = {
    rule("units * slices <= block_threads", "a row fits one block"),
    rule("slices == 1 or slices * 2 <= parts", "a slice has two parts or more"),
    rule("slices == 1 or busy <= 100", "more threads than the GPU holds wait for each other"),
    rule("vec >= 4 or head_dim <= 256", "narrow accesses only for short rows"),
  },
  resources = {
    threads = "block_threads",
    smem = "slices > 1 and block_threads * (vec + 2) * 4 or 0",
    regs = "min(40 + vec * 6, 128)",
    workspace = "0",
    score = "slices > 1 and 100 + slices * 4 - block_threads // 64 or vec * 4 - block_threads // 64",
  },
  launch = {
    step { entry = "attn_combine", grid = { "cdiv(rows, rows_per_block)" }, block = { "threads" }, smem = "smem" },
  },
  parts = {},
  params = "merge",
  flops = "rows * head_dim * parts * 2",
  bytes = "rows * (head_dim * (parts * (part_type == 'f32' and 4 or 2) + 2) + parts * 4 + 4)",
  seeds = {
    seed { vec = 8, block_threads = 256, slices = 16, when = "parts >= 32" },
    seed { vec = 8, block_threads = 256, slices = 4, when = "parts >= 8" },
    seed { vec = 8, block_threads = 256, slices = 2, when = "parts >= 8" },
    seed { vec = 8, block_threads = 128, slices = 1 },
    seed { vec = 8, block_threads = 64, slices = 1 },
    seed { vec = 4, block_threads = 256, slices = 1 },
  },
  verify = { reference = "merge" },
}
