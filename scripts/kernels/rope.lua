-- rope: rotary position embedding of [token, head, head_dim] from f32 cos/sin tables.
kernel "rope" {
  title = "rotary position embedding",
  generation = 1,
  problem = {
    dim "dtype"         { enum = { "f16", "bf16" }, static = true, doc = "of x and out" },
    dim "style"         { enum = { "neox", "interleaved" }, static = true, doc = "pairs (i, i + rotary_dim/2) or (2i, 2i+1)" },
    dim "head_dim"      { min = 2, max = 1024, static = true, preset = 128, doc = "elements of one head" },
    dim "rotary_dim"    { min = 2, max = 1024, static = true, preset = 128, doc = "rotated elements of a head" },
    dim "rotary_offset" { min = 0, max = 1022, key = "ignore", preset = 0, doc = "first of them" },
    dim "tokens"        { min = 0, max = 16777216, key = "log2/4", preset = 512, doc = "rows" },
    dim "heads"         { min = 1, max = 65535, key = "log2/4", preset = 32, doc = "heads per row" },
    dim "align"         { ints = { 1, 2, 4, 8 }, key = "exact", preset = 8,
                          doc = "elements: largest of these that divides rotary_offset and every stride" },
  },
  require = {
    need("rotary_dim % 2 == 0", "elements are rotated in pairs"),
    need("rotary_offset + rotary_dim <= head_dim", "the rotated part lies within the head"),
    need("rotary_offset % align == 0", "align divides rotary_offset"),
  },
  space = {
    axis "vec_bytes"       { 2, 4, 8, 16 },      -- one access
    axis "block_threads"   { 128, 256, 512 },
    axis "head_sequential" { 0, 1 },             -- a thread walks all heads: cos and sin are loaded once
  },
  pipeline = { pipe "rope/rope" { needs = {} } },
  derive = {
    let("vec", "vec_bytes // 2"),
    let("pairs", "rotary_dim // 2"),
    let("rotate_units", "style == 'neox' and pairs // vec or rotary_dim // vec"),
    let("copy_units", "(head_dim - rotary_dim) // vec"),
    let("units", "rotate_units + copy_units"),
    let("tokens_per_block", "block_threads // max(units, 1)"),
  },
  rules = {
    rule("vec <= align", "accesses are naturally aligned"),
    rule("head_dim % vec == 0 and (head_dim - rotary_dim) % vec == 0", "a head is whole vectors, copied part and rotated part"),
    rule("style == 'neox' or vec >= 2", "a vector of interleaved pairs has at least one pair"),
    rule("style == 'interleaved' or pairs % vec == 0", "the two halves of neox pairs are whole vectors"),
    rule("units <= block_threads", "a token's units fit one block"),
    rule("vec_bytes >= 8 or align < 4 or head_dim % 4 ~= 0 or rotary_dim % 8 ~= 0", "narrow accesses only where none of 8 bytes is possible"),
  },
  resources = {
    threads = "block_threads",
    smem = "0",
    regs = "min(24 + vec * 2 + (head_sequential == 1 and vec * 4 or vec), 128)",
    workspace = "0",
    score = "vec_bytes * 16 - block_threads // 128 + head_sequential",
  },
  launch = {
    step { entry = "rope",
           grid = { "cdiv(tokens, tokens_per_block)", "head_sequential == 1 and 1 or heads" },
           block = { "threads" }, smem = "smem" },
  },
  parts = {
    rotate = { by = "style", neox = "rotate/neox", interleaved = "rotate/interleaved" },
  },
  params = "rope",
  flops = "tokens * heads * rotary_dim * 3",
  bytes = "tokens * (heads * head_dim * 4 + rotary_dim * 4)",
  seeds = {
    seed { vec_bytes = 16, block_threads = 128, head_sequential = 0 },
    seed { vec_bytes = 8, block_threads = 128, head_sequential = 0 },
    seed { vec_bytes = 4, block_threads = 128, head_sequential = 0 },
    seed { vec_bytes = 2, block_threads = 128, head_sequential = 0 },
    seed { vec_bytes = 2, block_threads = 512, head_sequential = 0 },
  },
  verify = { reference = "rope" },
}
