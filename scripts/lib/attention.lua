-- What the problems of all attention kernels have in common.
local attention = {}

-- Visible (query, key) pairs of one head. upto(x) = pairs with key <= own + x, own = query + shift:
-- the sum of min(max(n, 0), len_kv) over the consecutive n = own + x + 1 of the queries. With c(n) = that
-- minimum it is T(end) - T(begin), T(n) = c (c + 1) / 2 + max(n - len_kv, 0) * len_kv.
local function T(n)
  local c = "min(max(" .. n .. ", 0), len_kv)"
  return "(" .. c .. " * (" .. c .. " + 1) // 2 + max(" .. n .. " - len_kv, 0) * len_kv)"
end

-- Dimensions in key order. `head_dims`: those that the kernel has; `serving`: lengths on the device,
-- pages, top-left causal; `max_len_q`: a decode kernel with 8-bit K/V and split keys.
function attention.problem(o)
  local dims = {
    dim "dtype"        { enum = { "f16", "bf16" }, static = true, doc = "of Q, K, V and O" },
    dim "head_dim"     { ints = o.head_dims, static = true, preset = 128, doc = "elements of one head" },
    dim "mask"         { enum = { "none", "causal", "window" }, static = true, doc = "bottom-right aligned unless top_left" },
    dim "batch"        { min = 1, max = 65535, key = "ignore", preset = 1, doc = "sequences" },
    dim "heads_q"      { min = 1, max = 65535, key = "ignore", preset = 32, doc = "query heads" },
    dim "heads_kv"     { min = 1, max = 65535, key = "ignore", preset = 8, doc = "key and value heads" },
    dim "len_q"        { min = 0, max = o.max_len_q or 1048576, key = "log2/4", preset = o.max_len_q and 1 or 512, doc = "queries per sequence" },
    dim "len_kv"       { min = 0, max = 1048576, key = "log2/4", preset = 512, doc = "keys per sequence" },
    dim "window_left"  { min = -1, max = 1048576, key = "log2/4", preset = -1,
                         doc = "keys before the query's own, inclusive; -1: open; only with mask = window" },
    dim "window_right" { min = -1, max = 1048576, key = "log2/4", preset = -1, doc = "keys after it, the same" },
    dim "group"        { derive = "heads_q // heads_kv", key = "exact", doc = "query heads per K/V head" },
    dim "work"         { derive = "batch * heads_q", key = "log2/4", doc = "independent heads" },
  }
  local function add(d) dims[#dims + 1] = d end
  if o.serving then
    add(dim "kv"        { enum = { "dense", "paged" }, static = true, doc = "where K and V are; ragged is dense with lengths = device" })
    add(dim "lengths"   { enum = { "uniform", "device" }, static = true, doc = "device: read per sequence by the kernel" })
    add(dim "page_size" { min = 0, max = 65536, static = true, preset = 0, doc = "tokens of a page; 0 unless kv = paged" })
    add(dim "top_left"  { ints = { 0, 1 }, key = "ignore", preset = 0, doc = "1: the own position of query i is key i" })
    if o.max_len_q then
      add(dim "kv_dtype"   { enum = { "same", "e4m3", "int8" }, static = true, doc = "of K and V; same: dtype" })
      add(dim "invariant"  { ints = { 0, 1 }, static = true, preset = 0, doc = "1: the same bits in every batch" })
      add(dim "max_splits" { min = 0, max = 1024, key = "ignore", preset = 0, doc = "parts of K/V per sequence; 0: chosen" })
    end
    add(dim "shift"     { derive = "top_left == 1 and 0 or len_kv - len_q", key = "ignore" })
  else
    add(dim "shift"     { derive = "len_kv - len_q", key = "ignore" })
  end
  add(dim "reach_right" { derive = "mask == 'causal' and 0 or (window_right < 0 and len_q + len_kv or window_right)", key = "ignore" })
  add(dim "reach_left"  { derive = "window_left < 0 and len_q + len_kv or window_left", key = "ignore" })
  add(dim "right_end"   { derive = "shift + len_q + reach_right", key = "ignore" })
  add(dim "left_end"    { derive = "shift + len_q - reach_left - 1", key = "ignore" })
  add(dim "pairs"       { derive = T("right_end") .. " - " .. T("(right_end - len_q)") .. " - " .. T("left_end") .. " + " .. T("(left_end - len_q)"),
                          key = "ignore" })
  -- Keys that some query sees: those that are read.
  add(dim "keys_seen"   { derive = "len_q == 0 and 0 or max(min(right_end, len_kv) - max(left_end - len_q + 1, 0), 0)", key = "ignore" })
  return dims
end

attention.require = {
  need("heads_q % heads_kv == 0", "heads_kv must divide heads_q"),
  need("mask == 'window' or (window_left == -1 and window_right == -1)", "window_left and window_right belong to mask = window"),
}

attention.serving_require = {
  attention.require[1], attention.require[2],
  need("kv == 'dense' or lengths == 'device'", "paged K/V has its lengths on the device"),
  need("(kv == 'paged') == (page_size > 0)", "page_size belongs to kv = paged"),
}

attention.decode_require = {
  attention.serving_require[1], attention.serving_require[2], attention.serving_require[3], attention.serving_require[4],
  need("invariant == 0 or max_splits == 0", "the parts of a batch-invariant plan have a fixed size: splits has no place"),
}

return attention
