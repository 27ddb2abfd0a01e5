-- Rate limits for many at once: each asks for one of its own, and whoever is granted it for one of what all share.
--
-- KEYS[1] the shared bucket; [2...] the askers' own, in the order of asking, the same one as often as it asks
-- ARGV[1] rate and [2] burst of the shared bucket; [3] rate and [4] burst of the own ones
--
-- Answers for each asker the seconds to wait, "0" when it was granted its own, and 1 when it was also granted a share.
-- A bucket is one timestamp (GCRA, ITU-T I.371): when it would be full again, in microseconds.

local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]

local function take(key, rate, burst)
  local step = 1000000 / rate
  local tat = math.max(tonumber(redis.call('GET', key) or 0), us)
  local wait = tat + step - us - step * burst
  if wait > 0 then return wait / 1000000 end
  redis.call('SET', key, string.format('%.0f', tat + step), 'PX', math.ceil((tat + step - us) / 1000) + 1)
  return 0
end

local answers = {}
for i = 2, #KEYS do
  local wait = take(KEYS[i], tonumber(ARGV[3]), tonumber(ARGV[4]))
  local shared = 0
  if wait == 0 and take(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])) == 0 then shared = 1 end
  answers[#answers + 1] = tostring(wait)
  answers[#answers + 1] = shared
end
return answers
