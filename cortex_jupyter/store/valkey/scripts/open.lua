-- Gives the id of a task's recording, begun where there is none: name, by which it is unique; set, of its namesakes;
-- id, to take where no newer one is there; then columns of its row.
local name, set, id = ARGV[1], ARGV[2], ARGV[3]
local there = call('HGET', 'cortex:uids', name)
if there then
  call('HSET', key(there), 'wished', integer(now_ms())) -- else it might leave before it is wanted, see abandon.lua
  return there
end
local newest = call('ZRANGE', 'cortex:recordings', 0, 0, 'REV')[1]
if newest and tonumber(newest) >= tonumber(id) then
  id = integer(tonumber(newest) + 1)
end
call('HSET', 'cortex:uids', name, id)
call('HSET', key(id), 'name_key', name, 'names', set, 'wished', integer(now_ms()), unpack(ARGV, 4))
call('SADD', set, id)
call('ZADD', 'cortex:recordings', id, id)
return id
