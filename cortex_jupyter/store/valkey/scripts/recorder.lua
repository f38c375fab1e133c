-- ARGV: id of a recorder. Returns what it reported about itself, nil if it does not live.
return lives(ARGV[1]) and call('GET', 'cortex:recorder:' .. ARGV[1]) or nil
