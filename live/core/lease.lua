-- Who holds a name, for how long, under which fence; one call, by the server's own clock.
--
-- KEYS[1] the lease: hash {fence, owner, rank, value, until}; a fence of the past stays when its lease has run out.
-- ARGV[1] operation; [2] owner; [3] acquire: the highest fence to take over from, else: the own fence;
-- [4] ttl in milliseconds; [5] rank; [6] value; [7] seconds that a lease which has run out is remembered
--
-- acquire answers {fence, granted, owner, rank, value}; renew and release 1 or 0; read {fence, owner, rank, value} or {};
-- last the same, even when the lease has run out, unless it was given back.
--
-- A fence is at least the time in milliseconds, so that it grows even when the server has lost all it knew. A holder
-- whose lease ran out while nobody else wanted it keeps it: renewing revives it.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'fence', 'owner', 'rank', 'value', 'until')
local fence = tonumber(held[1] or 0)
local live = held[2] and held[2] ~= '' and tonumber(held[5]) > now

local function write(...)
  redis.call('HSET', KEYS[1], ...)
  redis.call('EXPIRE', KEYS[1], ARGV[7])
end

if ARGV[1] == 'acquire' then
  if live and held[2] ~= ARGV[2] and fence > tonumber(ARGV[3]) then
    return {held[1], 0, held[2], held[3], held[4]}
  end
  fence = string.format('%.0f', math.max(fence + 1, now))
  write('fence', fence, 'owner', ARGV[2], 'rank', ARGV[5], 'value', ARGV[6], 'until',
    string.format('%.0f', now + ARGV[4]))
  return {fence, 1, ARGV[2], ARGV[5], ARGV[6]}
end

if ARGV[1] == 'read' or ARGV[1] == 'last' then
  if live or (ARGV[1] == 'last' and held[2] and held[2] ~= '') then return {held[1], held[2], held[3], held[4]} end
  return {}
end

if held[2] ~= ARGV[2] or held[1] ~= ARGV[3] then return 0 end
if ARGV[1] == 'renew' then
  write('until', string.format('%.0f', now + ARGV[4]))
else
  write('owner', '', 'value', '')
end
return 1
