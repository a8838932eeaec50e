-- llama-3-70b-tp8: one GPU's share of eight (tensor parallelism by K/V heads).
local serving = require "serving"

workload "llama-3-70b-tp8" {
  title = "Llama-3-70B at tensor parallelism 8, one GPU's share, bf16",
  items = serving.items {
    name = "llama-3-70b-tp8", source = "meta-llama/Meta-Llama-3-70B config.json: 64 heads, 8 KV heads, hidden 8192, bfloat16; an eighth of the heads",
    dtype = "bf16", heads_q = 8, heads_kv = 1, head_dim = 128,
  },
}
