-- ARGV: ids. Returns for each unfinished recording its id and the holder of its lease, "" if there is none.
local result = {}
for _, id in ipairs(ARGV) do
  local row = call('HMGET', key(id), 'name_key', 'owner')
  if row[1] and not call('ZSCORE', 'cortex:done', id) then
    table.insert(result, {id, row[2] or ''})
  end
end
return result
