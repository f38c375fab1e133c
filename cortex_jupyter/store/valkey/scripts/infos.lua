-- The columns of recordings, and whether their recorder lives. ARGV: how many columns, their names, then ids.
local n = tonumber(ARGV[1])
local columns = {unpack(ARGV, 2, n + 1)}
local found = {}
for i = n + 2, #ARGV do
  local row = call('HMGET', key(ARGV[i]), 'owner', unpack(columns))
  if row[2] then
    row[1] = lives(row[1]) and 1 or 0
    table.insert(row, 1, ARGV[i])
    table.insert(found, row)
  end
end
return found
