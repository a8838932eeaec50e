-- smoke: three tiny problems that touch every stage of tuning in seconds; for tests.
workload "smoke" {
  title = "tiny problems for tests",
  items = {
    item { op = "attn_prefill", label = "causal 96 x 160", source = "none: a test shape",
      dtype = "f16", head_dim = 64, mask = "causal", batch = 1, heads_q = 4, heads_kv = 2,
        len_q = 96, len_kv = 160 },
    item { op = "attn_prefill", label = "window 130", source = "none: a test shape",
      dtype = "f16", head_dim = 64, mask = "window", batch = 2, heads_q = 2, heads_kv = 2,
        len_q = 130, len_kv = 130, window_left = 40, window_right = 3 },
    item { op = "rope", label = "rope 33 tokens", source = "none: a test shape",
      dtype = "f16", style = "interleaved", head_dim = 64, rotary_dim = 32, tokens = 33, heads = 3 },
  },
}
