-- ARGV: id, for how long from now, ms.
if call('EXISTS', key(ARGV[1])) == 1 then
  local now = now_ms()
  call('ZREMRANGEBYSCORE', 'cortex:wanted', '-inf', integer(now))
  call('ZADD', 'cortex:wanted', 'GT', integer(now + ARGV[2]), ARGV[1])
  call('PUBLISH', 'cortex:wishes', '')
end
