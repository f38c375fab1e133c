-- Returns the id of a task's recording, creating it if there is none. ARGV: its unique name; the key of the set of recordings
-- with its name; the id to use, unless a newer one exists; then its columns. Returns '-' and the id if it was deleted and is
-- not to be recorded again.
local name, set, id = ARGV[1], ARGV[2], ARGV[3]
local known = call('HGET', 'cortex:uids', name)
if known then
  call('HSET', key(known), 'wished', integer(now_ms())) -- keeps an empty one from forget_empty.lua
  return known
end
local deleted = call('HGET', 'cortex:deleted-tasks', name)
if deleted then
  return '-' .. deleted
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
