-- Releases all leases of a recorder that ends, and wakes recorders that wait for work. ARGV: id of the recorder.
for _, id in ipairs(call('SMEMBERS', 'cortex:leases:' .. ARGV[1])) do
  if call('HGET', key(id), 'owner') == ARGV[1] then
    call('HDEL', key(id), 'owner')
  end
end
call('DEL', 'cortex:recorder:' .. ARGV[1], 'cortex:leases:' .. ARGV[1])
call('PUBLISH', 'cortex:wishes', '')
