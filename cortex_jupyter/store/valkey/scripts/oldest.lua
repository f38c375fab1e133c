-- Looks for the completed recording that ended first and may leave. ARGV: the recording to continue after, or ''; how many to
-- examine; the namespaces (JSON) to look at, none for all. Returns that recording and when it ended (ms), or the last one
-- examined, or nil if there are no more.
local now, at, wanted = now_ms(), 0, {}
for i = 3, #ARGV do
  wanted[ARGV[i]] = true
end
if ARGV[1] ~= '' then
  at = (call('ZRANK', 'cortex:done', ARGV[1]) or -1) + 1 -- from the beginning if that one has left
end
local page = call('ZRANGE', 'cortex:done', at, at + ARGV[2] - 1, 'WITHSCORES')
for i = 1, #page, 2 do
  if (#ARGV < 3 or wanted[call('HGET', key(page[i]), 'namespace')]) and may_leave(page[i], now) then
    return {page[i], page[i + 1]}
  end
end
if #page == 2 * ARGV[2] then
  return {page[#page - 1]}
end
