-- The events after an offset, together with where the show stands, as of one moment.
--
-- KEYS[1] head; KEYS[2] history (see publish.lua); ARGV[1] the first id wanted; [2] how many at most
--
-- Answers {epoch, newest offset, entries}, or {} when there is no head, or when it was written by another server: the
-- last events may be missing then without a trace.

local head = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'server')
if not head[1] then return {} end
local info = redis.pcall('INFO', 'replication')
local server = type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
if head[3] ~= '' and server ~= '' and head[3] ~= server then return {} end
return {head[1], head[2], redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2])}
