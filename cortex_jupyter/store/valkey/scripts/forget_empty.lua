-- Removes empty recordings that were not opened, wanted or leased for a while. A recording is empty if it has no record;
-- one of a kind that never ends is also empty if it has no source.
-- ARGV: the age in ms, then ids of recordings. Returns how many were removed.
local now, removed = now_ms(), 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local row = call('HMGET', key(id), 'name_key', 'kind', 'last_seq', 'owner', 'wished')
  local ends = row[2] == '"job"' or row[2] == '"pod"'
  local empty = row[1] and (row[3] == '0' or not ends) and call('EXISTS', key(id, 'sources')) == 0
  local wished = math.max(tonumber(row[5] or 0), tonumber(call('ZSCORE', 'cortex:wanted', id) or 0))
  if empty and not on_hold(id) and wished < now - ARGV[1] and not lives(row[4]) and not call('ZSCORE', 'cortex:done', id) then
    if row[4] then
      call('SREM', 'cortex:leases:' .. row[4], id)
    end
    forget(id)
    removed = removed + 1
  end
end
return removed
