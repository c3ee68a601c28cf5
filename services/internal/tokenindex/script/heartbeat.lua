-- Keeps a heartbeat, unless its work item has an outcome or is closed.
-- ARGV: attempt or 0, server, progress as JSON, TTL in ms.
local attempt, server = tonumber(ARGV[1]), ARGV[2]
local r = redis.call('HMGET', KEYS[1], 'd', 'u', 's', 'f', 'b')

-- An outcome that was stored by a server that may have lost its tail is open again.
local function standing(value)
  if not value then
    return
  end
  local _, a, on = string.match(value, '^(%x+) (%d+) (%S*)$')
  if server == '' or on == server then
    return tonumber(a)
  end
end

local failed = standing(r[4])
if r[1] or standing(r[3]) or failed and failed > tonumber(r[2] or '0') then
  return 'gone'
end
-- A worker of an attempt that was given up does not speak for the next one.
local newest = tonumber(string.match(r[5] or '', '^%d+ (%d+)') or '0')
if attempt > 0 and attempt < newest then
  return 'ok'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'b', string.format('%.0f %s', now, ARGV[1]), 'p', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 'ok'
