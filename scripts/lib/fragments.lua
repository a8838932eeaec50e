-- Register layouts of mma.sync operands: which element of a tile each lane holds in each register.
-- Bit b of the register or lane number contributes one {row, col}; contributions are combined by
-- XOR (all bits here are disjoint, so XOR is addition). The generator compares each atom with the
-- operand formulas of the PTX ISA, "Matrix Fragments for mma.m16n8k8 / mma.m16n8k16".

-- Accumulator (C, D) of every m16n8 shape: 4 values per lane.
local acc_m16n8 = register_layout {
  atom = "acc_m16n8", rows = 16, cols = 8,
  reg  = { {0, 1}, {8, 0} },
  lane = { {0, 2}, {0, 4}, {1, 0}, {2, 0}, {4, 0} },
}

-- Multiplicand A of m16n8k16, 16-bit elements: 8 values in 4 registers; (row, k).
local a_m16k16 = register_layout {
  atom = "a_m16k16", rows = 16, cols = 16,
  reg  = { {0, 1}, {8, 0}, {0, 8} },
  lane = { {0, 2}, {0, 4}, {1, 0}, {2, 0}, {4, 0} },
}

-- Multiplicand A of m16n8k8, 16-bit elements: 4 values in 2 registers; (row, k).
local a_m16k8 = register_layout {
  atom = "a_m16k8", rows = 16, cols = 8,
  reg  = { {0, 1}, {8, 0} },
  lane = { {0, 2}, {0, 4}, {1, 0}, {2, 0}, {4, 0} },
}

-- Multiplicand B of m16n8k16, 16-bit elements: 4 values in 2 registers; (k, n).
local b_k16n8 = register_layout {
  atom = "b_k16n8", rows = 16, cols = 8,
  reg  = { {1, 0}, {8, 0} },
  lane = { {2, 0}, {4, 0}, {0, 1}, {0, 2}, {0, 4} },
}

-- Multiplicand B of m16n8k8, 16-bit elements: 2 values in 1 register; (k, n).
local b_k8n8 = register_layout {
  atom = "b_k8n8", rows = 8, cols = 8,
  reg  = { {1, 0} },
  lane = { {2, 0}, {4, 0}, {0, 1}, {0, 2}, {0, 4} },
}

return {
  acc_m16n8 = acc_m16n8,
  a_m16k16 = a_m16k16, a_m16k8 = a_m16k8,
  b_k16n8 = b_k16n8, b_k8n8 = b_k8n8,
}
