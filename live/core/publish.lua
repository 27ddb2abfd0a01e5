-- Everything that changes a show's head, in one call each, so that no reader ever sees half of it.
--
-- KEYS[1] head: hash {epoch, offset, server; since: when the epoch began, ms; ":<name>\n<key>": the frame of a state, the
-- newest of this epoch; forgot: there: not all states are here}; KEYS[2] history: stream whose ids are the
-- offsets; KEYS[3 …] once: the position an idempotency key was published at; one for each parcel that has such a key,
-- because a cluster refuses scripts of which one key is missing while their slot moves. All share the hash tag {show}.
-- ARGV[1] operation; [2] an epoch to use if a new one is needed; [3] channel; [4] events kept; [5] seconds kept;
-- [6] seconds an idempotency key is kept; [7] an epoch, "" for none; [8] an offset; [9] milliseconds; [10] states kept;
-- [11 …] parcels
--
-- publish: the parcels in their order, each a tag and its bytes. "e": an event; "k": an event with the next of the
-- keys in KEYS, which is not published again when it was; ":…": a state, handed on and kept under that name; "": handed
-- on as it is, not numbered and not kept. [7] is the epoch that the caller knows; in another one nothing is done and the
-- offset answered is -1. A command that waited in a server which stood still would otherwise be done after the caller
-- has given it up, made everybody look at the database again, and published newer things. Answers the position of the
-- last event.
--
-- position: [7] and [8] were published [9] ago ("": at no known time). When that went to a server that had been
-- replaced already, or was lost, nobody here has it: a new epoch begins, so that everybody looks at the database again.
--
-- Answers {epoch, offset}. Frames: "e<epoch>:<offset>\n<payload>" an event, "r" the epoch is new.
--
-- The head says which server wrote it. Another one begins a new epoch: a failover or a restart may have lost the last
-- events, and their offsets would be given out a second time. The server is known by its replication id, which is
-- random, and another one after each start and each promotion (its run id would stay when it is demoted and promoted
-- again). A slot that was moved here is told from nothing else, and begins a new epoch as well, though nothing was lost.
-- Asking costs 3.6 us of the server's time for each event. Where INFO is not allowed the server is "", never another.

local function this_server()
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
end

local server = this_server()

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function begin_epoch()
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'offset', 0, 'server', server,
    'since', string.format('%.0f', now_ms()))
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  return ARGV[2]
end

local function rotate()
  local epoch = begin_epoch()
  redis.call('SPUBLISH', ARGV[3], 'r')
  return epoch
end

local operation = ARGV[1]

if operation == 'rotate' then
  return {rotate(), 0}
end

local head = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'server', 'since')
local epoch = head[1]
local another = epoch and server ~= '' and head[3] ~= '' and head[3] ~= server

if another then
  epoch = rotate()
  head[2] = 0
elseif not epoch then
  epoch = begin_epoch()
  head[2] = 0
end

if operation == 'position' then
  local offset = tonumber(head[2])
  if ARGV[7] == epoch then
    if tonumber(ARGV[8]) > offset then return {rotate(), 0} end
  elseif ARGV[7] ~= '' and ARGV[9] ~= '' and epoch == head[1] and head[4] then
    -- Whoever is in an epoch looked at the database after it began. Was that before the publishing?
    if now_ms() - head[4] >= tonumber(ARGV[9]) then return {rotate(), 0} end
  end
  redis.call('EXPIRE', KEYS[1], ARGV[5]) -- a show that is watched stays where it is, however quiet it is
  return {epoch, offset}
end

if ARGV[7] ~= '' and ARGV[7] ~= epoch then
  return {epoch, -1}
end

local last = {epoch, tonumber(head[2])}
local keys = 2

local function publish(payload, once)
  local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[4], offset .. '-0', 'p', payload)
  if once then
    redis.call('SET', once, epoch .. ':' .. offset, 'EX', ARGV[6])
  end
  redis.call('SPUBLISH', ARGV[3], 'e' .. epoch .. ':' .. offset .. '\n' .. payload)
  return {epoch, offset}
end

-- Of more states than are kept all are forgotten: which of them somebody has not seen is known to nobody here.
local function keep(name, frame)
  local new = redis.call('HSET', KEYS[1], name, frame)
  if new == 1 and redis.call('HLEN', KEYS[1]) > ARGV[10] + 4 then
    local fields = redis.call('HKEYS', KEYS[1])
    for i = 1, #fields do
      if string.sub(fields[i], 1, 1) == ':' then redis.call('HDEL', KEYS[1], fields[i]) end
    end
    redis.call('HSET', KEYS[1], 'forgot', 1)
  end
end

for i = 11, #ARGV, 2 do
  local tag, payload = ARGV[i], ARGV[i + 1]
  if tag == 'k' then
    keys = keys + 1
    local seen = redis.call('GET', KEYS[keys])
    if seen then
      local colon = string.find(seen, ':', 1, true)
      last = {string.sub(seen, 1, colon - 1), tonumber(string.sub(seen, colon + 1))}
    else
      last = publish(payload, KEYS[keys])
    end
  elseif tag == 'e' then
    last = publish(payload)
  else
    if tag ~= '' then keep(tag, payload) end
    redis.call('SPUBLISH', ARGV[3], payload)
  end
end

redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return last
