-- attn_prefill: O = softmax(scale * Q K^T + mask) V in one pass over dense, ragged or paged K/V.
local frag, tile, shape = require "fragments", require "tile", require "attention"

kernel "attn_prefill" {
  title = "flash attention over dense, ragged or paged K/V",
  generation = 1,
  problem = shape.problem { head_dims = { 64, 96, 128, 192, 256 }, serving = true },
  require = shape.serving_require,
  space = {
    axis "block_m"    { 64, 128, 256 },                  -- rows of Q per block
    axis "block_n"    { 16, 32, 48, 64, 80, 96, 112, 128 },  -- keys per tile
    axis "warps"      { 4, 8 },
    axis "stages"     { 1, 2, 3 },                       -- buffers of K (V: one less, at least one)
    axis "q_in_regs"  { 0, 1 },                          -- Q operands kept, or read again per tile
    axis "pack_group" { 0, 1 },                          -- the heads of a group share a block's rows
  },
  pipeline = {
    pipe "attn/prefill_mma" { needs = { "mma_k16", "mma_bf16", "cp_async", "ldmatrix" } },
    pipe "attn/prefill_mma" { needs = { "mma_k8", "ldmatrix" }, when = "dtype == 'f16'" },
  },
  derive = {
    let("kv_element", "2"),   -- bytes
    let("engine", "gpu.cp_async and 'cp_async' or 'staged'"),
    let("rows_per_warp", "block_m // warps"),
    let("swizzle_cols", "head_dim % 64 == 0 and 64 or 32"),   -- the swizzle's period: 8 or 4 chunks of 16 bytes
    let("copy_rows", "32 * warps * 8 // swizzle_cols"),          -- rows that one chunk per thread covers
    let("k_buffers", "stages"),
    let("v_buffers", "max(1, stages - 1)"),
    let("q_bytes", "block_m * head_dim * 2"),
    let("tile_bytes", "block_n * head_dim * 2"),
    -- K's buffers, V's, then Q; with q_in_regs Q (later O) lies over all but K's first buffer.
    let("k_base", "0"),
    let("v_base", "k_buffers * tile_bytes"),
    let("kv_end", "(k_buffers + v_buffers) * tile_bytes"),
    let("smem_bytes", "q_in_regs == 1 and max(kv_end, tile_bytes + q_bytes) or kv_end + q_bytes"),
    let("q_base", "smem_bytes - q_bytes"),
    -- Under a mask the last rows see the most keys (a window: until it is full): their blocks come first.
    let("heads_fastest", "mask ~= 'none' and 1 or 0"),
    -- Per lane: 32-bit registers of O, S, P (16 bits), Q's operands.
    let("o_regs", "rows_per_warp * head_dim // 32"),
    let("s_regs", "rows_per_warp * block_n // 32"),
    let("q_regs", "q_in_regs == 1 and rows_per_warp * head_dim // 64 or rows_per_warp // 4"),
    let("staging_regs", "gpu.cp_async and 0 or tile_bytes // (128 * warps)"),
    let("live_regs", "o_regs + s_regs + q_regs + staging_regs + rows_per_warp // 4"),
    -- What ptxas 13.0 fits without a spill, measured over every tile near the limit: it has less room to
    -- schedule when S is the larger part (head_dim 64, 96) or with 8 warps, less from sm_90 on, least on
    -- sm_75, whose staged chunks come on top (head_dim 256 at 184 spills 112 bytes).
    let("reg_room", "gpu.cc == 75 and (head_dim == 256 and 183 or 184) or ((head_dim == 128 and warps == 4 or gpu.cc < 90 and head_dim == 64) and 208 or 199)"),
    let("est_regs", "min(live_regs + 46, 255)"),
    let("launch_margin", "(gpu.cc == 75 or gpu.cc >= 90 and lengths == 'device') and 72 or 64"),
    let("rows", "len_q * (pack_group == 1 and group or 1)"),
    let("blocks", "cdiv(rows, block_m) * (pack_group == 1 and heads_kv or heads_q) * batch"),
    -- A model of one tile of one block on one SM, in cycles of each pipe (rates per warp instruction:
    -- m16n8k16 by tensor core, ldmatrix.x4 4 wavefronts on the SM's one port, ex2 16 lanes, FP32 64 or
    -- 128 lanes). What does not overlap with the busiest pipe shrinks with the warps that are there to
    -- take turns. It only orders compilation: the tuner measures.
    let("mma_cycles", "gpu.cc == 75 and 16 or ((gpu.cc == 86 or gpu.cc == 89 or gpu.cc == 120) and 32 or (gpu.cc == 90 and 6 or 8))"),
    let("fp_cycles", "(gpu.cc == 75 or gpu.cc == 80) and 2 or 1"),
    let("tensor_time", "rows_per_warp * block_n * head_dim // 1024 * mma_cycles * warps // 4"),
    let("ldmatrix_count", "(q_in_regs == 1 and 0 or rows_per_warp * head_dim // 256) + block_n * head_dim // 128"),
    let("port_time", "ldmatrix_count * 4 * warps + block_n * head_dim * 4 // 128"),
    let("sfu_time", "rows_per_warp * block_n // 32 * 2 * warps"),
    let("fp_time", "(rows_per_warp * block_n // 32 * 7 // 2 + o_regs) * fp_cycles * warps // 4"),
    let("busiest", "max(tensor_time, port_time, sfu_time, fp_time)"),
    let("blocks_per_sm", "max(1, min(gpu.smem_sm // (smem_bytes + 1024), gpu.regs_sm // (est_regs * 32 * warps), gpu.warps_sm // warps))"),
    -- What the kernel's launch bound promises: fewer blocks than the estimate hopes for, since ptxas spills
    -- to keep the promise where less than this is left beyond the live registers (measured with 13.0).
    let("launch_blocks", "max(1, min(gpu.smem_sm // (smem_bytes + 1024), gpu.regs_sm // (min(live_regs + launch_margin, 255) * 32 * warps), gpu.warps_sm // warps))"),
    -- Warps of one block meet at barriers; those of another block fill the gaps.
    let("overlap", "1 + blocks_per_sm + blocks_per_sm * warps // 8"),
    let("tile_time", "busiest + (tensor_time + port_time + sfu_time + fp_time - busiest) // overlap"),
    let("cut_tokens", "mask == 'none' and 0 or (pack_group == 1 and block_m // group or block_m)"),
  },
  rules = {
    rule("block_m % (16 * warps) == 0", "each warp owns whole m16 row blocks of Q"),
    rule("live_regs <= reg_room", "O, S and the Q operands fill the registers: with addresses and one block of K it spills"),
    rule("block_n % copy_rows == 0", "every thread copies whole passes of rows, so that its swizzle phase is fixed"),
    rule("rows_per_warp == 16 or block_n % 32 == 0", "an odd number of k16 steps of P with 32 rows per warp spills a few registers"),
    rule("stages < 3 or gpu.cc < 100 or head_dim ~= 96 or rows_per_warp * block_n < 2048", "three buffers of 64 keys at head_dim 96: 12 to 32 bytes of spills on sm_100a"),
    rule("kv == 'dense' or stages == 1 or gpu.cc < 90 or live_regs < 208", "page look-ups and a second buffer beside 192 registers of O and S spill 68 to 80 bytes"),
    rule("kv == 'dense' or stages < 3 or head_dim ~= 128 or live_regs < 208", "and with a third buffer before sm_90, too: 244 bytes"),
    rule("lengths == 'uniform' or head_dim ~= 64 or live_regs < 200", "lengths read on the device beside 64 registers of O and 96 of S spill 4 to 84 bytes"),
    rule("lengths == 'uniform' or head_dim ~= 96 or (gpu.cc < 90 and mask ~= 'window') or live_regs < 176", "lengths read on the device, with a window or from sm_90 on, beside 96 registers of O and 64 of S spill 8 to 36 bytes"),
    rule("lengths == 'uniform' or head_dim ~= 128 or mask ~= 'window' or gpu.cc < 90 or live_regs < 208", "lengths read on the device and a window's edges beside 128 registers of O and 64 of S spill 152 to 236 bytes"),
    rule("lengths == 'uniform' or head_dim ~= 192 or gpu.cc < 90 or live_regs < (gpu.cc < 100 and 188 or 168)", "lengths read on the device beside Q, O and S of this many registers spill 8 to 76 bytes"),
    rule("lengths == 'uniform' or head_dim ~= 256 or gpu.cc < 100 or live_regs < 192", "lengths read on the device beside 128 registers of O and 56 of S spill 8 to 68 bytes"),
    rule("lengths == 'uniform' or head_dim ~= 64 or gpu.cc ~= 120 or (stages < 3 and mask ~= 'window') or live_regs < 168", "lengths read on the device and a third buffer or a window's edges beside 160 registers of Q, O and S spill 16 to 32 bytes"),
    rule("pack_group == 0 or head_dim ~= 192 or gpu.cc ~= 90 or live_regs < 196", "the rows of packed groups beside 192 registers of Q, O and S spill 4 to 8 bytes"),
    rule("mask ~= 'window' or head_dim ~= 192 or gpu.cc ~= 103 or live_regs < 188", "a window's edges beside 184 registers of Q, O and S spill 8 bytes on sm_103a"),
    rule("kv == 'dense' or gpu.cc > 75 or head_dim == 256 or live_regs < 176", "page look-ups beside staged chunks spill 16 to 48 bytes on sm_75"),
    rule("block_n > 16 or gpu.cc == 75 and head_dim == 256", "tiles of 16 keys only where no larger one fits: P V has one k16 step then"),
    rule("block_n > 16 or kv == 'dense' or mask ~= 'window' and page_size % 16 == 0", "page look-ups under a window, or more than one per tile, spill 4 to 12 bytes there"),
    rule("stages == 1 or gpu.cp_async", "multi-stage K/V needs asynchronous copies"),
    rule("pack_group == 0 or group > 1", "packing is the identity when group is 1"),
  },
  resources = {
    threads = "32 * warps",
    smem = "smem_bytes",
    regs = "est_regs",
    workspace = "0",
    -- Products per cycle, times how full the last wave is, times the visible part of cut tiles.
    score = "block_m * block_n * head_dim // tile_time * (blocks * 1000 // (blocks + gpu.sms * blocks_per_sm // 2)) * len_kv // (len_kv + block_n + cut_tokens)",
  },
  launch = {
    step { entry = "attn_prefill",
           grid = { "cdiv(rows, block_m) * (pack_group == 1 and heads_kv or heads_q)", "batch" },
           block = { "threads" }, smem = "smem" },
  },
  layouts = {
    S  = frag.acc_m16n8:rep_row("rows_per_warp // 16"):rep_col("block_n // 8"),
    O  = frag.acc_m16n8:rep_row("rows_per_warp // 16"):rep_col("head_dim // 8"),
    Q  = tile.swizzled("block_m", "head_dim", 2),
    KV = tile.swizzled("block_n", "head_dim", 2),
  },
  parts = {
    kv = { by = "engine", cp_async = "kv/cp_async", staged = "kv/staged" },
    rows = { by = "kv", dense = "rows/dense", paged = "rows/paged" },
    mask = { by = "mask", none = "mask/none", causal = "mask/causal", window = "mask/window" },
    softmax = "softmax/online",
    epilogue = "epilogue/store_o",
  },
  params = "attn",
  flops = "4 * batch * heads_q * pairs * head_dim",
  bytes = "2 * batch * head_dim * 2 * (heads_q * len_q + heads_kv * keys_seen)",
  seeds = {
    -- 64 KB of shared memory per SM, K/V staged in registers: 16 rows per warp, and two blocks per SM.
    seed { block_m = 64, block_n = 32, warps = 4, stages = 1, q_in_regs = 1, pack_group = 0, when = "gpu.cc == 75" },
    seed { block_m = 64, block_n = 64, warps = 4, stages = 1, q_in_regs = 0, pack_group = 0, when = "gpu.cc == 75" },
    -- 100 KB per SM and slow f32 accumulation: small tiles, so that two blocks share an SM.
    seed { block_m = 64, block_n = 64, warps = 4, stages = 1, q_in_regs = 0, pack_group = 0,
           when = "gpu.smem_sm < 131072 and head_dim >= 96 and mask ~= 'none'" },
    seed { block_m = 128, block_n = 32, warps = 4, stages = 1, q_in_regs = 0, pack_group = 0,
           when = "gpu.smem_sm < 131072 and head_dim == 128" },
    seed { block_m = 128, block_n = 128, warps = 4, stages = 1, q_in_regs = 0, pack_group = 0, when = "head_dim == 64" },
    seed { block_m = 128, block_n = 96, warps = 4, stages = 1, q_in_regs = 0, pack_group = 0, when = "head_dim == 64" },
    seed { block_m = 128, block_n = 64, warps = 4, stages = 1, q_in_regs = 0, pack_group = 0 },
    seed { block_m = 128, block_n = 64, warps = 4, stages = 2, q_in_regs = 0, pack_group = 0 },
    seed { block_m = 64, block_n = 64, warps = 4, stages = 1, q_in_regs = 0, pack_group = 0 },
  },
  verify = { reference = "attention" },
}
