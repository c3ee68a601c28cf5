-- When workers were heard last, and for how long heartbeats have been kept without a gap, in ms before now.
-- KEYS: the engines' mark, then the records of tokens. ARGV: the longest gap in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'since', 'last')
local since, last = tonumber(r[1] or ''), tonumber(r[2] or '')
if not since or not last or now - last >= tonumber(ARGV[1]) or since > now then
  since = now
end
local out = {now - since}
for i = 2, #KEYS do
  local at, attempt = string.match(redis.call('HGET', KEYS[i], 'b') or '', '^(%d+) (%d+)$')
  out[#out + 1] = at and math.max(now - tonumber(at), 0) or -1
  out[#out + 1] = tonumber(attempt or '0')
end
return out
