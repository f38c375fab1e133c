-- Looks for the complete recording that ended first and may leave: gives it, and when it ended, ms; or the last that was
-- looked at, to go on from; nothing where there are no more. ARGV: to go on from, or ''; how many to look at.
local now, at = now_ms(), 0
if ARGV[1] ~= '' then
  at = (call('ZRANK', 'cortex:done', ARGV[1]) or -1) + 1 -- from the beginning where it has left
end
local some = call('ZRANGE', 'cortex:done', at, at + ARGV[2] - 1, 'WITHSCORES')
for i = 1, #some, 2 do
  if free(some[i], now) then
    return {some[i], some[i + 1]}
  end
end
if #some == 2 * ARGV[2] then
  return {some[#some - 1]}
end
