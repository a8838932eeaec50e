-- kv_append: new K and V into a dense or paged cache, with norm, RoPE and quantisation on the way.
local cache = require "kv_cache"

kernel "kv_append" {
  title = "append to the KV cache, RoPE and norm of Q and K",
  generation = 1,
  problem = cache.problem {
    dim "rope"       { enum = { "none", "neox", "interleaved" }, static = true, doc = "of Q and K" },
    dim "rotary_dim" { min = 0, max = 1024, static = true, preset = 0, doc = "rotated elements of a head; 0 unless rope" },
    dim "qk_norm"    { ints = { 0, 1 }, static = true, preset = 0, doc = "1: RMS norm of Q and K" },
    dim "heads_q"    { min = 0, max = 65535, key = "log2/4", preset = 0, doc = "query heads; 0: no Q" },
    dim "rows"       { derive = "tokens * (heads_q + 2 * heads_kv)", key = "ignore" },
  },
  require = {
    need("head_dim % 8 == 0", "rows are whole 16-byte vectors"),
    need("rotary_dim % 4 == 0", "rotated halves are whole pairs"),
    need("rotary_dim <= head_dim", "the rotated part lies within the head"),
    need("(rope == 'none') == (rotary_dim == 0)", "rotary_dim belongs to rope"),
    need("rows <= 2147483647", "rows are counted in 32 bits"),
  },
  space = {
    axis "vec_bytes"     { 4, 8, 16 },      -- one access
    axis "block_threads" { 64, 128, 256 },
    axis "row_batch"     { 1, 2, 4 },       -- rows per thread
  },
  pipeline = { pipe "kv/append" { needs = {} } },
  derive = {
    let("vec", "vec_bytes // 2"),
    let("kv_element", "kv_dtype == 'same' and 2 or 1"),   -- bytes
    let("pairs", "rotary_dim // 2"),
    let("rotate_units", "rope == 'neox' and pairs // vec or rotary_dim // vec"),
    let("pieces", "rope == 'neox' and 2 or 1"),           -- of vec elements in a unit
    let("units", "rotate_units + cdiv((head_dim - rotary_dim) // vec, pieces)"),
    -- The norm sums over a row by shuffles, whose distances are powers of two.
    let("norm_lanes", "units <= 1 and 1 or (units <= 2 and 2 or (units <= 4 and 4 or (units <= 8 and 8 or (units <= 16 and 16 or 32))))"),
    let("lanes", "qk_norm == 1 and norm_lanes or units"),
    let("rows_per_block", "block_threads // max(lanes, 1)"),
  },
  rules = {
    rule("(head_dim - rotary_dim) % vec == 0 and rotary_dim % vec == 0", "rotated and copied part are whole vectors"),
    rule("rope ~= 'neox' or pairs % vec == 0", "the two halves of neox pairs are whole vectors"),
    rule("qk_norm == 0 or units <= 32", "the norm of a row stays within a warp"),
    rule("units <= block_threads", "a row fits one block"),
    rule("vec_bytes == 16 or head_dim % 16 ~= 0 or rotary_dim % 16 ~= 0 or (vec_bytes == 8 and units <= 32)",
         "narrow accesses only where wide ones are impossible or leave lanes idle"),
  },
  resources = {
    threads = "block_threads",
    smem = "0",
    regs = "min(40 + row_batch * (vec + 12) + vec * 4, 168)",
    workspace = "0",
    score = "vec_bytes * 16 - block_threads // 64 + row_batch",
  },
  launch = {
    step { entry = "kv_append", grid = { "cdiv(rows, rows_per_block * row_batch)" }, block = { "threads" }, smem = "smem" },
  },
  parts = {
    rotate = { by = "rope", none = "rotate/none", neox = "rotate/neox", interleaved = "rotate/interleaved" },
  },
  params = "kv",
  flops = "tokens * (heads_q + heads_kv) * (rotary_dim * 3 + qk_norm * head_dim * 4)",
  -- Q that nothing is computed of is not touched where it is in place, as the tuner times it.
  bytes = "tokens * (head_dim * (((rope ~= 'none' or qk_norm == 1) and heads_q * 4 or 0) + heads_kv * (kv_dtype == 'same' and 8 or 6)) + 8 + rotary_dim * 4)",
  seeds = {
    seed { vec_bytes = 16, block_threads = 128, row_batch = 1 },
    seed { vec_bytes = 8, block_threads = 128, row_batch = 1 },
    seed { vec_bytes = 4, block_threads = 128, row_batch = 1 },
    seed { vec_bytes = 4, block_threads = 256, row_batch = 1 },
  },
  verify = { reference = "kv" },
}
