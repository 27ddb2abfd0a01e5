-- Who is at work, and who has ended without a word; one call, by the server's own clock.
--
-- KEYS[1] hash {member: until, ms; 'heard': when anybody was heard last, ms}
-- ARGV[1] operation; [2] member; [3] milliseconds that a mark is good for; [4] milliseconds of silence after which
-- nobody is judged; [5] seconds kept when nobody says anything any more
--
-- beat answers the members whose marks had run out: they are taken out, so each is told to one caller. leave answers {}.
--
-- Nobody could speak while the server or the network stood still, so a mark that ran out then says nothing about its
-- member: when nobody at all was heard for a while, all of them are good for their time once more.

if ARGV[1] == 'leave' then
  redis.call('HDEL', KEYS[1], ARGV[2])
  if redis.call('HLEN', KEYS[1]) <= 1 then redis.call('DEL', KEYS[1]) end
  return {}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local latest = now + ARGV[3]
local good = string.format('%.0f', latest)

local heard = tonumber(redis.call('HGET', KEYS[1], 'heard') or now)
local silent = now - heard > tonumber(ARGV[4])
local over = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local member, till = all[i], tonumber(all[i + 1])
  if member ~= 'heard' and member ~= ARGV[2] then
    if till > latest or (till < now and silent) then -- later than could be: the clock was set back
      redis.call('HSET', KEYS[1], member, good)
    elseif till < now then
      redis.call('HDEL', KEYS[1], member)
      over[#over + 1] = member
    end
  end
end
redis.call('HSET', KEYS[1], ARGV[2], good, 'heard', string.format('%.0f', now))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return over
