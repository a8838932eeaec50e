-- common: prefill attention and rope of three widely used 7-8B models, bf16, lengths 512 to 8192.
--
-- Shapes are those of the models' published config.json (num_attention_heads,
-- num_key_value_heads, head_dim = hidden_size / num_attention_heads, sliding_window). A query sees
-- its own key and sliding_window - 1 before it. rope items rotate Q and K together, as they lie
-- side by side after the fused projection: heads = num_attention_heads + num_key_value_heads.
local llama   = "meta-llama/Meta-Llama-3-8B config.json: 32 heads, 8 KV heads, hidden 4096"
local mistral = "mistralai/Mistral-7B-v0.1 config.json: 32 heads, 8 KV heads, hidden 4096, sliding_window 4096"
local qwen    = "Qwen/Qwen2.5-7B config.json: 28 heads, 4 KV heads, hidden 3584"

local function prefill(label, source, heads_q, heads_kv, length, batch)
  return item { op = "attn_prefill", label = label, source = source,
      dtype = "bf16", head_dim = 128, mask = "causal", batch = batch or 1,
      heads_q = heads_q, heads_kv = heads_kv, len_q = length, len_kv = length }
end

local function windowed(label, source, heads_q, heads_kv, length, window)
  return item { op = "attn_prefill", label = label, source = source,
      dtype = "bf16", head_dim = 128, mask = "window", batch = 1,
      heads_q = heads_q, heads_kv = heads_kv, len_q = length, len_kv = length,
      window_left = window - 1, window_right = 0 }
end

local function rope(label, source, heads, tokens)
  return item { op = "rope", label = label, source = source,
      dtype = "bf16", style = "neox", head_dim = 128, rotary_dim = 128,
      tokens = tokens, heads = heads }
end

workload "common" {
  title = "Llama-3-8B, Mistral-7B and Qwen-2.5-7B prefill, bf16",
  items = {
    prefill("llama-3-8b prefill 512", llama, 32, 8, 512),
    prefill("llama-3-8b prefill 512 x 8", llama, 32, 8, 512, 8),
    prefill("llama-3-8b prefill 2048", llama, 32, 8, 2048),
    prefill("llama-3-8b prefill 8192", llama, 32, 8, 8192),
    windowed("mistral-7b prefill 2048", mistral, 32, 8, 2048, 4096),
    windowed("mistral-7b prefill 8192", mistral, 32, 8, 8192, 4096),
    prefill("qwen-2.5-7b prefill 1024", qwen, 28, 4, 1024),
    prefill("qwen-2.5-7b prefill 4096", qwen, 28, 4, 4096),
    rope("llama-3-8b rope 512", llama, 32 + 8, 512),
    rope("llama-3-8b rope 8192", llama, 32 + 8, 8192),
    rope("mistral-7b rope 2048", mistral, 32 + 8, 2048),
    rope("qwen-2.5-7b rope 4096", qwen, 28 + 4, 4096),
  },
}
