-- What a server asks of one model's attention and KV cache: prompts, chunks of a long prompt, then
-- token by token for one sequence or many.
local serving = {}

local PAGE = 16     -- tokens: vLLM's default block
local CHUNK = 512   -- queries of a long prompt that is taken in pieces between other requests

-- The dimensions that every item of the model has, from its config.json. `window` counts the own key
-- (sliding_window), window_left does not.
local function fields(m)
  local f = { source = m.source, dtype = m.dtype, head_dim = m.head_dim, heads_q = m.heads_q, heads_kv = m.heads_kv,
              mask = m.window and "window" or "causal" }
  if m.window then f.window_left, f.window_right = m.window - 1, 0 end
  return f
end

local function in_pages(f)
  f.kv, f.lengths, f.page_size = "paged", "device", PAGE
  return f
end

function serving.items(m)
  local items = {}
  local function add(op, f, name, batch, len_q, len_kv)
    f.op, f.batch, f.len_q, f.len_kv = op, batch, len_q, len_kv
    f.label = m.name .. " " .. name
    items[#items + 1] = item(f)
  end
  for _, length in ipairs { 512, 2048, 8192 } do
    add("attn_prefill", fields(m), "prefill " .. length, 1, length, length)
  end
  add("attn_prefill", fields(m), "prefill 512 x 8", 8, 512, 512)
  for _, length in ipairs { 2048, 8192 } do
    add("attn_prefill", in_pages(fields(m)), "chunk of " .. length, 1, CHUNK, length)
  end
  for _, batch in ipairs { 1, 8, 64 } do
    for _, length in ipairs { 1024, 8192 } do
      local name = "decode " .. batch .. " x " .. length
      add("attn_decode", fields(m), name, batch, 1, length)
      add("attn_decode", in_pages(fields(m)), name .. " in pages", batch, 1, length)
    end
  end
  -- New tokens into the cache: a chunk of a prompt, and one token of each of 64 sequences.
  for _, tokens in ipairs { CHUNK, 64 } do
    items[#items + 1] = item { op = "kv_append", label = m.name .. " append " .. tokens, source = m.source,
      dtype = m.dtype, head_dim = m.head_dim, rope = "neox", rotary_dim = m.head_dim, tokens = tokens,
      heads_q = m.heads_q, heads_kv = m.heads_kv, page_size = PAGE }
  end
  -- A cached prefix back to contiguous rows, for a prompt that goes on from it.
  items[#items + 1] = item { op = "kv_gather", label = m.name .. " gather 2048", source = m.source,
    dtype = m.dtype, head_dim = m.head_dim, tokens = 2048, heads_kv = m.heads_kv, page_size = PAGE }
  -- A prefix that the sequences share, and each one's own keys.
  items[#items + 1] = item { op = "attn_combine", label = m.name .. " merge 2 x 64", source = m.source,
    dtype = m.dtype, head_dim = m.head_dim, parts = 2, tokens = 64, heads = m.heads_q }
  return items
end

return serving
