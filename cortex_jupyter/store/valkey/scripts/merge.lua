-- Puts one entry in the place of several. ARGV: id, owner, epoch, seq, last, n, head, data, then the numbers of the old.
-- A stream only grows at its end. So what has cooled down moves, in order, from the stream that grows to another, and
-- is merged on the way. Gives 1 where more has to move before that, and it is to be called again.
local id, seq, last = ARGV[1], ARGV[4], ARGV[5]
local live, kept, index = key(id, 'live'), key(id, 'kept'), key(id, 'index')
local lost = fence(id, ARGV[2], ARGV[3])
if lost then
  return lost
end
local there, n = call('ZRANGE', index, seq, last, 'BYSCORE'), 0
if #there ~= #ARGV - 8 then
  return 0
end
for i, entry in ipairs(there) do
  local number, count = string.match(entry, '^(%d+) (%d+)')
  if number ~= ARGV[8 + i] then
    return 0
  end
  n = n + count
end
if n ~= tonumber(ARGV[6]) or #call('XRANGE', live, seq .. '-0', seq .. '-0') == 0 then
  return 0 -- merged by another pass since it was looked at, or moved by one
end
local before = call('XRANGE', live, '-', '(' .. seq .. '-0', 'COUNT', 32)
for _, entry in ipairs(before) do
  call('XADD', kept, entry[1], unpack(entry[2]))
end
if #before == 32 then
  call('XTRIM', live, 'MINID', '=', integer(string.match(before[32][1], '^%d+') + 1) .. '-0')
  return 1
end
local bytes = 0
for _, entry in ipairs(call('XRANGE', live, seq .. '-0', last .. '-0')) do
  bytes = bytes + #entry[2][4] + BESIDE
end
call('XADD', kept, seq .. '-0', 'h', ARGV[7], 'd', ARGV[8])
call('XTRIM', live, 'MINID', '=', integer(tonumber(last) + 1) .. '-0')
call('ZREMRANGEBYSCORE', index, seq, last)
call('ZADD', index, seq, seq .. ' ' .. ARGV[7])
grow(id, #ARGV[8] + BESIDE - bytes)
return 0
