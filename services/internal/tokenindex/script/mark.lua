-- Records what the engine committed. Repeats and older commits change nothing.
-- ARGV: kind (s, f, c or u), revision, digest or -, attempt, TTL in ms.
local kind = ARGV[1]
if kind == 'u' then
  if tonumber(ARGV[4]) > tonumber(redis.call('HGET', KEYS[1], 'u') or '0') then
    redis.call('HSET', KEYS[1], 'u', ARGV[4])
  end
else
  local decided = redis.call('HGET', KEYS[1], 'd')
  if decided and tonumber(string.match(decided, '^%d+')) > tonumber(ARGV[2]) then
    return 0
  end
  redis.call('HSET', KEYS[1], 'd', ARGV[2] .. ' ' .. kind .. ' ' .. ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
