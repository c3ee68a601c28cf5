-- Notes that an engine sees Redis, and since when engines have without a gap.
-- ARGV: the longest gap in ms, TTL in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'since', 'last')
local last = tonumber(r[2] or '')
if not r[1] or not last or now - last >= tonumber(ARGV[1]) or last > now then
  redis.call('HSET', KEYS[1], 'since', string.format('%.0f', now))
end
redis.call('HSET', KEYS[1], 'last', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'ok'
