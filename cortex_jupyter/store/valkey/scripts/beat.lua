-- ARGV: id, cluster, what it is.
call('SET', 'cortex:recorder:' .. ARGV[1], ARGV[3], 'PX', HEARTBEAT)
call('EXPIRE', 'cortex:leases:' .. ARGV[1], 3600) -- should it die without a word
local all = 'cortex:recorders:' .. ARGV[2]
for _, other in ipairs(call('SMEMBERS', all)) do
  if not lives(other) then
    call('SREM', all, other)
  end
end
call('SADD', all, ARGV[1])
