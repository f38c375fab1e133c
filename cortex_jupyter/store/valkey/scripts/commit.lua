-- Commits entries, anchors and columns as one transaction, also for replicas and the append-only file.
-- ARGV: id, owner, epoch; the number of entries, and seq, n, head, data of each; the number of anchors, and source and
-- anchor of each; then names and values of the recording's columns.
local id, row, live, index = ARGV[1], key(ARGV[1]), key(ARGV[1], 'live'), key(ARGV[1], 'index')
local lost = fence(id, ARGV[2], ARGV[3])
if lost then
  return lost
end
local count, at = tonumber(ARGV[4]), 5
local anchors = at + 4 * count
for i = anchors + 1, anchors + 2 * ARGV[anchors], 2 do
  if call('HEXISTS', key(id, 'sources'), ARGV[i]) == 0 then
    return redis.error_reply('LEASE the store does not know source ' .. ARGV[i])
  end
end
if count > 0 then
  local last = tonumber(call('HGET', row, 'last_seq'))
  local first = ARGV[at]
  if tonumber(first) <= last then
    local stored = call('XRANGE', live, first .. '-0', first .. '-0')[1]
    if stored and stored[2][2] == ARGV[at + 2] and stored[2][4] == ARGV[at + 3] then
      -- The same commit again, after an attempt whose answer was lost. It writes something, so that a following `WAIT`
      -- waits for the replicas.
      call('HSET', row, 'last_seq', integer(last))
      return 0
    end
  end
  local bytes = 0
  for i = at, at + 4 * count - 1, 4 do
    if tonumber(ARGV[i]) ~= last + 1 then
      return redis.error_reply('LEASE the store ends at record ' .. integer(last) .. ', not before ' .. ARGV[i])
    end
    last, bytes = last + ARGV[i + 1], bytes + #ARGV[i + 3] + OVERHEAD
  end
  for i = at, at + 4 * count - 1, 4 do
    call('XADD', live, ARGV[i] .. '-0', 'h', ARGV[i + 2], 'd', ARGV[i + 3])
    call('ZADD', index, ARGV[i], ARGV[i] .. ' ' .. ARGV[i + 2])
  end
  call('HSET', row, 'last_seq', integer(last))
  grow(id, bytes)
end
for i = anchors + 1, anchors + 2 * ARGV[anchors], 2 do
  call('HSET', key(id, 'anchors'), ARGV[i], ARGV[i + 1])
end
for i = anchors + 1 + 2 * ARGV[anchors], #ARGV, 2 do
  call('HSET', row, ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'done' and ARGV[i + 1] ~= '0' and ARGV[i + 1] ~= 'false' then
    call('ZADD', 'cortex:done', 'NX', integer(now_ms()), id)
  end
end
changed(id)
return 1
