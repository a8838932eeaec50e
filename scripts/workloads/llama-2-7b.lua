-- llama-2-7b: attention without head groups: every query head has its own keys and values.
local serving = require "serving"

workload "llama-2-7b" {
  title = "Llama-2-7B as a server runs it, f16",
  items = serving.items {
    name = "llama-2-7b", source = "meta-llama/Llama-2-7b-hf config.json: 32 heads, 32 KV heads, hidden 4096, float16",
    dtype = "f16", heads_q = 32, heads_kv = 32, head_dim = 128,
  },
}
