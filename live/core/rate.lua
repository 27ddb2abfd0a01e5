-- A rate limit as one timestamp (GCRA, ITU-T I.371): when the bucket would be full again, in microseconds.
--
-- KEYS[1] that; ARGV[1] tokens a second; [2] the most there are at once. Answers the seconds to wait, '0': granted.

local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local step = 1000000 / tonumber(ARGV[1])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), us)
local wait = tat + step - us - step * tonumber(ARGV[2])
if wait > 0 then return tostring(wait / 1000000) end
redis.call('SET', KEYS[1], string.format('%.0f', tat + step), 'PX', math.ceil((tat + step - us) / 1000) + 1)
return '0'
