-- Tier 2 of rnn_seq (rnn/seq_grid.cu): R over the registers and shared memory of all SMs. Its own
-- axis is part_units; shared_blocks counts blocks of k of a warp.
local grid = {}

grid.lets = {
  let("part_blocks", "cdiv(all_blocks, k_splits)"),                 -- blocks of 32 k of a warp
  let("grid_warps", "max(1, part_units // warp_units) * k_splits"),
  let("grid_cells", "warp_units // 8 * (batch_tile // 8)"),        -- 8 units x 8 sequences, of k_splits warps
  -- 32-bit registers per lane: R; sums; h on its way; c, h, pre and places of cells.
  let("grid_weight_regs", "warp_units * gates // 8 * element * 2 * max(0, part_blocks - shared_blocks)"),
  let("grid_sum_regs", "warp_units * gates * batch_tile // 32 + (dtype == 'f32' and gates * 8 or 0)"),
  let("grid_load_regs", "dtype == 'f32' and 16 + (shared_blocks > 0 and gates * 8 or 0) or max(32, batch_tile // 2)"),
  let("grid_cell_regs", "cdiv(grid_cells, k_splits) * (10 + 2 * gates + (lengths == 'none' and 2 or 8))"),
  -- And the rows of one block of k from shared memory. Measured with ptxas 13.0 on all targets, as what does not spill:
  -- f32 with 1 less of five blocks of k spills 44 bytes and more, 4 less with 16 warps 16 bytes, 7 less of
  -- 16 sequences 32 bytes.
  let("grid_other_regs", "(dtype == 'f32' and 20 + peephole * 28 + (batch_tile - 8) * 3 + (part_blocks >= 5 and 12 or 0) or 32 + batch_tile * 3 // 4) + (shared_blocks > 0 and 8 + warp_units * gates // 8 * element * 2 or 0)"),
  -- Of six blocks of k and more ptxas moves loads of h and R ahead: with 27 registers to spare it spills 8 bytes and more.
  let("grid_ahead_regs", "dtype ~= 'f32' and part_blocks >= 6 and 28 or 0"),
  let("grid_regs", "grid_weight_regs + grid_sum_regs + grid_load_regs + grid_cell_regs + grid_other_regs + grid_ahead_regs"),
  let("grid_limit", "min(255, gpu.regs_sm // (32 * cdiv(grid_warps, 4) * 4) // 8 * 8)"),
  let("grid_smem", "grid_warps * (warp_units // 8 * gates * shared_blocks * (element // 2) * 512 + (k_splits > 1 and grid_cells * gates * 256 or 0)) + (dtype == 'f32' and batch_tile * state_pitch * 4 or 0)"),
  let("grid_parts", "units_pad // part_units"),
  let("grid_blocks", "grid_parts * tiles"),
  let("grid_workspace", "tiles * (128 + 2 * batch_tile * state_pitch * element)"),
  let("grid_score", "500 + min(grid_blocks, gpu.sms) - shared_blocks * 10 + min(grid_warps, 8)"),
}

grid.rules = {
  rule("tier ~= 2 or (batch_tile >= 8 and warp_units >= 8)", "sequences and units come in eights"),
  rule("tier ~= 2 or part_units % warp_units == 0", "every warp has whole blocks of units"),
  rule("tier ~= 2 or units_pad % part_units == 0", "every block has whole warps"),
  rule("tier ~= 2 or dtype == 'f32' or cell == 'lstm' or warp_units % 16 == 0", "8 units of a GRU are one and a half m16 tiles"),
  rule("tier ~= 2 or dtype ~= 'f32' or (warp_units == 8 and batch_tile <= 16)", "FMA takes eight units of a warp at a time"),
  rule("tier ~= 2 or dtype ~= 'f32' or batch_tile < 16 or shared_blocks == 0 or part_blocks < (k_splits == 1 and 4 or 5)", "two columns of sequences with five blocks of k and more (four where a warp has all k), some in shared memory, spill 24 to 640 bytes"),
  rule("tier ~= 2 or dtype ~= 'f32' or k_splits <= 8", "the sums of 16 parts beside FMA's spill 324 to 588 bytes"),
  rule("tier ~= 2 or grid_warps <= 32", "a block has at most 1024 threads"),
  rule("tier ~= 2 or (k_splits <= all_blocks and shared_blocks <= part_blocks)", "no more parts and blocks of k than there are"),
  rule("tier ~= 2 or grid_blocks <= gpu.sms", "blocks that wait for each other must all be on the GPU at once, one on an SM"),
  rule("tier ~= 2 or grid_blocks >= 2", "one block has nobody to wait for: tier 1"),
  rule("tier ~= 2 or steps * grid_parts < 2147483648", "the barrier's counter has 31 bits"),
  rule("tier ~= 2 or grid_regs <= grid_limit", "R, sums and cells fill the registers"),
}

