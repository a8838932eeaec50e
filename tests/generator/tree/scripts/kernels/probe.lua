-- A family that does nothing useful and uses every word of docs/spec.md once.
local frag, tile = require "fragments", require "tile"

kernel "probe" {
  title = "every word of the vocabulary",
  generation = 3,
  problem = {
    dim "dtype"    { enum = { "f16", "bf16" }, static = true, doc = "of both" },
    dim "width"    { ints = { 64, 96, 128 }, static = true, preset = 96 },
    dim "mask"     { enum = { "none", "causal", "window" }, static = true, preset = "causal" },
    dim "batch"    { min = 1, max = 65535, key = "ignore" },
    dim "rows"     { min = 0, max = 1048576, key = "log2/4", preset = 512 },
    dim "heads"    { min = 1, max = 128, preset = 8 },
    dim "heads_kv" { min = 1, max = 128, preset = 2 },
    dim "group"    { derive = "heads // heads_kv" },
    dim "work"     { derive = "batch * heads", key = "log2/4" },
    dim "half"     { derive = "width / 2", static = true, key = "ignore" },
  },
  require = {
    need("heads % heads_kv == 0", "heads_kv must divide heads"),
  },
  space = {
    axis "tile_m" { 16, 32, 64, 48 },
    axis "warps"  { 1, 2, 4, doc = "per block" },
    axis "packed" { false, true },
    axis "unused" { 7, 8 },
  },
  pipeline = {
    pipe "probe/wide"   { needs = { "mma_k16", "cp_async" }, when = "width >= 96" },
    pipe "probe/narrow" { needs = { "mma_k8" } },
  },
  derive = {
    let("tile_rows", "tile_m / warps"),            -- not whole for 16 rows of 3 warps: guarded below
    let("engine", "gpu.cp_async and 'async' or 'sync'"),
    let("blocks", "cdiv(rows, tile_m) * (packed and heads_kv or heads)"),
    let("regs_each", "tile_m * width // (32 * warps)"),
    let("negative", -5), let("sm_kib", "gpu.smem_sm // 1024"),
  },
  rules = {
    rule("tile_m % (16 * warps) == 0", "each warp owns whole m16 blocks"),
    rule("not packed or group > 1",    "packing is the identity when group is 1"),
    rule("tile_rows <= 32",            "a warp has registers for two m16 blocks"),
  },
  resources = {
    threads = "32 * warps",
    smem = "tile_m * width * 2",
    regs = "40 + regs_each",
    workspace = "batch * rows * 4",
    score = "occupancy * tile_m + (packed and 1 or 0)",
  },
  launch = {
    step { entry = "probe_first", grid = { "blocks", "batch" }, block = { "threads" }, smem = "smem" },
    step { entry = "probe_last", grid = { "cdiv(rows, 256)" }, block = { 256 }, when = "rows > 256" },
  },
  layouts = {
    S = frag.acc_m16n8:rep_row("tile_rows // 16"):rep_col("width // 8"),
    K = tile.swizzled("tile_m", "width", 2),
  },
  parts = {
    mask = { by = "mask", none = false, causal = "mask/causal", window = "mask/window" },
    load = { by = "engine", async = "load_async", sync = "load_sync" },
    tail = "tail/store",
  },
  params = "probe",
  flops = "2 * batch * rows * width",
  bytes = "4 * batch * rows * width",
  seeds = {
    seed { tile_m = 64, warps = 1, packed = false, unused = 7 },                       -- breaks a rule
    seed { tile_m = 32, warps = 2, packed = true, unused = 7, when = "group > 1" },
    seed { tile_m = 32, warps = 2, packed = true, unused = 7 },
    seed { tile_m = 16, warps = 1, packed = false, unused = 7 },
  },
  verify = { reference = "none" },
}
