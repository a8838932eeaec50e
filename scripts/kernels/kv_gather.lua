-- kv_gather: rows of a dense or paged cache to contiguous K and V.
local cache = require "kv_cache"

kernel "kv_gather" {
  title = "cache to contiguous K and V",
  generation = 1,
  problem = cache.problem {
    dim "rows" { derive = "tokens * 2 * heads_kv", key = "ignore" },
  },
  require = {
    need("head_dim % 8 == 0", "rows are whole 16-byte vectors"),
    need("rows <= 2147483647", "rows are counted in 32 bits"),
  },
  space = {
    axis "vec"           { 4, 8 },          -- elements per thread
    axis "block_threads" { 64, 128, 256 },
    axis "row_batch"     { 1, 2, 4 },       -- rows per thread
  },
  pipeline = { pipe "kv/gather" { needs = {} } },
  derive = {
    let("kv_element", "kv_dtype == 'same' and 2 or 1"),   -- bytes
    let("units", "head_dim // vec"),
    let("rows_per_block", "block_threads // max(units, 1)"),
  },
  rules = {
    rule("units <= block_threads", "a row fits one block"),
  },
  resources = {
    threads = "block_threads",
    smem = "0",
    regs = "min(32 + row_batch * (vec + 8) + vec * 2, 128)",
    workspace = "0",
    score = "vec * 16 - block_threads // 64 + row_batch",
  },
  launch = {
    step { entry = "kv_gather", grid = { "cdiv(rows, rows_per_block * row_batch)" }, block = { "threads" }, smem = "smem" },
  },
  parts = {},
  params = "kv",
  flops = "0",
  bytes = "tokens * (head_dim * heads_kv * (kv_dtype == 'same' and 8 or 6) + 8)",
  seeds = {
    seed { vec = 8, block_threads = 128, row_batch = 1 },
    seed { vec = 8, block_threads = 256, row_batch = 1 },
  },
  verify = { reference = "kv" },
}
