#!lua flags=no-writes
-- What a group has not settled of some streams. KEYS: streams. ARGV: group, start of a stream without the group
-- -> {unsettled, handed over and unsettled, oldest unsettled id or ''}
local lag, pending, oldest = 0, 0, ''
local function earlier(a, b)
  if b == '' then return true end
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  if tonumber(ams) ~= tonumber(bms) then return tonumber(ams) < tonumber(bms) end
  return tonumber(aseq) < tonumber(bseq)
end
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    local from = ARGV[2]
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      local group = {}
      for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
      if group['name'] == ARGV[1] then
        from = '(' .. group['last-delivered-id']
        if group['pending'] > 0 then
          pending = pending + group['pending']
          lag = lag + group['pending']
          local summary = redis.call('XPENDING', key, ARGV[1])
          if summary[2] and earlier(summary[2], oldest) then oldest = summary[2] end
        end
      end
    end
    repeat
      local entries = redis.call('XRANGE', key, from, '+', 'COUNT', 1000)
      if #entries > 0 then
        if earlier(entries[1][1], oldest) then oldest = entries[1][1] end
        from = '(' .. entries[#entries][1]
        lag = lag + #entries
      end
    until #entries < 1000
  end
end
return {lag, pending, oldest}
