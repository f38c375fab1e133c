-- Before every script that writes: whoever changes the form of what is kept puts its version here and, behind it, the
-- oldest version that may go on as it is. All others write nothing from then on.
local form = call('GET', 'cortex:version')
if not form then
  call('SET', 'cortex:version', VERSION .. ' ' .. VERSION)
elseif tonumber(string.match(form, '%d+$')) > VERSION then
  return redis.error_reply('VERSION ' .. form)
end
