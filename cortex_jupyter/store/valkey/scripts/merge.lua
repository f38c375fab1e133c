-- Replaces several entries by one. ARGV: id, owner, epoch, seq, last, n, head and data of the new entry, then the numbers of
-- the old ones. A stream can grow only at its end, so entries move in order from the live stream to another, and are merged
-- on the way. Returns 1 if older entries must move first: then call it again.
local id, seq, last = ARGV[1], ARGV[4], ARGV[5]
local live, kept, index = key(id, 'live'), key(id, 'kept'), key(id, 'index')
local lost = fence(id, ARGV[2], ARGV[3])
if lost then
  return lost
end
local heads, n = call('ZRANGE', index, seq, last, 'BYSCORE'), 0
if #heads ~= #ARGV - 8 then
  return 0
end
for i, entry in ipairs(heads) do
  local number, count = string.match(entry, '^(%d+) (%d+)')
  if number ~= ARGV[8 + i] then
    return 0
  end
  n = n + count
end
if n ~= tonumber(ARGV[6]) or #call('XRANGE', live, seq .. '-0', seq .. '-0') == 0 then
  return 0 -- another pass has merged or moved them meanwhile
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
  bytes = bytes + #entry[2][4] + OVERHEAD
end
call('XADD', kept, seq .. '-0', 'h', ARGV[7], 'd', ARGV[8])
call('XTRIM', live, 'MINID', '=', integer(tonumber(last) + 1) .. '-0')
call('ZREMRANGEBYSCORE', index, seq, last)
call('ZADD', index, seq, seq .. ' ' .. ARGV[7])
grow(id, #ARGV[8] + OVERHEAD - bytes)
return 0
