-- What the problems of kv_append and kv_gather have in common.
local kv_cache = {}

-- Dimensions in key order; `computed`: those of an append.
function kv_cache.problem(computed)
  local dims = {
    dim "dtype"      { enum = { "f16", "bf16" }, static = true, doc = "of the contiguous side" },
    dim "kv_dtype"   { enum = { "same", "e4m3", "int8" }, static = true, doc = "of the cache; same: dtype" },
    dim "head_dim"   { min = 8, max = 1024, static = true, preset = 128, doc = "elements of one head" },
    dim "tokens"     { min = 0, max = 16777216, key = "log2/4", preset = 512, doc = "rows" },
    dim "heads_kv"   { min = 1, max = 65535, key = "log2/4", preset = 8, doc = "key and value heads" },
    dim "page_size"  { min = 1, max = 2147483647, key = "ignore", preset = 16, doc = "tokens of a page" },
    dim "batch"      { min = 0, max = 65535, key = "ignore", preset = 0, doc = "sequences, by position; 0: by slots" },
  }
  for _, d in ipairs(computed) do dims[#dims + 1] = d end
  return dims
end

return kv_cache
