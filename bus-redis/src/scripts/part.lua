#!lua flags=allow-oom
-- A member that holds nothing any more is gone; others learn that there is something to do.
-- KEYS: members, lock, dead. ARGV: member, channel, hint
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
  redis.call('SADD', KEYS[3], '~one')
end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
