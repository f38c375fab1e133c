-- Asks the recorders to begin a recording, and wakes them. ARGV: the task as JSON, for how many ms it holds.
local now = now_ms()
call('ZREMRANGEBYSCORE', 'cortex:requests', '-inf', integer(now))
call('ZREMRANGEBYSCORE', 'cortex:requests', '(' .. integer(now + ARGV[2]), '+inf')
call('ZADD', 'cortex:requests', integer(now + ARGV[2]), ARGV[1])
call('PUBLISH', 'cortex:wishes', '')
