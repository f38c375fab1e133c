-- Removes a recording, and notes its deletion. ARGV: id, the deletion, the task's short and its unique name, whether the task is
-- not to be recorded again (1 or 0), whether a living recorder may hold it (1 or 0). Returns '', or why nothing was done: 'held' or 'recorded'.
local id = ARGV[1]
if on_hold(id) then
  return 'held'
end
local row = call('HMGET', key(id), 'name_key', 'owner')
if row[1] then
  if ARGV[6] ~= '1' and not call('ZSCORE', 'cortex:done', id) and lives(row[2]) then
    return 'recorded'
  end
  if row[2] then
    call('SREM', 'cortex:leases:' .. row[2], id)
  end
  forget(id)
end
call('HSET', 'cortex:deleted', id, ARGV[2])
call('HSET', 'cortex:deleted-tasks', ARGV[3], id)
if ARGV[5] == '1' then
  call('HSET', 'cortex:deleted-tasks', ARGV[4], id)
else
  call('HDEL', 'cortex:deleted-tasks', ARGV[4])
end
return ''
