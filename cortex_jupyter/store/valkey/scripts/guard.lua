-- Prepended to every script that writes. `cortex:version` holds the version of the store's form and, behind it, the oldest
-- version whose programs may continue to use it; all older programs are refused from then on.
local form = call('GET', 'cortex:version')
if not form then
  if redis.acl_check_cmd('SET', 'cortex:version', '') then -- a user who only reads may not
    call('SET', 'cortex:version', VERSION .. ' ' .. VERSION)
  end
elseif tonumber(string.match(form, '%d+$')) > VERSION then
  return redis.error_reply('VERSION ' .. form)
end
