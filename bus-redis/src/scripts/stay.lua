#!lua flags=allow-oom
-- Ends a read: what a member got whose lease has ended is at once for others.
-- KEYS: members, lock, park, streams... ARGV: member, consumer, group -> alive 0|1
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 4, #KEYS do
  repeat
    local pending = redis.pcall('XPENDING', KEYS[i], ARGV[3], '-', '+', 256, ARGV[2])
    if pending.err then break end
    for _, entry in ipairs(pending) do
      redis.call('XCLAIM', KEYS[i], ARGV[3], '~parked', 0, entry[1], 'RETRYCOUNT', entry[4], 'JUSTID')
      redis.call('ZADD', KEYS[3], 'NX', now, entry[1] .. ' ' .. KEYS[i])
    end
    if #pending < 256 then redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[3], ARGV[2]) end
  until #pending < 256
end
return 0
