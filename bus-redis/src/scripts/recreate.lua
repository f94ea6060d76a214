#!lua flags=allow-oom
-- Creates a group that is not there. KEYS: park, records, stream. ARGV: group, start, 1 when it was there before
-- What was parked lies below the start then: it lowers the start and is read anew. -> {created 0|1, start}
local start = ARGV[2]
local function less(a, b)
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  if not ams or not bms then return false end
  if #ams ~= #bms then return #ams < #bms end
  if ams ~= bms then return ams < bms end
  if #aseq ~= #bseq then return #aseq < #bseq end
  return aseq < bseq
end
if ARGV[3] == '1' then
  local suffix = ' ' .. KEYS[3]
  for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if string.sub(name, -#suffix) == suffix then
      local id = string.sub(name, 1, #name - #suffix)
      local ms, seq = string.match(id, '^(%d+)-(%d+)$')
      local before = seq == '0' and string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615'
        or ms .. '-' .. string.format('%.0f', tonumber(seq) - 1)
      if less(before, start) then start = before end
      redis.call('ZREM', KEYS[1], name)
    end
  end
end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[1], start)
if type(made) == 'table' and made.err then
  if string.find(made.err, 'BUSYGROUP', 1, true) then return {0, start} end
  return redis.error_reply(made.err)
end
return {1, start}
