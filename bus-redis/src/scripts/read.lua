#!lua flags=allow-oom
-- Reads new messages for a live member, at most MAX in all.
-- KEYS: members, lock, streams... ARGV: member, consumer, group, most in all, most of one stream
-- -> {'F'} when fenced, else for each stream that has something to say {index, 'N', exists 0|1} when it has no such
--    group, or {index, 'E', entries, more 0|1}; a stream that the room did not reach is {index, 'L'}
if not redis.call('ZSCORE',KEYS[1],ARGV[1]) or (ARGV[2]=='~one' and redis.call('GET',KEYS[2])~=ARGV[1]) then return {'F'} end
local out, room, each = {}, tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 3, #KEYS do
  if room == 0 then
    out[#out + 1] = {i - 3, 'L'}
  else
    local count = math.min(room, each)
    local reply = redis.pcall('XREADGROUP', 'GROUP', ARGV[3], ARGV[2], 'COUNT', count, 'STREAMS', KEYS[i], '>')
    if type(reply) == 'table' and reply.err then
      if string.find(reply.err, 'NOGROUP', 1, true) then
        out[#out + 1] = {i - 3, 'N', redis.call('EXISTS', KEYS[i])}
      else
        out[#out + 1] = {i - 3, 'X', reply.err}
      end
    elseif reply and reply[1] then
      local entries = reply[1][2]
      room = room - #entries
      out[#out + 1] = {i - 3, 'E', entries, #entries == count and 1 or 0}
    end
  end
end
return out
