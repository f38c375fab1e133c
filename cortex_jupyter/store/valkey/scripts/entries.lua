-- ARGV: id, a number, about how many bytes. Returns the recording's epochs, then id, head and data of each entry, beginning
-- with the entry that holds the number.
local at = (holder(ARGV[1], ARGV[2]) or ARGV[2]) .. '-0'
local result, size, limit = {call('HGET', key(ARGV[1]), 'epochs') or '[]'}, 0, tonumber(ARGV[3])
for _, part in ipairs({'trimmed', 'kept', 'live'}) do
  local from = at
  repeat
    local page = call('XRANGE', key(ARGV[1], part), from, '+', 'COUNT', 8)
    for _, entry in ipairs(page) do
      table.insert(result, entry[1])
      table.insert(result, entry[2][2])
      table.insert(result, entry[2][4])
      from, size = '(' .. entry[1], size + #entry[2][4]
      if size >= limit then
        return result
      end
    end
  until #page < 8
end
return result
