-- Lets a recording leave, where it may.
local id = ARGV[1]
if not free(id, now_ms()) then
  return 0
end
forget(id)
return 1
