-- Records a reader's wish. ARGV: id, for how many ms from now. Renewing a wish wakes no recorder: hundreds of readers renew
-- theirs every ten seconds, and each recorder would look at all wishes each time.
if call('EXISTS', key(ARGV[1])) == 1 then
  local now = now_ms()
  call('ZREMRANGEBYSCORE', 'cortex:wanted', '-inf', integer(now))
  local before = call('ZSCORE', 'cortex:wanted', ARGV[1])
  call('ZADD', 'cortex:wanted', 'GT', integer(now + ARGV[2]), ARGV[1])
  call('HSET', key(ARGV[1]), 'wished', integer(now + ARGV[2])) -- outlives the wish, for forget_empty.lua
  if not before then
    call('PUBLISH', 'cortex:wishes', '')
  end
end
