-- ARGV: ids. Gives of those that are not done the id and who holds the lease, "" for nobody.
local found = {}
for _, id in ipairs(ARGV) do
  local row = call('HMGET', key(id), 'name_key', 'owner')
  if row[1] and not call('ZSCORE', 'cortex:done', id) then
    table.insert(found, {id, row[2] or ''})
  end
end
return found
