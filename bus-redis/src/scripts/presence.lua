-- Keeps a responder known. KEYS: responders, their version. ARGV: member, ms -> the server's time in ms
-- The version is another one whenever somebody joins; of who leaves, requesters learn by asking for them.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1]) == 1 then
  redis.call('SET', KEYS[2], time[1] .. '.' .. time[2])
end
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[2]))
return now
