-- What `scripts/bench.sh attention` tunes and times: Llama-3-8B's attention, prompts and steps of decoding.
local source = "meta-llama/Meta-Llama-3-8B config.json: 32 heads, 8 KV heads, hidden 4096"
local items = {}

local function add(op, label, batch, len_q, len_kv, page_size)
  local paged = page_size > 0
  items[#items + 1] = item { op = op, label = label, source = source,
      dtype = "bf16", head_dim = 128, mask = "causal", batch = batch, heads_q = 32, heads_kv = 8,
      len_q = len_q, len_kv = len_kv,
      kv = paged and "paged" or "dense", lengths = paged and "device" or "uniform", page_size = page_size }
end

for _, length in ipairs { 512, 1024, 2048, 4096, 8192, 16384 } do
  add("attn_prefill", "prefill " .. length, 1, length, length, 0)
end

for _, batch in ipairs { 1, 8, 64 } do
  for _, page_size in ipairs { 0, 16, 1 } do
    for _, keys in ipairs { 1, 2, 4, 8, 16, 32, 64, 128 } do
      local where = page_size == 0 and "dense" or "pages of " .. page_size
      add("attn_decode", "decode " .. batch .. " x " .. keys .. "k, " .. where, batch, 1, keys * 1024, page_size)
    end
  end
end

workload "attention" { title = "Llama-3-8B's attention: prompts and steps of decoding, bf16", items = items }
