-- Stores a message once. KEYS: stream, dedup key. ARGV: window in ms, field, value, ... -> {id, duplicate 0|1}
-- The key is set last: an error in between may store twice, never lose.
local seen = redis.call('GET', KEYS[2])
if seen then return {seen, 1} end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2, #ARGV))
redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
return {id, 0}
