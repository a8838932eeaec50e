-- attn_naive: textbook attention in three kernels, the baseline that attn_prefill is compared with.
-- Same problem and parameters as attn_prefill; not tuned: one configuration.
local frag, tile = require "fragments", require "tile"

kernel "attn_naive" {
  title = "textbook attention: scores, softmax, output",
  generation = 1,
  problem = {
    dim "dtype"        { enum = { "f16", "bf16" }, static = true, doc = "of Q, K, V and O" },
    dim "head_dim"     { ints = { 64, 96, 128 }, static = true, preset = 128, doc = "elements of one head" },
    dim "mask"         { enum = { "none", "causal", "window" }, static = true, doc = "bottom-right aligned" },
    dim "batch"        { min = 1, max = 65535, key = "ignore", preset = 1, doc = "sequences" },
    dim "heads_q"      { min = 1, max = 65535, key = "ignore", preset = 32, doc = "query heads" },
    dim "heads_kv"     { min = 1, max = 65535, key = "ignore", preset = 8, doc = "key and value heads" },
    dim "len_q"        { min = 0, max = 1048576, key = "log2/4", preset = 512, doc = "queries per sequence" },
    dim "len_kv"       { min = 0, max = 1048576, key = "log2/4", preset = 512, doc = "keys per sequence" },
    dim "window_left"  { min = -1, max = 1048576, key = "log2/4", preset = -1,
                         doc = "keys before the query's own, inclusive; -1: open; only with mask = window" },
    dim "window_right" { min = -1, max = 1048576, key = "log2/4", preset = -1, doc = "keys after it, the same" },
    dim "group"        { derive = "heads_q // heads_kv", key = "exact", doc = "query heads per K/V head" },
    dim "work"         { derive = "batch * heads_q", key = "log2/4", doc = "independent heads" },
  },
  require = {
    need("heads_q % heads_kv == 0", "heads_kv must divide heads_q"),
    need("mask == 'window' or (window_left == -1 and window_right == -1)", "window_left and window_right belong to mask = window"),
  },
  space = {
    axis "block_m" { 64 },   -- rows of Q per block
    axis "block_n" { 64 },   -- keys per tile
  },
  pipeline = {
    pipe "attn/naive" { needs = { "mma_k16", "mma_bf16", "ldmatrix" } },
    pipe "attn/naive" { needs = { "mma_k8", "ldmatrix" }, when = "dtype == 'f16'" },
  },
  derive = {
    let("warps", "block_m // 16"),
    let("blocks_per_sm", "gpu.cc == 75 and 2 or 3"),   -- what ptxas fits without spills
    let("pitch", "cdiv(len_kv, 8) * 8"),   -- of a row of scores
  },
  rules = {},
  resources = {
    threads = "32 * warps",
    smem = "max(block_m * head_dim, block_m * block_n) * 2 + block_n * head_dim * 2",
    regs = "min(head_dim // 2 + block_n // 2 + 60, 255)",
    workspace = "batch * heads_q * len_q * pitch * 2",
    score = "1",
  },
  launch = {
    step { entry = "attn_naive_scores", grid = { "cdiv(len_q, block_m) * max(cdiv(len_kv, block_n), 1)", "heads_q", "batch" },
           block = { "threads" }, smem = "smem" },
    step { entry = "attn_naive_softmax", grid = { "cdiv(len_q, warps)", "heads_q", "batch" },
           block = { "threads" }, smem = "0" },
    step { entry = "attn_naive_output", grid = { "cdiv(len_q, block_m)", "heads_q", "batch" },
           block = { "threads" }, smem = "smem" },
  },
  layouts = {
    S  = frag.acc_m16n8:rep_row("1"):rep_col("block_n // 8"),
    O  = frag.acc_m16n8:rep_row("1"):rep_col("head_dim // 8"),
    Q  = tile.swizzled("block_m", "head_dim", 2),
    P  = tile.swizzled("block_m", "block_n", 2),
    KV = tile.swizzled("block_n", "head_dim", 2),
  },
  parts = {
    mask = { by = "mask", none = "mask/none", causal = "mask/causal", window = "mask/window" },
  },
  params = "attn",
  -- What a textbook computes: every (query, key) pair, masked or not.
  flops = "4 * batch * heads_q * len_q * len_kv * head_dim",
  bytes = "2 * batch * head_dim * 2 * (heads_q * len_q + heads_kv * len_kv)",
  seeds = { seed { block_m = 64, block_n = 64 } },
  verify = { reference = "attention_textbook" },
}
