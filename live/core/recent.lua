-- What a worker is to know of a show that it begins to listen to, as of one moment: as much as if it had listened before.
--
-- KEYS[1] head; KEYS[2] history (see publish.lua); ARGV[1] how many of the newest events
--
-- Answers {epoch, newest offset, entries, states, whether some states are missing}, or {} as history.lua does.

local head = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'server', 'forgot')
if not head[1] then return {} end
local info = redis.pcall('INFO', 'replication')
local server = type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
if head[3] ~= '' and server ~= '' and head[3] ~= server then return {} end
local first = string.format('%.0f', math.max(1, head[2] - ARGV[1] + 1))
local states, fields = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 1) == ':' then states[#states + 1] = fields[i + 1] end
end
return {head[1], head[2], redis.call('XRANGE', KEYS[2], first, '+'), states, head[4] and 1 or 0}
