-- attn_naive: textbook attention in three kernels, the baseline that attn_prefill is compared with.
-- Same problem (uniform lengths, dense K/V) and parameters as attn_prefill; not tuned: one
-- configuration. Not head_dim 256, whose 128 registers of O spill on every GPU but sm_120.
local frag, tile, shape = require "fragments", require "tile", require "attention"

kernel "attn_naive" {
  title = "textbook attention: scores, softmax, output",
  generation = 1,
  problem = shape.problem { head_dims = { 64, 96, 128, 192 } },
  require = shape.require,
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
    -- What ptxas 13.0 fits without spills.
    let("blocks_per_sm", "(gpu.cc == 75 or head_dim == 192) and 2 or 3"),
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
