-- Everything that changes a show's head, in one call each, so that no reader ever sees half of it.
--
-- KEYS[1] head: hash {epoch, offset, server}; KEYS[2] history: stream whose ids are the offsets;
-- KEYS[3] once: the position an idempotency key was published at. All share the hash tag {show}.
-- ARGV[1] operation; [2] an epoch to use if a new one is needed; [3] run id of the server, "" if unknown;
-- [4] channel; [5] payload; [6] events kept; [7] seconds kept; [8] seconds an idempotency key is kept, "0" for none
--
-- Answers {epoch, offset}. Frames: "e<epoch>:<offset>\n<payload>" an event, "r" the epoch is new.

local function begin_epoch()
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'offset', 0, 'server', ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[7])
  return ARGV[2]
end

local operation = ARGV[1]

if operation == 'publish' and ARGV[8] ~= '0' then
  local seen = redis.call('GET', KEYS[3])
  if seen then
    local colon = string.find(seen, ':', 1, true)
    return {string.sub(seen, 1, colon - 1), tonumber(string.sub(seen, colon + 1))}
  end
end

local head = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'server')
local epoch = head[1]

if operation == 'rotate' then
  epoch = begin_epoch()
  redis.call('SPUBLISH', ARGV[4], 'r')
  return {epoch, 0}
end

if operation == 'position' then
  -- Another server than the one that wrote the head: a failover or a restart may have lost the last events,
  -- and their offsets would be given out a second time.
  if epoch and ARGV[3] ~= '' and head[3] ~= '' and head[3] ~= ARGV[3] then
    epoch = begin_epoch()
    redis.call('SPUBLISH', ARGV[4], 'r')
    return {epoch, 0}
  end
  if not epoch then
    return {begin_epoch(), 0}
  end
  return {epoch, tonumber(head[2])}
end

if not epoch then
  epoch = begin_epoch()
end
local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[6], offset .. '-0', 'p', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[7])
redis.call('EXPIRE', KEYS[2], ARGV[7])
if ARGV[8] ~= '0' then
  redis.call('SET', KEYS[3], epoch .. ':' .. offset, 'EX', ARGV[8])
end
redis.call('SPUBLISH', ARGV[4], 'e' .. epoch .. ':' .. offset .. '\n' .. ARGV[5])
return {epoch, offset}
