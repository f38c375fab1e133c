-- Replaces the oldest entries by a notice. ARGV: id, owner, epoch, the last number that it takes, its head and data, and packed
-- lines that resuming still needs. Repeating it after a lost answer changes nothing.
local id, last = ARGV[1], tonumber(ARGV[4])
local index, trimmed = key(id, 'index'), key(id, 'trimmed')
local lost = fence(id, ARGV[2], ARGV[3])
if lost then
  return lost
end
local seq = holder(id, ARGV[4])
local n = seq and string.match(call('ZRANGE', index, seq, seq, 'BYSCORE')[1], '^%d+ (%d+)')
if not seq or seq + n - 1 ~= last or call('ZSCORE', 'cortex:done', id) or on_hold(id) then
  return 0 -- the entries were merged meanwhile, or the recording is complete or held
end
local bytes, after = #ARGV[6] + #ARGV[7] + OVERHEAD, integer(last + 1) .. '-0'
for _, part in ipairs({'trimmed', 'kept', 'live'}) do
  for _, entry in ipairs(call('XRANGE', key(id, part), '-', '(' .. after)) do
    bytes = bytes - #entry[2][4] - #(entry[2][6] or '') - OVERHEAD
  end
  call('XTRIM', key(id, part), 'MINID', '=', after)
end
call('DEL', trimmed)
call('XADD', trimmed, '1-0', 'h', ARGV[5], 'd', ARGV[6], 'r', ARGV[7])
call('ZREMRANGEBYSCORE', index, '-inf', integer(last))
call('ZADD', index, 1, '1 ' .. ARGV[5])
collectgarbage() -- what was read counts as the server's memory, which may be short
grow(id, bytes)
return 1
