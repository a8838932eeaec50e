-- What `scripts/bench.sh attention` tunes and times: Llama-3-8B's attention, prompts and steps of decoding.
local source = "meta-llama/Meta-Llama-3-8B config.json: 32 heads, 8 KV heads, hidden 4096"
local items = {}

-- page_size 0: dense; `device`: lengths are read on the device, as with pages.
local function add(op, label, batch, len_q, len_kv, page_size, device)
  local paged = page_size > 0
  items[#items + 1] = item { op = op, label = label, source = source,
      dtype = "bf16", head_dim = 128, mask = "causal", batch = batch, heads_q = 32, heads_kv = 8,
      len_q = len_q, len_kv = len_kv,
      kv = paged and "paged" or "dense", lengths = device and "device" or "uniform", page_size = page_size }
end

-- Every way in which K and V may lie; `sizes`: of pages.
local function add_all(op, name, batch, len_q, len_kv, sizes)
  add(op, name .. ", dense", batch, len_q, len_kv, 0, false)
  add(op, name .. ", dense, lengths on the device", batch, len_q, len_kv, 0, true)
  for _, size in ipairs(sizes) do add(op, name .. ", pages of " .. size, batch, len_q, len_kv, size, true) end
end

local all_sizes = { 1, 16, 64, 128, 256 }

for _, length in ipairs { 512, 1024, 2048, 4096, 8192, 16384 } do
  add_all("attn_prefill", "prefill " .. length, 1, length, length, all_sizes)
end

for _, batch in ipairs { 1, 8, 64 } do
  for _, keys in ipairs { 1, 2, 4, 8, 16, 32, 64, 128 } do
    add_all("attn_decode", "decode " .. batch .. " x " .. keys .. "k", batch, 1, keys * 1024, batch == 8 and { 16 } or all_sizes)
  end
end

workload "attention" { title = "Llama-3-8B's attention: prompts and steps of decoding, bf16", items = items }
