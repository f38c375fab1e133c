-- Records a reader's wish. ARGV: id, for how many ms from now. Renewing a wish wakes no recorder: hundreds of readers renew
-- theirs every ten seconds, and each recorder would look at all wishes each time. Only `cortex:wanted` is written, which is
-- what a user may write who otherwise only reads. Expired wishes stay an hour, for forget_empty.lua.
if call('EXISTS', key(ARGV[1])) == 1 then
  local now = now_ms()
  call('ZREMRANGEBYSCORE', 'cortex:wanted', '-inf', integer(now - 3600000))
  local before = call('ZSCORE', 'cortex:wanted', ARGV[1])
  call('ZADD', 'cortex:wanted', 'GT', integer(now + ARGV[2]), ARGV[1])
  if not before or tonumber(before) <= now then
    call('PUBLISH', 'cortex:wishes', '')
  end
end
