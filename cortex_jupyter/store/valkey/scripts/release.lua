-- Releases a lease, and wakes recorders that wait for work. ARGV: id, owner, epoch.
if not fence(ARGV[1], ARGV[2], ARGV[3]) then
  call('HDEL', key(ARGV[1]), 'owner')
  call('SREM', 'cortex:leases:' .. ARGV[2], ARGV[1])
  call('PUBLISH', 'cortex:wishes', '')
end
