#!lua flags=allow-oom
-- Settles what a live member holds, of one root and subscription.
-- KEYS: members, lock, park, records, dead stream, dead index, dead groups, streams...
-- ARGV: member, consumer, group, channel, hint, name of the group of dead letters, then operations:
--   A k n id...             acks n messages without a record
--   a k id                  acks one with a record
--   R k id delay record     comes again after delay ms; record '' leaves what is stored
--   H k id record           was handed back: comes again at once, with one hand-over less and this record or none
--   M k id record           stores a record
--   D k id entry n f v...   writes the dead letter named entry with n items, then acks
-- -> {'F'} when fenced, else per message 1 done, 0 not held, 2 gone before
-- A repeat after a lost reply changes nothing. Records and park entries are written before the owner changes.
if not redis.call('ZSCORE',KEYS[1],ARGV[1]) or (ARGV[2]=='~one' and redis.call('GET',KEYS[2])~=ARGV[1]) then return {'F'} end
local me, group = ARGV[2], ARGV[3]
local ordered = me == '~one'
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local out, wake, i = {}, false, 7
local function held(key, id)
  local pending = redis.pcall('XPENDING', key, group, id, id, 1)
  if pending.err then return false, 0 end
  return pending[1] and pending[1][2] == me, pending[1] and pending[1][4] or 0
end
local function forget(key, id)
  local name = id .. ' ' .. key
  redis.call('XACK', key, group, id)
  redis.call('HDEL', KEYS[4], name)
  if ordered then redis.call('ZREM', KEYS[3], name) end
end
while i <= #ARGV do
  local op, key = ARGV[i], KEYS[7 + tonumber(ARGV[i + 1])]
  if op == 'A' then
    local n = tonumber(ARGV[i + 2])
    local acked = redis.pcall('XACK', key, group, unpack(ARGV, i + 3, i + 2 + n))
    for _ = 1, n do out[#out + 1] = acked == n and 1 or 2 end
    i = i + 3 + n
  else
    local id = ARGV[i + 2]
    local mine, count = held(key, id)
    local name = id .. ' ' .. key
    if op == 'a' then
      if mine then forget(key, id) end
      i = i + 3
    elseif op == 'R' then
      if mine then
        if ARGV[i + 4] ~= '' then redis.call('HSET', KEYS[4], name, ARGV[i + 4]) end
        redis.call('ZADD', KEYS[3], now + tonumber(ARGV[i + 3]), name)
        if not ordered then
          redis.call('XCLAIM', key, group, '~parked', 0, id, 'RETRYCOUNT', count, 'JUSTID')
          wake = true
        end
      end
      i = i + 5
    elseif op == 'H' then
      if mine then
        if ARGV[i + 3] ~= '' then redis.call('HSET', KEYS[4], name, ARGV[i + 3])
        else redis.call('HDEL', KEYS[4], name) end
        local target = ordered and me or '~parked'
        if not ordered then redis.call('ZADD', KEYS[3], now, name); wake = true end
        redis.call('XCLAIM', key, group, target, 0, id, 'RETRYCOUNT', math.max(count - 1, 0), 'JUSTID')
      end
      i = i + 4
    elseif op == 'M' then
      if mine then redis.call('HSET', KEYS[4], name, ARGV[i + 3]) end
      i = i + 4
    elseif op == 'D' then
      local entry, n = ARGV[i + 3], tonumber(ARGV[i + 4])
      if mine then
        if redis.call('HEXISTS', KEYS[6], entry) == 0 then
          local written = redis.call('XADD', KEYS[5], '*', unpack(ARGV, i + 5, i + 4 + n))
          redis.call('HSET', KEYS[6], entry, written)
          redis.call('SADD', KEYS[7], ARGV[6])
        end
        forget(key, id)
      end
      i = i + 5 + n
    else
      return redis.error_reply('BUSOP unknown operation')
    end
    out[#out + 1] = mine and 1 or 0
  end
end
if wake then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return out
