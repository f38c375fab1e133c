-- ARGV: id, owner. Gives the fencing number, nil where a living recorder has the lease.
local row = call('HMGET', key(ARGV[1]), 'name_key', 'owner', 'epoch')
if not row[1] or (row[2] and row[2] ~= ARGV[2] and lives(row[2])) then
  return nil
end
-- A time and not a counter: should the server lose the last seconds, no number is given twice.
local time = call('TIME')
local epoch = math.max(time[1] * 1000000 + time[2], tonumber(row[3] or 0) + 1)
call('HSET', key(ARGV[1]), 'owner', ARGV[2], 'epoch', integer(epoch), 'caught_up', 0)
call('SADD', 'cortex:leases:' .. ARGV[2], ARGV[1])
return integer(epoch)
