-- Puts a request into the lists of live responder groups. KEYS: responders, then a list per candidate
-- ARGV: time to live in ms, record, member of each candidate -> groups reached
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local reached = 0
for i = 3, #ARGV do
  local key = KEYS[i - 1]
  local until_ = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if until_ and tonumber(until_) > now then
    redis.call('RPUSH', key, string.format('%.0f', now + tonumber(ARGV[1])) .. ' ' .. ARGV[2])
    if redis.call('PTTL', key) < tonumber(ARGV[1]) then redis.call('PEXPIRE', key, ARGV[1]) end
    reached = reached + 1
  end
end
return reached
