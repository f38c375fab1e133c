-- Takes a lease. ARGV: id, owner, the last number that is known to have been written, how many epochs to keep.
-- Returns the epoch, nil if a living recorder has the lease.
local row = call('HMGET', key(ARGV[1]), 'name_key', 'owner', 'epoch', 'last_seq', 'epochs')
if not row[1] or (row[2] and row[2] ~= ARGV[2] and lives(row[2])) then
  return nil
end
-- A time, not a counter: if the server loses its last seconds, no epoch is used twice.
local time = call('TIME')
local epoch = math.max(time[1] * 1000000 + time[2], tonumber(row[3] or 0) + 1)
local first = math.max(tonumber(row[4] or 0), tonumber(ARGV[3])) + 1
local epochs = {}
for seq, number in string.gmatch(row[5] or '', '%[(%d+),(%d+)%]') do
  if tonumber(seq) < first then
    table.insert(epochs, '[' .. seq .. ',' .. number .. ']')
  end
end
table.insert(epochs, '[' .. integer(first) .. ',' .. integer(epoch) .. ']')
local text = '[' .. table.concat(epochs, ',', math.max(1, #epochs + 1 - ARGV[4])) .. ']'
call('HSET', key(ARGV[1]), 'owner', ARGV[2], 'epoch', integer(epoch), 'epochs', text, 'caught_up', 0)
call('SADD', 'cortex:leases:' .. ARGV[2], ARGV[1])
return integer(epoch)
