-- seqtune run-ptx saxpy.ptx --launch saxpy.lua --gpu soft:a100
local n = set.n or 1000 -- --set n=5000

buffer "x" { dtype = "f32", count = n, fill = { uniform = { -1, 1 }, seed = 7 } }
buffer "y" { dtype = "f32", count = n, fill = "iota" }

launch {
  grid = cdiv(n, 256),
  block = 256,
  params = { u32(n), f32(2.5), ptr "x", ptr "y" },
}

expect "y" {
  equals = function(i) return 2.5 * at("x", i) + at("y", i) end,
  rel = 1e-6,
}
output "y" { first = 4, stats = true }
