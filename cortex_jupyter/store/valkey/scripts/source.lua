-- Adds a source. ARGV: id, owner, epoch, source. Returns its number: the same one if an earlier attempt, whose answer was
-- lost, added it.
local id, sources = ARGV[1], key(ARGV[1], 'sources')
local lost = fence(id, ARGV[2], ARGV[3])
if lost then
  return lost
end
local all = call('HGETALL', sources)
for i = 2, #all, 2 do
  if all[i] == ARGV[4] then
    return tonumber(all[i - 1])
  end
end
local number = #all / 2 + 1
call('HSET', sources, number, ARGV[4])
return number
