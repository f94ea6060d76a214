#!lua flags=allow-oom
-- Removes what lies before CUT from a stream and counts, for each durable subscription, what it had not settled.
-- KEYS: stream, dropped counts. ARGV: cut, 1 to remove only what all have settled, then per subscription its name,
-- the exclusive start for a stream where it has no group, the keys of its park and records (same slot)
-- -> {removed, dropped of each subscription...}
local key, cut = KEYS[1], ARGV[1]
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms or id), tonumber(seq or 0)
end
local function less(a, b)
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  return ams < bms or (ams == bms and aseq < bseq)
end
local function after(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if seq == '18446744073709551615' then return string.format('%.0f', tonumber(ms) + 1) .. '-0' end
  return ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
end
local groups = {}
for _, info in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local group = {}
  for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
  groups[group['name']] = group
end
if ARGV[2] == '1' then
  for i = 3, #ARGV, 4 do
    local group, floor = groups[ARGV[i]], nil
    if group then
      floor = after(group['last-delivered-id'])
      if group['pending'] > 0 then floor = redis.call('XPENDING', key, ARGV[i])[2] end
    else floor = after(ARGV[i + 1]) end
    if less(floor, cut) then cut = floor end
  end
end
local gone = {}
local from = '-'
repeat
  local entries = redis.call('XRANGE', key, from, '(' .. cut, 'COUNT', 1000)
  for _, entry in ipairs(entries) do gone[#gone + 1] = entry[1] end
  if #entries > 0 then from = '(' .. entries[#entries][1] end
until #entries < 1000 or #gone >= 10000
if #gone == 0 then return {0} end
local last = gone[#gone]
local out = {#gone}
for i = 3, #ARGV, 4 do
  local group, dropped = groups[ARGV[i]], 0
  local start = group and group['last-delivered-id'] or ARGV[i + 1]
  for j = #gone, 1, -1 do
    if not less(start, gone[j]) then break end
    dropped = dropped + 1
  end
  if group and group['pending'] > 0 then
    repeat
      local pending = redis.call('XPENDING', key, ARGV[i], '-', last, 1000)
      for _, entry in ipairs(pending) do
        local name = entry[1] .. ' ' .. key
        redis.call('XACK', key, ARGV[i], entry[1])
        redis.call('ZREM', ARGV[i + 2], name)
        redis.call('HDEL', ARGV[i + 3], name)
        dropped = dropped + 1
      end
    until #pending < 1000
  end
  if dropped > 0 then redis.call('HINCRBY', KEYS[2], ARGV[i], dropped) end
  out[#out + 1] = dropped
end
redis.call('XTRIM', key, 'MINID', '=', after(last))
return out
