-- rnn_input: pre = x W^T + bias for all steps and gates of one launch, f32.
local tile, rnn = require "tile", require "rnn"

-- Blocks of 128x128, the largest. Where they would leave much of the GPU idle, smaller ones of more
-- warps are faster: modelled, 1.1 to 2.9 times on A100 and H100.
local large = "cdiv(tokens, 128) * cdiv(hidden * (cell == 'lstm' and 4 or 3), 128) * directions"
local few = large .. " * 2 <= gpu.sms"
local some = few .. " and " .. large .. " * 5 > gpu.sms * 2"
local few_mma = large .. " * 4 <= gpu.sms * 3"

kernel "rnn_input" {
  title = "input projection of a recurrent layer over a whole sequence",
  generation = 1,
  problem = rnn.problem { op = "input", extra = { dim "tokens" { derive = "steps * batch", key = "log2/4" } } },
  require = {
    need("input % parts == 0", "parts of a row of x are equal"),
    need("tokens <= 2147483647", "tokens are counted in 32 bits"),
  },
  space = {
    axis "block_m" { 16, 32, 64, 128 },   -- tokens per block
    axis "block_n" { 32, 64, 128, 256 },  -- rows of W per block
    axis "block_k" { 16, 32, 64 },        -- elements of x per tile
    axis "warps"   { 2, 4, 8 },
    axis "warp_m"  { 16, 32, 64 },        -- tokens per warp
    axis "stages"  { 2, 3, 4 },           -- buffers
  },
  pipeline = {
    pipe "rnn/input" { when = "dtype == 'f32'" },
    pipe "rnn/input" { needs = { "mma_k16", "mma_bf16", "cp_async", "ldmatrix" } },
    pipe "rnn/input" { needs = { "mma_k8", "ldmatrix" }, when = "dtype == 'f16'" },
  },
  derive = rnn.lets(rnn.shape, rnn.input, {
    let("engine", "dtype == 'f32' and 'fma' or 'mma'"),
    let("warps_m", "block_m // warp_m"),
    let("warps_n", "warps // max(1, warps_m)"),
    let("warp_n", "block_n // max(1, warps_n)"),
    let("buffer_size", "(block_m + block_n) * block_k * element"),
    let("row_copies_", "block_k * element // 16"),   -- 16-byte copies of one row
    let("x_copies_", "cdiv(block_m * row_copies_, 32 * warps)"),
    let("w_copies_", "cdiv(block_n * row_copies_, 32 * warps)"),
    -- 32-bit registers per lane: sums, operands, addresses of x, copies on their way through registers.
    let("sum_regs", "warp_m * warp_n // 32"),
    let("operand_regs", "dtype == 'f32' and warp_m + 4 or warp_m // 4 + 4"),
    let("staged_regs", "(gpu.cp_async and x_align == 16 and 0 or x_copies_ * 4) + (gpu.cp_async and 0 or w_copies_ * 4)"),
    let("live_regs", "sum_regs + operand_regs + staged_regs + x_copies_ * 2"),
    let("est_regs", "min(live_regs + 40, 255)"),
    let("smem_bytes", "stages * buffer_size"),
    -- Each of the four schedulers has a quarter of the registers and whole warps: 14 warps leave as many as 16.
    let("fitting_warps", "gpu.regs_sm // 4 // (min(live_regs + (dtype == 'f32' and 72 or 64), 255) * 32) * 4"),
    let("launch_blocks", "max(1, min(gpu.smem_sm // (smem_bytes + 1024), fitting_warps // warps, gpu.warps_sm // warps))"),
    let("blocks", "cdiv(tokens, block_m) * cdiv(rows, block_n) * directions"),
    -- Elements read of either side per product: small when tiles are large; times how full the last
    -- round of blocks is. It only orders compilation.
    let("fill", "blocks * 1000 // max(1, cdiv(blocks, gpu.sms * launch_blocks) * gpu.sms * launch_blocks)"),
    let("work", "block_m * block_n * 1000 // (block_m + block_n)"),
    let("useful", "tokens * 1000 // max(1, cdiv(tokens, block_m) * block_m)"),
  }),
  rules = {
    rule("block_m % warp_m == 0", "warps have whole parts of the block's tokens"),
    rule("warps % warps_m == 0", "and share them out evenly"),
    rule("block_n % warps_n == 0 and warp_n % 16 == 0", "a warp's rows are whole pairs of n8 blocks"),
    rule("dtype == 'f32' or block_k >= 32", "one k16 step per barrier leaves the tensor cores idle"),
    rule("dtype ~= 'f32' or block_k <= 32", "f32 tiles of 64 fill shared memory and gain nothing"),
    rule("sum_regs <= (dtype == 'f32' and 64 or 128)", "sums and operands fit the registers"),
    rule("sum_regs >= 16", "smaller parts of a warp read more of the tiles than they compute"),
    rule("live_regs <= 190", "with addresses of copies it spills"),
    rule("gpu.cp_async or live_regs < 164", "with copies of packed or unaligned rows through registers it spills"),
    rule("gpu.cp_async or stages == 2", "buffers ahead need asynchronous copies"),
    rule("block_n % (32 * warps // row_copies_) == 0 or 32 * warps // row_copies_ > block_n", "every thread copies whole passes of rows"),
  },
  resources = {
    threads = "32 * warps",
    smem = "smem_bytes",
    regs = "est_regs",
    workspace = "0",
    score = "work * fill // 1000 * useful // 1000 + stages * 8 + launch_blocks",
  },
  launch = {
    step { entry = "rnn_input", grid = { "cdiv(tokens, block_m)", "cdiv(rows, block_n)", "directions" },
           block = { "threads" }, smem = "smem" },
  },
  layouts = {
    X = tile.swizzled("block_m", "block_k", "element"),
    W = tile.swizzled("block_n", "block_k", "element"),
  },
  parts = { product = { by = "engine", mma = "product/mma", fma = "product/fma" } },
  params = "rnn",
  flops = "2 * directions * tokens * hidden * (cell == 'lstm' and 4 or 3) * input",
  bytes = "directions * ((tokens + hidden * (cell == 'lstm' and 4 or 3)) * input * (dtype == 'f32' and 4 or 2) + tokens * hidden * (cell == 'lstm' and 4 or 3) * 4)",
  seeds = {
    seed { block_m = 64, block_n = 128, block_k = 32, warps = 8, warp_m = 32, stages = 4, when = "dtype == 'f32' and " .. some },
    seed { block_m = 64, block_n = 128, block_k = 32, warps = 8, warp_m = 32, stages = 2, when = "dtype == 'f32' and " .. some },
    seed { block_m = 32, block_n = 128, block_k = 32, warps = 8, warp_m = 32, stages = 4, when = "dtype == 'f32' and " .. few },
    seed { block_m = 32, block_n = 128, block_k = 32, warps = 8, warp_m = 32, stages = 2, when = "dtype == 'f32' and " .. few },
    seed { block_m = 64, block_n = 64, block_k = 64, warps = 8, warp_m = 32, stages = 3, when = "dtype ~= 'f32' and " .. few_mma },
    seed { block_m = 64, block_n = 64, block_k = 64, warps = 8, warp_m = 32, stages = 2, when = "dtype ~= 'f32' and " .. few_mma },
    seed { block_m = 128, block_n = 128, block_k = 32, warps = 8, warp_m = 64, stages = 3, when = "tokens >= 1024" },
    seed { block_m = 128, block_n = 128, block_k = 32, warps = 8, warp_m = 64, stages = 2, when = "tokens >= 1024" },
    seed { block_m = 64, block_n = 128, block_k = 32, warps = 4, warp_m = 32, stages = 3, when = "tokens >= 64" },
    seed { block_m = 64, block_n = 128, block_k = 32, warps = 4, warp_m = 32, stages = 2, when = "tokens >= 64" },
    seed { block_m = 16, block_n = 64, block_k = 64, warps = 2, warp_m = 16, stages = 4 },
    seed { block_m = 16, block_n = 64, block_k = 64, warps = 2, warp_m = 16, stages = 2 },
    seed { block_m = 64, block_n = 64, block_k = 16, warps = 2, warp_m = 32, stages = 3 },
    seed { block_m = 64, block_n = 64, block_k = 16, warps = 2, warp_m = 32, stages = 2 },
  },
  verify = { reference = "rnn_input" },
}
