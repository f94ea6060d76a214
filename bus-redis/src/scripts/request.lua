-- Puts a request into the lists of live responder groups. KEYS: responders, then a list per candidate
-- ARGV: deadline in ms of this clock, record, member of each candidate -> groups reached
-- What arrives after its deadline reaches nobody, and whoever asked has given up already.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local reached, left = 0, tonumber(ARGV[1]) - now
for i = 3, #ARGV do
  local key = KEYS[i - 1]
  local until_ = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if until_ and tonumber(until_) > now then
    if left > 0 then
      redis.call('RPUSH', key, ARGV[1] .. ' ' .. ARGV[2])
      if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, left) end
    end
    reached = reached + 1
  end
end
return reached
