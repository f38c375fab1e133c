-- Records a heartbeat. ARGV: id, cluster, the recorder as JSON.
call('SET', 'cortex:recorder:' .. ARGV[1], ARGV[3], 'PX', HEARTBEAT)
call('EXPIRE', 'cortex:leases:' .. ARGV[1], 3600) -- in case it dies without releasing its leases
local all = 'cortex:recorders:' .. ARGV[2]
for _, other in ipairs(call('SMEMBERS', all)) do
  if not lives(other) then
    call('SREM', all, other)
  end
end
call('SADD', all, ARGV[1])
