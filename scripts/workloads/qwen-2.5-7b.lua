-- qwen-2.5-7b: seven query heads to a K/V head, which is no power of two.
local serving = require "serving"

workload "qwen-2.5-7b" {
  title = "Qwen-2.5-7B as a server runs it, bf16",
  items = serving.items {
    name = "qwen-2.5-7b", source = "Qwen/Qwen2.5-7B config.json: 28 heads, 4 KV heads, hidden 3584, bfloat16",
    dtype = "bf16", heads_q = 28, heads_kv = 4, head_dim = 128,
  },
}
