-- Removes a recording if it may leave. ARGV: id. Returns 1 if it was removed.
local id = ARGV[1]
if not may_leave(id, now_ms()) then
  return 0
end
forget(id)
return 1
