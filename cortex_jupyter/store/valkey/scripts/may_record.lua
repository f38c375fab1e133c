-- Returns 1 if this user of the server may write recordings, else 0.
return redis.acl_check_cmd('HSET', 'cortex:0', 'owner', '') and 1 or 0
