#!lua flags=allow-oom
-- Joins or renews a member's lease, notices leases that ended, and takes the lock of an ordered subscription.
-- KEYS: members (score: end of lease), lock, dead consumers, whether it is paused. ARGV: member, consumer, lease in ms, join 0|1, reap 0|1
-- -> {alive 0|1, holds the lock 0|1, ms until the next other lease ends or -1, dead consumers, paused 0|1}
local me, now = ARGV[1], redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
if ARGV[4] == '0' and not redis.call('ZSCORE', KEYS[1], me) then return {0, 0, -1, {}, 0} end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), me)
if ARGV[5] == '1' then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
    redis.call('ZREM', KEYS[1], other)
    redis.call('SADD', KEYS[3], other)
  end
  local holder = redis.call('GET', KEYS[2])
  if holder and not redis.call('ZSCORE', KEYS[1], holder) then
    redis.call('DEL', KEYS[2])
    redis.call('SADD', KEYS[3], '~one')
  end
end
local lock = 0
if ARGV[2] == '~one' then
  if not redis.call('GET', KEYS[2]) then redis.call('SET', KEYS[2], me) end
  if redis.call('GET', KEYS[2]) == me then lock = 1; redis.call('SREM', KEYS[3], '~one') end
end
local wait = -1
local first = redis.call('ZRANGE', KEYS[1], 0, 1, 'WITHSCORES')
local ends = first[1] ~= me and first[2] or first[4]
if ends then wait = math.max(tonumber(ends) - now, 0) end
return {1, lock, wait, redis.call('SMEMBERS', KEYS[3]), redis.call('EXISTS', KEYS[4])}
