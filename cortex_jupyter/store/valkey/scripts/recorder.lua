-- ARGV: id. Gives what a recorder is that lives.
return lives(ARGV[1]) and call('GET', 'cortex:recorder:' .. ARGV[1]) or nil
