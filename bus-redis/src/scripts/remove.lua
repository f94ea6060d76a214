-- Removes dead letters. KEYS: dead stream, dead index. ARGV: their names -> how many there were
-- The index goes last: an entry without its index could not be named any more.
local places = {}
for _, at in ipairs(redis.call('HMGET', KEYS[2], unpack(ARGV))) do
  if at then places[#places + 1] = at end
end
if #places == 0 then return 0 end
local gone = redis.call('XDEL', KEYS[1], unpack(places))
redis.call('HDEL', KEYS[2], unpack(ARGV))
return gone
