-- Lets a recording leave, where it may. Its streams are freed by a thread of the server's.
local id = ARGV[1]
if not free(id, now_ms()) then
  return 0
end
local row = call('HMGET', key(id), 'name_key', 'names', 'bytes')
call('DECRBY', 'cortex:bytes', row[3] or 0)
call('HDEL', 'cortex:uids', row[1])
call('SREM', row[2], id)
call('HDEL', 'cortex:settings', 'archived:' .. id, 'archiving:' .. id)
for _, all in ipairs({'cortex:recordings', 'cortex:wanted', 'cortex:done'}) do
  call('ZREM', all, id)
end
call('UNLINK', key(id))
for _, part in ipairs({'live', 'kept', 'trimmed', 'index', 'sources', 'anchors'}) do
  call('UNLINK', key(id, part))
end
changed(id)
return 1
