-- ARGV: id, a number. Returns id, head and data of the entry that holds the number, and the recording's epochs; nil if
-- there is none.
local seq = holder(ARGV[1], ARGV[2])
if not seq then
  return nil
end
local at = seq .. '-0'
for _, part in ipairs({'live', 'kept', 'trimmed'}) do
  local found = call('XRANGE', key(ARGV[1], part), at, at)[1]
  if found then
    return {found[1], found[2][2], found[2][4], call('HGET', key(ARGV[1]), 'epochs') or '[]'}
  end
end
