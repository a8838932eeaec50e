-- attn_decode: attention of 1 to 16 queries per sequence over many keys, split over the SMs.
-- The first kernel writes a row of O itself where its sequence has one part, else (O, LSE) of its
-- part to the workspace, which the second adds up in the order of the parts.
local frag, tile, shape = require "fragments", require "tile", require "attention"

kernel "attn_decode" {
  title = "split-KV attention of few queries over dense, ragged or paged K/V",
  generation = 1,
  problem = shape.problem { head_dims = { 64, 96, 128, 192, 256 }, serving = true, max_len_q = 16 },
  require = shape.decode_require,
  space = {
    axis "tensor"    { 1, 0 },                 -- mma.sync, or CUDA cores
    axis "block_m"   { 1, 2, 4, 8, 16, 32 },   -- rows per block: queries x heads of a group
    axis "warps"     { 2, 4, 8 },
    axis "warp_keys" { 8, 16, 32 },            -- keys of a warp's tile
    axis "stages"    { 1, 2, 3, 4 },           -- buffers of a warp
    axis "waves"     { 1, 2, 4, 8 },           -- blocks to aim at, in multiples of what the GPU holds at once
  },
  pipeline = {
    pipe "attn/decode_mma" { needs = { "mma_k16", "mma_bf16", "cp_async", "ldmatrix" }, when = "tensor == 1" },
    pipe "attn/decode_mma" { needs = { "mma_k8", "ldmatrix" }, when = "tensor == 1 and dtype == 'f16'" },
    pipe "attn/decode_vec" { when = "tensor == 0" },
  },
  derive = {
    let("kv_element", "kv_dtype == 'same' and 2 or 1"),   -- bytes
    let("block_n", "warps * warp_keys"),                  -- keys that the warps of a block take in one turn
    -- Parts end at multiples of block_n. The fewest turns of a part: below, what a part costs besides
    -- its keys (Q, the merge of the warps, the row in the workspace) is no longer small.
    let("least_tiles", "max(1, 128 // block_n)"),
    -- Keys per part when the bits of a row may depend on nothing but its own sequence.
    let("fixed_chunk", "invariant == 1 and 1024 or 0"),
    let("kv_row_bytes_", "head_dim * kv_element"),
    let("swizzle_bytes", "kv_row_bytes_ % 128 == 0 and 128 or (kv_row_bytes_ % 64 == 0 and 64 or 32)"),
    let("lanes_per_key_", "kv_row_bytes_ // 16"),
    -- Q's operands stay in registers where these suffice: at head_dim 192 not beside the 16 that 8-bit
    -- K and V need (168 of the rule's 160), where Q is read again from shared memory.
    let("q_in_regs", "block_m * head_dim <= (gpu.cp_async and 3072 or 2048) and (kv_element == 2 or head_dim < 192) and 1 or 0"),
    let("q_bytes", "tensor == 1 and block_m * head_dim * 2 or 0"),
    let("ring_bytes", "tensor == 1 and warps * stages * warp_keys * kv_row_bytes_ * 2 or 0"),
    let("q_base", "ring_bytes"),
    let("merge_bytes", "warps * block_m * (head_dim + 8) * 4 + warps * block_m * 8"),
    let("smem_bytes", "max(ring_bytes + q_bytes, merge_bytes)"),
    -- 32-bit registers per lane. Tensor cores: O, S and P, Q's operands; staged copies on sm_75; what
    -- one ldmatrix of 8-bit K or V becomes, and its codes.
    let("mma_regs", "block_m * head_dim // 32 + block_m * warp_keys // 32 + (q_in_regs == 1 and block_m * head_dim // 64 or block_m // 4) + (gpu.cp_async and 0 or warp_keys * kv_row_bytes_ // 128) + (kv_element == 1 and 16 or 0)"),
    -- CUDA cores: Q, O, the tile of K and V, scores.
    let("lane_dims_", "16 // kv_element"),
    let("group_keys_", "warp_keys * lanes_per_key_ // 32"),
    let("vec_regs", "2 * block_m * lane_dims_ + 8 * group_keys_ + block_m * group_keys_ + lane_dims_"),
    let("live_regs", "tensor == 1 and mma_regs or vec_regs"),
    let("est_regs", "min(live_regs + 56, 255)"),
    let("launch_blocks", "max(1, min(gpu.smem_sm // (smem_bytes + 1024), gpu.regs_sm // (min(live_regs + 80, 255) * 32 * warps), gpu.warps_sm // warps))"),
    let("rows", "len_q * group"),
    let("row_tiles", "cdiv(rows, block_m)"),
    let("at_once", "gpu.sms * launch_blocks"),
    -- Parts per sequence that the grid has room for: enough blocks for `waves` rounds, at least
    -- 128 keys each, and at most 128, since one thread adds the parts of its piece one by one.
    let("room", "max(1, min(waves * at_once // max(1, batch * heads_kv * row_tiles), cdiv(len_kv, max(128, block_n)), 128))"),
    let("splits", "fixed_chunk > 0 and max(1, cdiv(len_kv, fixed_chunk)) or (max_splits > 0 and min(max_splits, room) or room)"),
    let("in_flight", "tensor == 1 and ring_bytes * launch_blocks or warps * launch_blocks * warp_keys * kv_row_bytes_ * 2"),
    let("padding", "block_m * row_tiles * 100 // max(1, rows)"),   -- rows computed per row that there is
  },
  rules = {
    rule("(tensor == 1) == (block_m >= 16)", "tensor cores take 16 rows, CUDA cores keep up with few"),
    rule("tensor == 0 or warp_keys >= 16", "16 keys are one k16 step of P V"),
    rule("tensor == 1 or 32 % lanes_per_key_ == 0", "the lanes of a key are a power of two, for the shuffles"),
    rule("tensor == 1 or warp_keys * lanes_per_key_ % 32 == 0", "every group of lanes takes the same number of keys"),
    rule("tensor == 1 or stages == 1", "CUDA cores load into registers"),
    rule("tensor == 0 or gpu.cp_async or stages == 1", "buffers ahead need asynchronous copies"),
    rule("tensor == 0 or not gpu.cp_async or stages > 1", "a copy that is waited for at once hides nothing"),
    -- Measured with ptxas 13.0 on the tightest K/V (pages of 5, window, 8 bits): 168 spills on sm_80 and sm_90a.
    rule("live_regs <= (tensor == 1 and 160 or 180)", "Q, O and the tile fill the registers: with addresses it spills"),
    rule("tensor == 0 or warp_keys * kv_row_bytes_ <= 8192", "the addresses of a larger tile's copies spill (40 bytes at head_dim 256, 32 keys)"),
    rule("block_m <= 1 or block_m < 2 * rows or block_m == 16", "more rows than there are cost registers and nothing else"),
    rule("warp_keys * kv_row_bytes_ % 512 == 0", "every lane copies whole 16-byte chunks of a tile"),
  },
  resources = {
    threads = "32 * warps",
    smem = "smem_bytes",
    regs = "est_regs",
    workspace = "splits > 1 and batch * heads_kv * splits * rows * (head_dim + 1) * 4 or 0",
    -- Bytes under way per SM up to what hides the latency of memory, less what padding rows cost.
    score = "min(in_flight, 65536) * (tensor == 1 and 2 or (rows <= 2 and 2 or 1)) * 100 // max(1, tensor == 1 and row_tiles * 100 or padding * row_tiles) * (waves == 1 and 3 or 4)",
  },
  launch = {
    step { entry = "attn_decode", grid = { "splits", "heads_kv * row_tiles", "batch" }, block = { "threads" }, smem = "smem" },
    step { entry = "attn_decode_combine", grid = { "cdiv(rows * head_dim // 4, threads)", "heads_kv", "batch" },
           block = { "threads" }, when = "splits > 1" },
  },
  layouts = {
    S  = frag.acc_m16n8:rep_row("max(1, block_m // 16)"):rep_col("warp_keys // 8"),
    O  = frag.acc_m16n8:rep_row("max(1, block_m // 16)"):rep_col("head_dim // 8"),
    Q  = tile.swizzled("max(16, block_m)", "head_dim", 2),
    KV = tile.swizzled("max(16, warp_keys)", "head_dim", "kv_element"),
  },
  parts = {
    mask = { by = "mask", none = "mask/none", causal = "mask/causal", window = "mask/window" },
    softmax = "softmax/online",
  },
  params = "attn",
  flops = "4 * batch * heads_q * pairs * head_dim",
  bytes = "batch * head_dim * (4 * heads_q * len_q + 2 * heads_kv * keys_seen * (kv_dtype == 'same' and 2 or 1))",
  seeds = {
    -- As many bytes under way as shared memory holds. Where the sequences and heads alone fill the
    -- GPU, several rounds of parts even out its last one; else one round, whose parts are long.
    seed { tensor = 1, block_m = 16, warps = 8, warp_keys = 16, stages = 2, waves = 1, when = "gpu.cc ~= 75 and batch * heads_kv * 2 <= gpu.sms" },
    seed { tensor = 1, block_m = 16, warps = 8, warp_keys = 16, stages = 2, waves = 4 },
    seed { tensor = 1, block_m = 16, warps = 4, warp_keys = 16, stages = 3, waves = 1, when = "batch * heads_kv * 2 <= gpu.sms" },
    seed { tensor = 1, block_m = 16, warps = 4, warp_keys = 16, stages = 3, waves = 4 },
    seed { tensor = 1, block_m = 16, warps = 4, warp_keys = 16, stages = 2, waves = 1, when = "batch * heads_kv * 2 <= gpu.sms" },
    seed { tensor = 1, block_m = 16, warps = 4, warp_keys = 16, stages = 2, waves = 4 },
    seed { tensor = 1, block_m = 16, warps = 2, warp_keys = 16, stages = 2, waves = 4 },
    seed { tensor = 1, block_m = 16, warps = 4, warp_keys = 16, stages = 1, waves = 4 },
    seed { tensor = 0, block_m = 1, warps = 4, warp_keys = 16, stages = 1, waves = 4, when = "group * len_q == 1" },
    seed { tensor = 0, block_m = 4, warps = 4, warp_keys = 16, stages = 1, waves = 4 },
    seed { tensor = 0, block_m = 2, warps = 4, warp_keys = 16, stages = 1, waves = 4 },
  },
  verify = { reference = "attention" },
}
