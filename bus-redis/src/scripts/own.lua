#!lua flags=allow-oom
-- What the server thinks this consumer holds of one stream, in order: after a lost reply, and when an ordered
-- subscription is taken over. KEYS: members, lock, records, park, stream
-- ARGV: member, consumer, group, start (- or an exclusive id), max, raise the count 0|1
-- -> {'F'} when fenced, {'N'} without the group, else {id, count before, record, ms until due, fields or false}...
if not redis.call('ZSCORE',KEYS[1],ARGV[1]) or (ARGV[2]=='~one' and redis.call('GET',KEYS[2])~=ARGV[1]) then return {'F'} end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local pending = redis.pcall('XPENDING', KEYS[5], ARGV[3], ARGV[4], '+', ARGV[5], ARGV[2])
if pending.err then return {'N'} end
local out = {}
for _, entry in ipairs(pending) do
  local id, name = entry[1], entry[1] .. ' ' .. KEYS[5]
  local stored = redis.call('XRANGE', KEYS[5], id, id)
  local fields = stored[1] and stored[1][2] or false
  if not fields then
    redis.call('XACK', KEYS[5], ARGV[3], id)
    redis.call('HDEL', KEYS[3], name)
  elseif ARGV[6] == '1' then
    redis.call('XCLAIM', KEYS[5], ARGV[3], ARGV[2], 0, id, 'RETRYCOUNT', entry[4] + 1, 'JUSTID')
  end
  local due = redis.call('ZSCORE', KEYS[4], name)
  out[#out + 1] = {id, entry[4], redis.call('HGET', KEYS[3], name) or '',
    due and math.max(tonumber(due) - now, 0) or 0, fields}
end
return out
