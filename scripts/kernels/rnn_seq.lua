-- rnn_seq: all steps of a recurrent layer and direction, from pre = W x + bias. Tiers by where R is:
-- 1: in the registers and shared memory of one SM, a block for every batch tile.
-- 2: in those of the whole GPU, blocks that wait for each other at every step (scripts/lib/rnn_grid.lua).
-- 3: streamed from L2 or memory by a launch per step, any size.
local rnn, grid = require "rnn", require "rnn_grid"

-- Tier 1's seeds, best first: f32 with as few sequences a block as there are SMs for (FMA has no use
-- for more; modelled, LSTM 32 x 20 on an H100: 0.29 us a step with one, 0.69 with eight), then many
-- warps to hide latency, and as much of R in registers as goes. Where some of R must be in shared
-- memory, which every step reads again, tier 2 is faster, but for so few sequences.
local seeds, shared_seeds = {}, {}
local function add(list, tile, units, shared, split, when)
  list[#list + 1] = seed { tier = 1, batch_tile = tile, warp_units = units, shared_blocks = shared, split = split,
                           chains = 1, k_splits = 1, depth = 1, part_units = 8, when = when }
end
-- Warps of 16 units, whose lanes read h once for two, where they load the four parts of an SM as
-- evenly as those of 8 do, and where those of 8 are more than 16: these leave too few registers.
local even = "(layer_norm == 0 and projection == 0 and (cdiv(hidden, 16) % 4 == 0 or cdiv(hidden, 16) % 4 == 3 or hidden > 128))"
for _, tile in ipairs { 4, 2, 1 } do
  local narrow = tile == 1 and "dtype == 'f32'" or ("dtype == 'f32' and batch * directions > %d * gpu.sms"):format(tile // 2)
  for shared = 0, 8 do
    add(seeds, tile, 8, shared, 0, tile == 4 and narrow or ("%s and not %s"):format(narrow, even))
    if tile < 4 then add(seeds, tile, 16, shared, 0, ("%s and %s"):format(narrow, even)) end
  end
end
for shared = 0, 4 do
  add(shared == 0 and seeds or shared_seeds, 8, 8, shared, 0, "dtype == 'f32'")
end
for _, units in ipairs { 16, 8, 24, 32, 48, 64 } do
  for shared = 0, 8 do
    for split = 0, 1 do
      add(shared == 0 and seeds or shared_seeds, 8, units, shared, split)
    end
  end
end

kernel "rnn_seq" {
  title = "steps of a recurrent layer, LSTM or GRU",
  generation = 1,
  problem = rnn.problem { op = "seq" },
  require = rnn.require,
  -- First what belongs to one tier: enumeration passes over all that a rule about them rules out.
  space = {
    axis "tier"          { 1, 2, 3 },                       -- where R is
    axis "depth"         (rnn.step_depths),                 -- tier 3: loads of weights under way
    axis "part_units"    { 8, 16, 24, 32, 48, 64 },         -- tier 2: hidden units of a block
    axis "split"         { 0, 1 },                          -- 1: a warp takes its units in passes
    axis "chains"        { 1, 2 },                          -- sums per output, over alternate blocks of k
    axis "k_splits"      { 1, 2, 4, 8, 16 },                -- tiers 2, 3: warps that share out k
    axis "batch_tile"    { 1, 2, 4, 8, 16, 32, 64 },        -- sequences of a block
    axis "warp_units"    { 1, 2, 8, 16, 24, 32, 48, 64 },   -- hidden units of a warp
    axis "shared_blocks" { 0, 1, 2, 3, 4, 5, 6, 7, 8 },     -- blocks of 32 k (tier 1 below eight sequences: 16) of R in shared memory, not in registers
  },
  pipeline = rnn.lets({
    pipe "rnn/seq_block" { needs = { "mma_k16", "mma_bf16" }, when = "tier == 1" },
    pipe "rnn/seq_block" { needs = { "mma_k8" }, when = "tier == 1 and dtype ~= 'bf16'" },
    pipe "rnn/seq_grid" { needs = { "mma_k16", "mma_bf16" }, when = "tier == 2" },
    pipe "rnn/seq_grid" { needs = { "mma_k8" }, when = "tier == 2 and dtype ~= 'bf16'" },
  }, rnn.step_pipes("tier == 3")),
  derive = rnn.lets(rnn.shape, rnn.recurrent, {
    let("all_blocks", "state_pitch // 32"),
    let("narrow", "batch_tile < 8 and 1 or 0"),              -- fewer sequences than tensor cores take: lib rnn_narrow
    -- Blocks of k of R: of 32, below eight sequences of 16; registers of a lane for one of a row.
    let("r_blocks", "narrow == 1 and cdiv(state, 16) or all_blocks"),
    let("block_regs", "narrow == 1 and 4 or element * 2"),
    let("seq_warps", "cdiv(units_pad, warp_units)"),
    -- Blocks of eight units that the lanes of a quad share out (lib rnn_narrow).
    let("quad_blocks", "batch_tile <= 2 and warp_units == 16 and 2 or 1"),
    let("pass_units", "dtype == 'f32' and 8 * quad_blocks or (split == 0 and warp_units or (cell == 'lstm' and 8 or 16))"),
    let("loop_blocks", "max(chains, 64 // (pass_units * gates))"),
    let("lane_cells", "warp_units // 8 // quad_blocks * max(1, batch_tile // 4)"),   -- (unit, sequence) pairs
    -- 32-bit registers per lane: R; pre, c and a pass's sums; operands of one block of k; lengths.
    let("weight_regs", "warp_units * gates // 8 * block_regs * (r_blocks - shared_blocks)"),
    let("sum_regs", "lane_cells * (gates + 1 + layer_norm * 2) + (narrow == 1 and quad_blocks * batch_tile or pass_units // 8 * batch_tile // 4) * gates * chains"),
    let("operand_regs", "narrow == 1 and batch_tile * 4 + 4 + (shared_blocks > 0 and quad_blocks * gates * 4 or 0) or (dtype == 'f32' and gates * 16 + 8 or batch_tile // 2 + 8)"),
    let("live_regs", "weight_regs + sum_regs + operand_regs + batch_tile // 4"),
    -- Measured with ptxas 13.0 on sm_75, sm_80 and sm_90a: addresses, and what each block of units
    -- has of its own. 4 fewer spill (12 bytes and more). With R in shared memory and two chains or
    -- passes also what ptxas loads ahead in the loop over its blocks of k: 34 to spare spill 100 bytes with two
    -- chains, 41 spill 52 with 16 sequences in passes, and with eight 9 spill 68 and 3 on sm_80 40.
    -- Narrow: measured likewise, on sm_75 to sm_120a but sm_87 and sm_103a; 32 spill 8 to 32 bytes. Layer norm
    -- (on sm_75 and sm_90a): 45 spill 32 bytes.
    let("other_regs", "narrow == 1 and 36 + layer_norm * 16 or 56 + warp_units // 8 * 3 * (peephole + store_gates) + (dtype ~= 'f32' and shared_blocks > 0 and (chains == 2 and 36 or split * (batch_tile > 8 and 44 or 16)) or 0)"),
    let("cells_part", "layer_norm == 1 and 'norm' or (reset == 'before' and 'reset_before' or 'plain')"),
    let("output_part", "projection > 0 and 'projection' or 'direct'"),
    -- Shared memory of tier 1: R; h and what cells give; sequences; layer norm's vectors and parts; P.
    let("cell_blocks_", "projection > 0 and cdiv(units_pad, 32) or all_blocks"),
    let("cell_bytes", "element == 4 and cell_blocks_ * 128 + 16 or (cell_blocks_ % 2 == 1 and cell_blocks_ or cell_blocks_ + 1) * 64"),
    let("norm_units_", "seq_warps * warp_units"),
    let("norm_bytes", "layer_norm == 0 and 0 or norm_units_ * (cell == 'lstm' and 14 or 9) * 4 + seq_warps * batch_tile * (cell == 'lstm' and 24 or 16)"),
    let("projection_bytes", "projection == 0 and 0 or seq_warps * cdiv(cdiv(state, 16), seq_warps) * 2 * (narrow == 1 and units_pad // 16 or cell_blocks_) * block_regs * 128"),
    let("lane_limit", "min(255, gpu.regs_sm // (32 * cdiv(seq_warps, 4) * 4) // 8 * 8)"),
    let("row_bytes", "element == 4 and state_pitch * 4 + 16 or (all_blocks % 2 == 1 and all_blocks or all_blocks + 1) * 64"),
    let("block_smem", "seq_warps * (warp_units // 8) * gates * shared_blocks * block_regs * 128 + batch_tile * (row_bytes + cell_bytes + 16) + norm_bytes + projection_bytes"),
    let("tiles", "cdiv(batch, batch_tile) * directions"),
    let("fused", "0"),
    let("streamed", "1"),
    let("x_align", "16"),
  }, grid.lets, rnn.step),
  rules = rnn.lets({
    rule("tier == 3 or depth == 1", "R is not read again"),
    rule("tier == 2 or part_units == 8", "part_units belong to tier 2"),
    rule("tier == 1 or (split == 0 and chains == 1)", "tiers 2 and 3 have one chain and one pass"),
    rule("tier ~= 3 or shared_blocks == 0", "R is not kept"),
    rule("tier ~= 1 or k_splits == 1", "a warp has all k of its units"),
    rule("tier ~= 2 or (projection == 0 and layer_norm == 0 and reset == 'after')", "a second product or a norm of all units needs all of them"),
    rule("tier ~= 1 or layer_norm == 0 or reset == 'after'", "layer norm of R (r h) is not served"),
    rule("tier ~= 1 or (seq_warps * warp_units - units_pad) * 8 <= units_pad", "at most an eighth more rows than there are"),
    rule("tier ~= 1 or narrow == 1 or (cell == 'lstm' or warp_units % 16 == 0)", "8 units of a GRU are one and a half m16 tiles"),
    rule("tier ~= 1 or (seq_warps <= 32)", "a block has at most 1024 threads"),
    rule("tier ~= 1 or (shared_blocks <= r_blocks)", "no more blocks of k than there are"),
    rule("tier ~= 1 or (chains == 1 or (dtype ~= 'f32' and all_blocks >= 2))", "chains share out blocks of k"),
    rule("tier ~= 1 or (dtype ~= 'f32' or batch_tile <= 8)", "FMA takes eight sequences at a time at most"),
    rule("tier ~= 1 or narrow == 0 or warp_units <= 16", "an SM has warps enough for more units, and these would take passes"),
    rule("tier ~= 1 or narrow == 0 or dtype == 'f32'", "tensor cores take sequences in eights"),
    rule("tier ~= 1 or narrow == 0 or (layer_norm == 0 and projection == 0) or warp_units == 8", "a quad's lanes have the same units in norms and projections"),
    rule("tier ~= 1 or narrow == 0 or reset == 'after' or lane_cells == 1", "two products of several passes spill"),
    rule("tier ~= 1 or narrow == 0 or batch_tile == 1 or batch_tile // 2 < batch", "sequences that do not exist cost registers"),
    rule("tier ~= 1 or split == 0 or (dtype ~= 'f32' and warp_units > pass_units and cells_part == 'plain')", "passes are parts of a warp's units"),
    rule("tier ~= 1 or shared_blocks == 0 or pass_units * gates <= 128", "ptxas loads a whole block of k of R at once: more than 64 registers of it spill"),
    rule("tier ~= 1 or projection == 0 or cdiv(cdiv(state, 16), max(seq_warps, 1)) <= 4", "the sums of more rows of P spill"),
    rule("tier ~= 1 or live_regs + other_regs <= lane_limit", "R, sums and cells fill the registers: with addresses it spills"),
    rule("tier ~= 1 or (batch_tile <= 32 and warp_units >= 8)", "units come in eights; more sums than of 32 sequences spill"),
    rule("tier ~= 3 or k_splits <= 8", "a block has eight warps"),
  }, grid.rules, rnn.step_rules("tier ~= 3")),
  resources = {
    threads = "tier == 3 and step_threads or 32 * (tier == 2 and grid_warps or seq_warps)",
    smem = "tier == 3 and step_smem or tier == 2 and grid_smem or block_smem",
    regs = "tier == 3 and min(step_regs + 40, 255) or tier == 2 and min(grid_regs, grid_limit) or min(live_regs + other_regs, lane_limit)",
    workspace = "tier == 3 and step_workspace or tier == 2 and grid_workspace or 0",
    score = "tier == 3 and step_score // 1000 or tier == 2 and grid_score or 1000 - shared_blocks * 10 + min(seq_warps, 8) - chains + (batch_tile == 8 and 100 or 0) + (narrow == 1 and 100 + min(tiles, gpu.sms) or 0)",
  },
  launch = rnn.lets({
    step { entry = "rnn_seq_block", grid = { "cdiv(batch, batch_tile)", "1", "directions" }, block = { "threads" }, smem = "smem", when = "tier == 1" },
    step { entry = "rnn_reset", grid = { "cdiv(cdiv(batch, batch_tile) * batch_tile * state_pitch, threads)", "1", "directions" }, block = { "threads" }, when = "tier == 2" },
    step { entry = "rnn_seq_grid", grid = { "grid_parts", "cdiv(batch, batch_tile)", "directions" }, block = { "threads" }, smem = "smem",
           cooperative = true, when = "tier == 2" },
    step { entry = "rnn_step_begin", grid = { "cdiv(batch * state_pitch, threads)", "1", "directions" }, block = { "threads" }, when = "tier == 3" },
  }, rnn.step_launches("tier == 3", "steps")),
  parts = {
    cells = { by = "cells_part", plain = "rnn_cells/plain", reset_before = "rnn_cells/reset_before", norm = "rnn_cells/norm" },
    output = { by = "output_part", direct = "rnn_output/direct", projection = "rnn_output/projection" },
  },
  params = "rnn",
  flops = "2 * steps * batch * directions * hidden * (cell == 'lstm' and 4 or 3) * (projection > 0 and projection or hidden)",
  bytes = "steps * batch * directions * (hidden * (cell == 'lstm' and 16 or 12) + (projection > 0 and projection or hidden) * (dtype == 'f32' and 4 or 2))",
  seeds = rnn.lets(seeds, grid.seeds, shared_seeds, rnn.step_seeds { tier = 3, shared_blocks = 0, split = 0, chains = 1, part_units = 8 }),
  verify = { reference = "rnn_seq" },
}
