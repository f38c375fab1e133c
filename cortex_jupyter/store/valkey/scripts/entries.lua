-- ARGV: id, a number, about how many bytes. Gives the recording's epochs, then id,
-- head and data of the entries from the one that holds it on.
local at = (holder(ARGV[1], ARGV[2]) or ARGV[2]) .. '-0'
local found, size, most = {call('HGET', key(ARGV[1]), 'epochs') or '[]'}, 0, tonumber(ARGV[3])
for _, part in ipairs({'trimmed', 'kept', 'live'}) do
  local from = at
  repeat
    local some = call('XRANGE', key(ARGV[1], part), from, '+', 'COUNT', 8)
    for _, entry in ipairs(some) do
      table.insert(found, entry[1])
      table.insert(found, entry[2][2])
      table.insert(found, entry[2][4])
      from, size = '(' .. entry[1], size + #entry[2][4]
      if size >= most then
        return found
      end
    end
  until #some < 8
end
return found
