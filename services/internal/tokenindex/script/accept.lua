-- Records that a claimed outcome is stored, unless another one may stand.
-- ARGV: digest, kind (s, f or n), attempt, server as of the claim, TTL in ms, server that stored it.
local digest, kind, attempt, server = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local r = redis.call('HMGET', KEYS[1], 'd', 'u', 's', 'f', 'n', 'c', 'x')

-- An outcome that was accepted, and whether it is sure, as in begin.lua.
local function accepted(value)
  if not value then
    return
  end
  local d, a, on = string.match(value, '^(%x+) (%d+) (%S*)$')
  return d, tonumber(a), server == '' or on == server
end

if r[1] then
  local what, d = string.match(r[1], '^%d+ (%a) (%S+)$')
  if what == 'c' and not r[7] then
    return 'ok' -- just closed: the engine has it, or will write down that it is ignored
  end
  if d ~= digest then
    return 'contested'
  end
  -- The engine was faster. Which attempt it was of tells later ones that they
  -- are later: should the engine have lost it since, it needs them.
  if kind ~= 'n' and not accepted(({s = r[3], f = r[4]})[kind]) then
    redis.call('HSET', KEYS[1], kind, digest .. ' ' .. ARGV[3] .. ' ' .. ARGV[6])
  end
  return 'ok'
end
if r[7] then
  return 'contested'
end
local success, _, sure = accepted(r[3])
if success and success ~= digest then
  return 'contested'
end
if success and sure then
  return 'ok'
end
local failure, failed = accepted(r[4])
if failure and failure ~= digest and failed > tonumber(r[2] or '0') then
  return 'contested'
end
local before, of, sure = accepted(({f = r[4], n = r[5]})[kind])
if before == digest and of == attempt and sure then
  return 'ok' -- an equal payload was faster
end
if r[6] then
  if string.match(r[6], '^%x+') ~= digest then
    return 'contested'
  end
  redis.call('HDEL', KEYS[1], 'c')
end
if not (of and sure) or of <= attempt then
  redis.call('HSET', KEYS[1], kind, digest .. ' ' .. ARGV[3] .. ' ' .. ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 'ok'
