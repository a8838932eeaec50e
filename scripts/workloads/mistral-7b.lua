-- mistral-7b: a query sees its own key and the 4095 before it.
local serving = require "serving"

workload "mistral-7b" {
  title = "Mistral-7B as a server runs it, window of 4096, bf16",
  items = serving.items {
    name = "mistral-7b", source = "mistralai/Mistral-7B-v0.1 config.json: 32 heads, 8 KV heads, hidden 4096, sliding_window 4096, bfloat16",
    dtype = "bf16", heads_q = 32, heads_kv = 8, head_dim = 128, window = 4096,
  },
}
