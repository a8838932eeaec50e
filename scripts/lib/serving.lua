-- What a server asks of one model's attention: prompts, chunks of a long prompt, token by token.
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
  return items
end

return serving
