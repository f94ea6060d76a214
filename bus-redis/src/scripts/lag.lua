#!lua flags=no-writes
-- What a group has not settled of some streams. KEYS: streams. ARGV: group, start of a stream without the group
-- -> {unsettled, handed over and unsettled, oldest unsettled id or ''}
-- The server's own figure is right only while nothing was ever removed; messages are counted one by one only
-- where no shorter way is exact.
local lag, pending, oldest = 0, 0, ''
local function earlier(a, b)
  if b == '' then return true end
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  if tonumber(ams) ~= tonumber(bms) then return tonumber(ams) < tonumber(bms) end
  return tonumber(aseq) < tonumber(bseq)
end
local function named(list)
  local found = {}
  for i = 1, #list, 2 do found[list[i]] = list[i + 1] end
  return found
end
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    local stream, from, known = named(redis.call('XINFO', 'STREAM', key)), ARGV[2], false
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      local group = named(info)
      if group['name'] == ARGV[1] then
        from = '(' .. group['last-delivered-id']
        if stream['length'] == stream['entries-added'] then known = group['lag'] end
        if group['pending'] > 0 then
          pending = pending + group['pending']
          lag = lag + group['pending']
          local summary = redis.call('XPENDING', key, ARGV[1])
          if summary[2] and earlier(summary[2], oldest) then oldest = summary[2] end
        end
      end
    end
    local first = redis.call('XRANGE', key, from, '+', 'COUNT', 1)[1]
    if first then
      if earlier(first[1], oldest) then oldest = first[1] end
      if first[1] == stream['first-entry'][1] then known = stream['length'] end
      if known then
        lag = lag + known
      else
        repeat
          local entries = redis.call('XRANGE', key, from, '+', 'COUNT', 1000)
          if #entries > 0 then from = '(' .. entries[#entries][1] end
          lag = lag + #entries
        until #entries < 1000
      end
    end
  end
end
return {lag, pending, oldest}
