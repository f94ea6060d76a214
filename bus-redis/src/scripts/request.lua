-- Puts a request into the lists of responder groups; does nothing when the responders are others than those that
-- the requester knows. KEYS: responders, their version, then a list per candidate
-- ARGV: version, deadline in ms of this clock, record, member of each candidate
-- -> {} when it is done, else {this clock in ms, version, live responders, the freshest last}
-- What arrives after its deadline reaches nobody, and whoever asked has given up already.
local now, version = redis.call('TIME'), redis.call('GET', KEYS[2]) or ''
now = now[1] * 1000 + math.floor(now[2] / 1000)
local known = version == ARGV[1]
for i = 4, known and #ARGV or 0 do
  local until_ = redis.call('ZSCORE', KEYS[1], ARGV[i])
  known = known and until_ and tonumber(until_) > now
end
if not known then return {now, version, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')} end
local left = tonumber(ARGV[2]) - now
for i = 4, left > 0 and #ARGV or 0 do
  local key = KEYS[i - 1]
  local first = redis.call('RPUSH', key, ARGV[2] .. ' ' .. ARGV[3]) == 1
  -- It lives as long as any request in it.
  if first then redis.call('PEXPIRE', key, left) else redis.call('PEXPIRE', key, left, 'GT') end
end
return {}
