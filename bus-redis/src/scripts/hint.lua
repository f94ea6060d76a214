-- Ends a flush: names the topics that were written. KEYS: topics. ARGV: channel, topic...
-- -> how many of them the registry did not know
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local new = 0
for i = 2, #ARGV do new = new + redis.call('ZADD', KEYS[1], 'NX', now, ARGV[i]) end
redis.call('PUBLISH', ARGV[1], 't ' .. table.concat(ARGV, ' ', 2))
return new
