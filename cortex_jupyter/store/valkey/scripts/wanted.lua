return call('ZRANGE', 'cortex:wanted', '(' .. integer(now_ms()), '+inf', 'BYSCORE')
