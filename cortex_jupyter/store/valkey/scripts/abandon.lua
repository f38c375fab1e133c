-- Lets what is empty leave: no record, or of a kind that never ends no source; opened, wanted and held by nobody. ARGV: for
-- how long, ms; ids. Gives how many have left.
local now, left = now_ms(), 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local row = call('HMGET', key(id), 'name_key', 'kind', 'last_seq', 'owner', 'wished')
  local ends = row[2] == '"job"' or row[2] == '"pod"'
  local empty = row[1] and (row[3] == '0' or not ends) and call('EXISTS', key(id, 'sources')) == 0
  local asked = math.max(tonumber(row[5] or 0), tonumber(call('ZSCORE', 'cortex:wanted', id) or 0))
  if empty and asked < now - ARGV[1] and not lives(row[4]) and not call('ZSCORE', 'cortex:done', id) then
    if row[4] then
      call('SREM', 'cortex:leases:' .. row[4], id)
    end
    forget(id)
    left = left + 1
  end
end
return left
