-- One of each bucket, or nothing of any.
--
-- KEYS the buckets; ARGV rate and burst of each, in their order
--
-- Answers {0, "0"} when all granted one, else the number of the first that did not and the seconds to wait for it.
-- A bucket is one timestamp (GCRA, ITU-T I.371): when it would be full again, in microseconds.

local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]

local full = {}
for i = 1, #KEYS do
  local step = 1000000 / tonumber(ARGV[2 * i - 1])
  full[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or 0), us) + step
  local wait = full[i] - us - step * tonumber(ARGV[2 * i])
  if wait > 0 then return {i, tostring(wait / 1000000)} end
end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.0f', full[i]), 'PX', math.ceil((full[i] - us) / 1000) + 1)
end
return {0, '0'}
