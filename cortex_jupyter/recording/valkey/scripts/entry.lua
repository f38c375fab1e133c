-- ARGV: id, a number. Gives id, head and data of the entry that holds it, where there is one.
local seq = holder(ARGV[1], ARGV[2])
if not seq then
  return nil
end
local at = seq .. '-0'
local found = call('XRANGE', key(ARGV[1], 'live'), at, at)[1] or call('XRANGE', key(ARGV[1], 'kept'), at, at)[1]
return found and {found[1], found[2][2], found[2][4]}
