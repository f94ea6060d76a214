#!lua flags=allow-oom
-- Ends a subscription on one root: fences its members, forgets records and delays, drops its groups; with starts,
-- creates them anew. KEYS: members, lock, dead, park, records, streams...
-- ARGV: group, channel, hint, then the start of each stream, or nothing
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
for i = 6, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('XGROUP', 'DESTROY', KEYS[i], ARGV[1])
    if ARGV[i - 2] then redis.call('XGROUP', 'CREATE', KEYS[i], ARGV[1], ARGV[i - 2]) end
  end
end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
