-- Sets a legal hold, unless the recording was deleted. ARGV: id, the hold. Returns whether it was set (1 or 0).
if call('HEXISTS', 'cortex:deleted', ARGV[1]) == 1 then
  return 0
end
call('HSET', 'cortex:holds', ARGV[1], ARGV[2])
return 1
