#!lua flags=allow-oom
-- Moves what consumers hold that will not settle it: dead ones, or a member that leaves. What moves to ~parked is
-- due at once. A consumer without anything pending is deleted in the same script, never another.
-- KEYS: members, lock, park, streams... ARGV: member, consumer, group, target consumer, consumers...
-- -> {'F'} when fenced, else {left 0|1}
if not redis.call('ZSCORE',KEYS[1],ARGV[1]) or (ARGV[2]=='~one' and redis.call('GET',KEYS[2])~=ARGV[1]) then return {'F'} end
local now, left = redis.call('TIME'), 0
now = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 4, #KEYS do
  for j = 5, #ARGV do
    local from = ARGV[j]
    local pending = redis.pcall('XPENDING', KEYS[i], ARGV[3], '-', '+', 256, from)
    if not pending.err then
      for _, entry in ipairs(pending) do
        redis.call('XCLAIM', KEYS[i], ARGV[3], ARGV[4], 0, entry[1], 'RETRYCOUNT', entry[4], 'JUSTID')
        if ARGV[4] == '~parked' then redis.call('ZADD', KEYS[3], 'NX', now, entry[1] .. ' ' .. KEYS[i]) end
      end
      if #pending == 256 then left = 1
      else redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[3], from) end
    end
  end
end
return {left}
