-- Records that a claimed outcome is stored, unless another one may stand.
-- ARGV: digest, kind (s, f or n), attempt, server as of the claim, TTL in ms, server that stored it.
local digest, kind, attempt, server = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local r = redis.call('HMGET', KEYS[1], 'd', 'u', 's', 'f', 'n', 'c', 'x')

local function standing(value)
  if not value then
    return
  end
  local d, a, on = string.match(value, '^(%x+) (%d+) (%S*)$')
  if server == '' or on == server then
    return d, tonumber(a)
  end
end

if r[1] then
  local what, d = string.match(r[1], '^%d+ (%a) (%S+)$')
  if what == 'c' and not r[7] then
    return 'ok' -- just closed: the engine has it, or will write down that it is ignored
  end
  return d == digest and 'ok' or 'contested'
end
if r[7] then
  return 'contested'
end
local success = standing(r[3])
if success then
  return success == digest and 'ok' or 'contested'
end
local failure, failed = standing(r[4])
if failure and failed == attempt and failure ~= digest and attempt > tonumber(r[2] or '0') then
  return 'contested'
end
local before = ({f = r[4], n = r[5]})[kind]
local accepted, of = standing(before)
if accepted == digest and of == attempt then
  return 'ok' -- an equal payload was faster
end
if r[6] then
  if string.match(r[6], '^%x+') ~= digest then
    return 'contested'
  end
  redis.call('HDEL', KEYS[1], 'c')
end
if not of or of <= attempt then
  redis.call('HSET', KEYS[1], kind, digest .. ' ' .. ARGV[3] .. ' ' .. ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 'ok'
