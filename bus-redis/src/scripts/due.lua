#!lua flags=allow-oom
-- Hands parked messages whose time has come to a live member.
-- KEYS: members, lock, park, records; the streams are named by what is parked and lie in the same slot.
-- ARGV: member, consumer, group, max
-- -> {'F'} when fenced, else {ms until the next is due or -1, {stream, id, count before, record, fields or false}...}
if not redis.call('ZSCORE',KEYS[1],ARGV[1]) or (ARGV[2]=='~one' and redis.call('GET',KEYS[2])~=ARGV[1]) then return {'F'} end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local out = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[4])) do
  redis.call('ZREM', KEYS[3], name)
  local space = string.find(name, ' ', 1, true)
  local id, key = string.sub(name, 1, space - 1), string.sub(name, space + 1)
  local pending = redis.pcall('XPENDING', key, ARGV[3], id, id, 1)
  if pending[1] and pending[1][2] == '~parked' then
    local count = pending[1][4]
    local entry = redis.call('XCLAIM', key, ARGV[3], ARGV[2], 0, id, 'RETRYCOUNT', count + 1)
    if entry[1] and entry[1][2] then
      out[#out + 1] = {key, id, count, redis.call('HGET', KEYS[4], name) or '', entry[1][2]}
    else
      redis.call('XACK', key, ARGV[3], id)
      redis.call('HDEL', KEYS[4], name)
      out[#out + 1] = {key, id, count, '', false}
    end
  else
    redis.call('HDEL', KEYS[4], name)
  end
end
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return {first[2] and math.max(tonumber(first[2]) - now, 0) or -1, out}
