-- Returns the ids of all recordings that are wanted now.
return call('ZRANGE', 'cortex:wanted', '(' .. integer(now_ms()), '+inf', 'BYSCORE')
