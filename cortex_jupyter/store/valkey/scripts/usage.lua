-- Returns what recordings take. ARGV: ids. Returns the id, namespace (JSON), bytes and when it was complete (ms, or '') of each
-- that exists.
local found = {}
for _, id in ipairs(ARGV) do
  local row = call('HMGET', key(id), 'namespace', 'bytes')
  if row[1] then
    found[#found + 1] = {id, row[1], row[2] or '0', call('ZSCORE', 'cortex:done', id) or ''}
  end
end
return found
