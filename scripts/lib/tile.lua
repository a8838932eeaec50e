-- Shared-memory tiles.

-- A tile of `rows` x `cols` elements of `elem_bytes` bytes at the natural pitch, its 16-byte chunks
-- permuted within each row so that ldmatrix and row-by-row 16-byte stores meet no bank conflict.
-- Arguments are integers or formulas; `cols` must be a multiple of 16 / elem_bytes.
local function swizzled(rows, cols, elem_bytes)
  return shared_tile(rows, cols, elem_bytes)
end

return { swizzled = swizzled }
