-- What is to be done with an outcome that came: an answer, or a claim on storing it.
-- ARGV: digest, kind (s, f or n), attempt, server, TTL in ms, lease in ms.
local digest, kind, attempt, server = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local r = redis.call('HMGET', KEYS[1], 'd', 'u', 's', 'f', 'n', 'c', 'x')
local superseded, contested = tonumber(r[2] or '0'), r[7]
local answer = contested and 'contested' or 'claimed'

-- An outcome that was accepted. It is sure unless it was stored by a server that
-- may have lost its tail: then the engine knows.
local function accepted(value)
  if not value then
    return
  end
  local d, a, on = string.match(value, '^(%x+) (%d+) (%S*)$')
  return d, tonumber(a), server == '' or on == server
end

if r[1] then
  local what, d = string.match(r[1], '^%d+ (%a) (%S+)$')
  if what == 'c' then
    return 'gone'
  end
  if d ~= digest then
    return 'refused'
  end
  local before, of = accepted(kind == 's' and r[3] or r[4])
  if before ~= digest then
    of = 1 -- nothing says which attempt it was of: who accepted it died before that was recorded
  end
  return attempt > of and 'again' or 'replayed'
end

local success, succeeded, sure = accepted(r[3])
if success and sure then
  if success ~= digest then
    return 'refused'
  end
  return attempt > succeeded and 'again' or 'replayed'
elseif success and success ~= digest then
  answer = 'contested'
end
local failure, failed, sure = accepted(r[4])
if failure and sure and failed == attempt then
  if failure == digest then
    return 'replayed'
  end
  if attempt > superseded then
    return 'refused'
  end
elseif failure and failure ~= digest and failed > superseded then
  answer = 'contested' -- it stands unless its attempt was over when it came, which the engine knows
end
local pending, given_up, sure = accepted(r[5])
if pending == digest and given_up == attempt and sure then
  return 'replayed'
end
if kind ~= 's' and attempt <= superseded then
  return 'gone'
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if r[6] then
  local d, k, a, lease = string.match(r[6], '^(%x+) (%a) (%d+) (%d+)$')
  -- A failure of a superseded attempt is refused by the engine, stored or not.
  local void = not contested and k ~= 's' and tonumber(a) <= superseded
  if d ~= digest and not void then
    if now < tonumber(lease) then
      return 'busy'
    end
    answer = 'contested'
    redis.call('HSET', KEYS[1], 'x', '1')
  end
end
redis.call('HSET', KEYS[1], 'c', string.format('%s %s %s %.0f', digest, kind, ARGV[3], now + ARGV[6]))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return answer
