-- llama-3-8b: four query heads to a K/V head.
local serving = require "serving"

workload "llama-3-8b" {
  title = "Llama-3-8B as a server runs it, bf16",
  items = serving.items {
    name = "llama-3-8b", source = "meta-llama/Meta-Llama-3-8B config.json: 32 heads, 8 KV heads, hidden 4096, bfloat16",
    dtype = "bf16", heads_q = 32, heads_kv = 8, head_dim = 128,
  },
}
