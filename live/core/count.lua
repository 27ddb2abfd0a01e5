-- Counts that many members make together: each says how much it has counted in all, so saying it again does no harm.
--
-- KEYS[1] hash {<member>:<kind>: counted by it, sum:<kind>: by all}; KEYS[2] the channel's head (see publish.lua)
-- ARGV[1] member; [2] seconds the hash is kept; [3] channel; [4] what a frame that tells the sums begins with, "" to
-- tell nobody; [5] under which name the head keeps that frame; then pairs of a kind and what the member has counted of it
--
-- Answers the sums in the order of the kinds. They are told from here, not by the caller, so that subscribers hear them
-- in the order in which they grew: the frame ends with the sums as a MessagePack map.

local sums, told, grown = {}, {}, false
for i = 6, #ARGV, 2 do
  local own, sum = ARGV[1] .. ':' .. ARGV[i], 'sum:' .. ARGV[i]
  local more = tonumber(ARGV[i + 1]) - tonumber(redis.call('HGET', KEYS[1], own) or 0)
  if more > 0 then
    redis.call('HSET', KEYS[1], own, ARGV[i + 1])
    redis.call('HINCRBY', KEYS[1], sum, more)
    grown = true
  end
  told[ARGV[i]] = tonumber(redis.call('HGET', KEYS[1], sum) or 0)
  sums[#sums + 1] = told[ARGV[i]]
end
if grown then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  if ARGV[4] ~= '' then
    local frame = ARGV[4] .. cmsgpack.pack(told)
    if redis.call('HEXISTS', KEYS[2], 'epoch') == 1 then redis.call('HSET', KEYS[2], ARGV[5], frame) end
    redis.call('SPUBLISH', ARGV[3], frame)
  end
end
return sums
