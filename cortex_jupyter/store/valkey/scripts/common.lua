-- Before every script. A recording's keys are "cortex:ID" and "cortex:ID:...". Numbers of records and ids are below
-- 2^53, so that Lua has them exactly; times in ns are not, and are only passed on.
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

-- A heartbeat that holds for longer than any does is from before the server's clock was set back: a recorder that lives
-- has said so again within a second.
local function lives(recorder)
  local left = recorder and call('PTTL', 'cortex:recorder:' .. recorder) or 0
  return left > 0 and left <= HEARTBEAT
end

-- Refuses a lease that is no longer held: an error to return, nil where it is.
local function fence(id, owner, epoch)
  local held = call('HMGET', key(id), 'owner', 'epoch')
  if held[1] ~= owner or held[2] ~= epoch then
    return redis.error_reply('LEASE another recorder has taken over this task')
  end
end

local function changed(id)
  call('PUBLISH', 'cortex:changed:' .. id, '')
end

-- The first number of the entry that holds one, or nil.
local function holder(id, seq)
  local found = call('ZRANGE', key(id, 'index'), seq, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1]
  return found and string.match(found, '^%d+')
end

-- What an entry takes beside its data: its place in the stream and in the index.
local BESIDE = 300

local function grow(id, bytes)
  call('HINCRBY', key(id), 'bytes', integer(bytes))
  call('INCRBY', 'cortex:bytes', integer(bytes))
end

-- Makes a recording unknown. Its streams are freed by a thread of the server's.
local function forget(id)
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
end

-- Whether a recording may leave: complete, read by nobody and, where there is an archive, in it.
local function free(id, now)
  local archive = call('HGET', 'cortex:settings', 'archive')
  if archive and archive ~= '' and call('HGET', 'cortex:settings', 'archived:' .. id) ~= archive then
    return false
  end
  local wanted = call('ZSCORE', 'cortex:wanted', id)
  return call('ZSCORE', 'cortex:done', id) and not (wanted and tonumber(wanted) > now)
end
