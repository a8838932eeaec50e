local items = {}
for _, rows in ipairs { 512, 1024 } do
  items[#items + 1] = item { op = "probe", label = "rows " .. rows, source = "made up", rows = rows, dtype = "bf16" }
end
workload "pair" { title = "two problems", items = items }
