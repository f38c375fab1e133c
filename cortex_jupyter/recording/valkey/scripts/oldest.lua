-- Gives the complete recording that ended first and may leave, and when it ended, ms.
local now, at = now_ms(), 0
while true do
  local some = call('ZRANGE', 'cortex:done', at, at + 99, 'WITHSCORES')
  for i = 1, #some, 2 do
    if free(some[i], now) then
      return {some[i], some[i + 1]}
    end
  end
  if #some < 200 then
    return nil
  end
  at = at + 100
end
