-- Returns what readers ask to begin now, the oldest requests first. ARGV: how many at most.
return call('ZRANGE', 'cortex:requests', '(' .. integer(now_ms()), '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1])
