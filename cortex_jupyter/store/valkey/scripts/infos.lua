-- ARGV: the number of columns, their names, then ids. Returns for each recording its id, whether its recorder lives (1 or 0)
-- and its columns.
local n = tonumber(ARGV[1])
local columns = {unpack(ARGV, 2, n + 1)}
local result = {}
for i = n + 2, #ARGV do
  local row = call('HMGET', key(ARGV[i]), 'owner', unpack(columns))
  if row[2] then
    row[1] = lives(row[1]) and 1 or 0
    table.insert(row, 1, ARGV[i])
    table.insert(result, row)
  end
end
return result