-- Blocks for more than half of the SMs, or the smallest ones. Of as many blocks those of fewer sequences and more units: modelled,
-- lstm 512 x 64 f16 on an A100: 3.8 us a step with 16 units of 32 sequences, 4.7 with 8 of 64; 168 x 62 f32 on an H100: 2.0 with
-- 16 of 8, 2.5 with 8 of 16. Tensor cores have the 16 units in one warp, FMA in two.
grid.seeds = {}
local function add(k, shared, units, tile, warp, dtypes)
  local blocks = ("cdiv(hidden, %d) * cdiv(batch, %d) * directions"):format(units, tile)
  local smallest = tile == 8 and units == warp and (units == 8 and "true" or "cell == 'gru'") or "false"
  grid.seeds[#grid.seeds + 1] = seed {
    tier = 2, batch_tile = tile, warp_units = warp, part_units = units, k_splits = k, shared_blocks = shared, split = 0, chains = 1, depth = 1,
    when = ("%shidden > 64 and %s <= gpu.sms and (%s or 2 * %s > gpu.sms)"):format(dtypes, blocks, smallest, blocks) }
end
for _, f in ipairs { { 8, 8 }, { 4, 16 }, { 4, 32 }, { 8, 16 }, { 8, 32 }, { 4, 8 } } do
  add(f[1], 0, f[2], 8, 8, "dtype == 'f32' and ")
end
-- Even with some of R in shared memory: 1024 x 32 f16 on an H100 2.6 us, 3.1 with 8 of 32 and R in registers.
for shared = 0, 3 do
  for _, tile in ipairs { 8, 16, 32 } do add(8, shared, 16, tile, 16, "cell == 'lstm' and dtype ~= 'f32' and ") end
end
for _, k in ipairs { { 8, 0 }, { 8, 2 }, { 8, 6 }, { 4, 0 } } do
  for _, units in ipairs { { 16, 16 }, { 8, 8 }, { 16, 8 }, { 32, 8 }, { 32, 16 }, { 64, 8 }, { 64, 16 } } do
    for _, tile in ipairs { 8, 16, 32, 64 } do add(k[1], k[2], units[1], tile, units[2], "") end
  end
end
-- Where no more fits, a part of R in shared memory and fewer warps: streamed is 2 to 5 times slower (modelled, 11 problems).
for _, shared in ipairs { 3, 4, 5 } do
  for _, tile in ipairs { 8, 16, 32 } do add(8, shared, 16, tile, 16, "dtype ~= 'f32' and ") end
end
for _, shared in ipairs { 4, 5, 6, 8 } do
  for _, tile in ipairs { 8, 16 } do add(4, shared, 32, tile, 16, "dtype ~= 'f32' and ") end
  for _, tile in ipairs { 8, 16, 32 } do add(4, shared, 16, tile, 8, "cell == 'lstm' and dtype ~= 'f32' and ") end
end
for _, shared in ipairs { 1, 2, 3, 4, 6 } do
  for _, tile in ipairs { 8, 16 } do
    add(8, shared, 8, tile, 8, "dtype == 'f32' and ")
    add(4, shared, 16, tile, 8, "dtype == 'f32' and ")
  end
end

return grid
