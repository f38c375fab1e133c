-- Returns what readers ask to begin now, the oldest requests first. ARGV: how many at most, for how many ms one holds.
-- One that would hold for longer was not written by `request`, which removes it.
local now = now_ms()
return call('ZRANGE', 'cortex:requests', '(' .. integer(now), integer(now + ARGV[2]), 'BYSCORE', 'LIMIT', 0, ARGV[1])
