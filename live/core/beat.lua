-- Presence: one field for each worker, "<count>:<expires at, ms>"; expired workers are swept while counting.
--
-- KEYS[1] the hash; ARGV[1] the worker; [2] its viewers, 0: it goes; [3] seconds until it expires. Answers the sum.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = math.floor(tonumber(ARGV[3]) * 1000)
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. string.format('%.0f', now + ttl))
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ttl)
local sum = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local count, expires = string.match(all[i + 1], '(%d+):(%d+)')
  if tonumber(expires) < now then redis.call('HDEL', KEYS[1], all[i]) else sum = sum + tonumber(count) end
end
return sum
