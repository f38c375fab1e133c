-- Prepended to every script. A recording's keys are "cortex:ID" and "cortex:ID:...". Record numbers and ids are below
-- 2^53, so Lua represents them exactly. Times in ns are larger, so scripts only pass them on.
local call = redis.call

local function key(id, part)
  return part and 'cortex:' .. id .. ':' .. part or 'cortex:' .. id
end

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function integer(number)
  return string.format('%.0f', number)
end

-- Returns whether a recorder lives. A heartbeat that expires later than any new one would was written before the server's
-- clock was set back; a living recorder replaces it within a second.
local function lives(recorder)
  local left = recorder and call('PTTL', 'cortex:recorder:' .. recorder) or 0
  return left > 0 and left <= HEARTBEAT
end

-- Returns an error if a lease is no longer held, else nil.
local function fence(id, owner, epoch)
  local holder = call('HMGET', key(id), 'owner', 'epoch')
  if holder[1] ~= owner or holder[2] ~= epoch then
    return redis.error_reply('LEASE another recorder has taken over this task')
  end
end

local function changed(id)
  call('PUBLISH', 'cortex:changed:' .. id, '')
end

-- Returns the first number of the entry that holds a number, or nil.
local function holder(id, seq)
  local found = call('ZRANGE', key(id, 'index'), seq, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1]
  return found and string.match(found, '^%d+')
end

-- Bytes of an entry beside its data: in the stream and in the index.
local OVERHEAD = 300

local function grow(id, bytes)
  call('HINCRBY', key(id), 'bytes', integer(bytes))
  call('INCRBY', 'cortex:bytes', integer(bytes))
end

-- Removes a recording. A thread of the server frees its streams.
local function forget(id)
  local row = call('HMGET', key(id), 'name_key', 'names', 'bytes')
  call('DECRBY', 'cortex:bytes', row[3] or 0)
  call('HDEL', 'cortex:uids', row[1])
  call('SREM', row[2], id)
  call('HDEL', 'cortex:settings', 'archived:' .. id, 'archiving:' .. id)
  for _, set in ipairs({'cortex:recordings', 'cortex:wanted', 'cortex:done'}) do
    call('ZREM', set, id)
  end
  call('UNLINK', key(id))
  for _, part in ipairs({'live', 'kept', 'trimmed', 'index', 'sources', 'anchors'}) do
    call('UNLINK', key(id, part))
  end
  changed(id)
end

local function on_hold(id)
  return call('HGET', 'cortex:holds', id) -- not HEXISTS, which the user `reader` may not
end

-- Returns whether a recording may leave: it is complete, unread, under no legal hold and, if an archive is set, in that
-- archive.
local function may_leave(id, now)
  if on_hold(id) then
    return false
  end
  local archive = call('HGET', 'cortex:settings', 'archive')
  if archive and archive ~= '' and call('HGET', 'cortex:settings', 'archived:' .. id) ~= archive then
    return false
  end
  local wanted = call('ZSCORE', 'cortex:wanted', id)
  return call('ZSCORE', 'cortex:done', id) and not (wanted and tonumber(wanted) > now)
end
