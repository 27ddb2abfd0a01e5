"""The nervous system: events of a show to every worker that has viewers of it, over the Redis protocol.

Guarantees, per channel (a channel is a show):
- `publish` numbers events without a gap and every subscriber sees them in that order.
- A subscriber is told `gone` whenever it may have missed something: the connection was lost and is back, the
  server was restarted or replaced, or the epoch was rotated. It then asks `history` or takes a snapshot.
- `history` is complete or None, never partial.
What is published while the server is away is lost here; the database is the truth and `rotate` makes everyone
look at it again.

The hand-over is bounded: handlers run inside the one reader task, so unread messages wait in the socket and then
in the server, which cuts a subscriber that falls behind (`client-output-buffer-limit`); that is a `gone` again.

Sharded pub/sub, because classic PUBLISH reaches every node of a cluster. One server (with or without replicas)
is supported today; all keys of a show share the hash tag `{show}`, but a cluster needs one reader per node.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from live.core.errors import Kind, Problem
from live.core.ids import secret_token
from live.core.leases import Leases
from live.core.limits import (
    BUS_CONNECTIONS_MAX,
    BUS_KEY_KEPT_S,
    BUS_PAYLOAD_BYTES_MAX,
    BUS_TIMEOUT_S,
    HISTORY_EVENTS_MAX,
    HISTORY_TTL_S,
)
from live.core.listener import UNNUMBERED, Connection, Handler, Listener, Message
from live.core.position import Position
from live.core.speaker import Speaker

__all__ = ["Bus", "BusError", "Handler", "Message", "Position", "Take", "Wire"]

T = TypeVar("T")
Take = Callable[[str, float, float], Awaitable[float]]
"""`Bus.take`, for those who need nothing else of the bus."""

_FAILURES = (RedisError, OSError, RuntimeError)  # RuntimeError: uvloop, on a write to a closed transport

_PUBLISH = (Path(__file__).parent / "publish.lua").read_text()
_LEASE = (Path(__file__).parent / "lease.lua").read_text()

# Rate limit as one timestamp (GCRA, ITU-T I.371): `tat` is when the bucket would be full again, in microseconds.
_TAKE = """
local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local step = 1000000 / tonumber(ARGV[1])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), us)
local wait = tat + step - us - step * tonumber(ARGV[2])
if wait > 0 then return tostring(wait / 1000000) end
redis.call('SET', KEYS[1], string.format('%.0f', tat + step), 'PX', math.ceil((tat + step - us) / 1000) + 1)
return '0'
"""

# Presence: one field per worker, "<count>:<expires at, ms>"; expired workers are swept while counting.
_BEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = math.floor(tonumber(ARGV[3]) * 1000)
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. string.format('%.0f', now + ttl))
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ttl)
local sum = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local count, expires = string.match(all[i + 1], '(%d+):(%d+)')
  if tonumber(expires) < now then redis.call('HDEL', KEYS[1], all[i]) else sum = sum + tonumber(count) end
end
return sum
"""


class BusError(Problem):
    """The server is out of reach or refused; whether the call took effect is not known."""

    def __init__(self, detail: str) -> None:
        super().__init__(Kind.unavailable, detail, retry_after_s=1)


class Bus:
    """See the module. Handlers are called on the event loop, one message after the other, and must not block."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._publish = redis.register_script(_PUBLISH)
        self._take = redis.register_script(_TAKE)
        self._beat = redis.register_script(_BEAT)
        self._lease = redis.register_script(_LEASE)
        self._listener = Listener(lambda: _connection(redis), _run_id, _FAILURES)
        self.leases = Leases(self._run_lease)

    @classmethod
    async def open(cls, url: str) -> "Bus":
        """A bus on the server at `url` (redis://, rediss://, unix://); raises `BusError` when it does not answer."""
        bus = cls(_client(url))
        try:
            await bus.check()
            await bus._listener.start()
        except BaseException as error:
            await bus.close()
            if isinstance(error, TimeoutError):
                raise BusError("The bus did not accept a subscriber in time.") from None
            raise
        return bus

    async def publish(self, channel: str, payload: bytes, *, key: str | None = None) -> Position:
        """Number `payload`, keep it in the history and hand it to every subscriber.

        `key` makes it idempotent for a few minutes: the second call answers the first one's position.
        Raises `BusError`; then the event may or may not have been published: `rotate` when the bus is back.
        """
        assert len(payload) <= BUS_PAYLOAD_BYTES_MAX, "the caller bounds what it publishes"
        return await self._head("publish", channel, payload, key=key, again=key is not None)

    async def send(self, channel: str, payload: bytes, kind: Literal["state", "direct"] = "state") -> int:
        """Hand `payload` to every subscriber and answer how many; it is not numbered and not kept.

        Raises `BusError`.
        """
        assert len(payload) <= BUS_PAYLOAD_BYTES_MAX, "the caller bounds what it sends"
        frame = UNNUMBERED[kind] + payload
        return int(await self._call(lambda: self._redis.spublish(_name(channel), frame), again=False))

    @asynccontextmanager
    async def subscribe(self, channel: str, handler: Handler) -> AsyncIterator[None]:
        """Within the context `handler` gets every message of `channel`; the server has confirmed on entry.

        Raises `BusError` when the server does not confirm in time.
        """
        async with _subscribed(self._listener, channel, handler):
            yield

    async def position(self, channel: str) -> Position:
        """Where the channel stands; begins an epoch when there is none. Raises `BusError`."""
        return await self._head("position", channel, again=True)

    async def history(self, channel: str, since: Position, limit: int) -> list[tuple[Position, bytes]] | None:
        """All events after `since`, oldest first, or None: not all are here, or more than `limit`; take a snapshot.

        Raises `BusError`.
        """
        head_key, history_key = _head_key(channel), _history_key(channel)

        async def read() -> list[Any]:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(head_key, ["epoch", "offset"])
                pipe.xrange(history_key, min=f"{since.offset + 1}-0", count=limit + 1)
                result: list[Any] = await pipe.execute()
                return result

        (epoch, newest), entries = await self._call(read, again=True)
        if epoch is None or epoch.decode() != since.epoch or len(entries) != int(newest) - since.offset:
            return None
        if len(entries) > limit:
            return None
        events = [(Position(since.epoch, int(id_.partition(b"-")[0])), fields[b"p"]) for id_, fields in entries]
        # The ids are unique and ascending: as many as offsets, from the first one on, means that none is missing.
        return events if not events or events[0][0].offset == since.offset + 1 else None

    async def rotate(self, channel: str) -> None:
        """Begin a new epoch: every subscriber is told `gone` and every position is void. Raises `BusError`."""
        await self._head("rotate", channel, again=True)

    async def take(self, bucket: str, rate_per_s: float, burst: float) -> float:
        """0.0: granted, one of `burst`, refilled at `rate_per_s`. Else the seconds to wait; nothing was taken.

        Grants everything while the server is away: a shop without a rate limit beats a shop that is shut.
        """
        try:
            answer = await self._call(
                lambda: self._take(keys=[f"showcart:{{{bucket}}}:rate"], args=[rate_per_s, burst]), again=False
            )
        except BusError:
            return 0.0
        return float(answer)

    async def beat(self, channel: str, member: str, count: int, ttl_s: float) -> int:
        """Say that `member` (a worker) has `count` viewers; answers the sum of all members heard within their ttl.

        A count of 0 takes the member out. Raises `BusError`.
        """
        keys = [f"showcart:{{{channel}}}:presence"]
        args: list[str | float] = [member, count, ttl_s]
        return int(await self._call(lambda: self._beat(keys=keys, args=args), again=True))

    async def check(self) -> None:
        """Raises `BusError` when the server does not answer a PING."""
        await self._call(self._redis.ping, again=True)

    async def close(self) -> None:
        """Stop listening and close every connection."""
        await self._listener.stop()
        await self._redis.aclose()

    async def _run_lease(self, key: str, arguments: list[str | bytes | int]) -> Any:
        # Twice does no harm: a lease that was granted and not heard of is granted again, with a higher fence.
        return await self._call(lambda: self._lease(keys=[key], args=arguments), again=True)

    async def _head(
        self, operation: str, channel: str, payload: bytes = b"", *, key: str | None = None, again: bool
    ) -> Position:
        keys = [_head_key(channel), _history_key(channel), f"showcart:{{{channel}}}:once:{key or ''}"]
        kept_s = BUS_KEY_KEPT_S if key is not None else 0
        fresh_epoch = secret_token(9)
        args: list[str | bytes | int] = [
            operation, fresh_epoch, self._listener.server_id, _name(channel), payload,
            HISTORY_EVENTS_MAX, HISTORY_TTL_S, kept_s,
        ]  # fmt: skip
        epoch, offset = await self._call(lambda: self._publish(keys=keys, args=args), again=again)
        return Position(epoch.decode(), int(offset))

    async def _call(self, work: Callable[[], Awaitable[T]], *, again: bool) -> T:
        """What `work` answers. `again`: doing it twice does no harm, so a stale connection costs one more try."""
        try:
            return await work()
        except _FAILURES as error:
            if not again:
                raise BusError(f"The bus did not answer: {error}") from error
        try:
            return await work()
        except _FAILURES as error:
            raise BusError(f"The bus did not answer: {error}") from error


class Wire:
    """A way for packets beside the bus: connections of its own, so that video never delays an event.

    Nothing is numbered, kept or sent again. Subscribers are told `gone` when they may have missed something.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._listener = Listener(lambda: _connection(redis), _run_id, _FAILURES)
        self._speaker = Speaker(lambda: _connection(redis), _FAILURES)

    @classmethod
    async def open(cls, url: str) -> "Wire":
        """A wire over the server at `url`; raises `BusError` when it does not answer."""
        wire = cls(_client(url))
        try:
            await wire._listener.start()
            wire._speaker.start()
        except TimeoutError:
            await wire.close()
            raise BusError("The bus did not accept a subscriber in time.") from None
        except BaseException:
            await wire.close()
            raise
        return wire

    def send(self, channel: str, payload: bytes) -> bool:
        """Hand `payload` to every subscriber, without waiting; False: the server is away or behind, it was dropped."""
        assert len(payload) <= BUS_PAYLOAD_BYTES_MAX, "the caller bounds what it sends"
        return self._speaker.send(_name(channel).encode(), UNNUMBERED["state"] + payload)

    @property
    def clear(self) -> bool:
        """Whether the server is there and keeps up: half of what may wait is free."""
        return self._speaker.clear

    @asynccontextmanager
    async def subscribe(self, channel: str, handler: Handler) -> AsyncIterator[None]:
        """As `Bus.subscribe`."""
        async with _subscribed(self._listener, channel, handler):
            yield

    async def close(self) -> None:
        """Close both connections."""
        await self._speaker.stop()
        await self._listener.stop()
        await self._redis.aclose()


@asynccontextmanager
async def _subscribed(listener: Listener, channel: str, handler: Handler) -> AsyncIterator[None]:
    name = _name(channel).encode()
    try:
        await listener.add(name, handler)
    except TimeoutError:
        raise BusError("The bus did not confirm the subscription in time.") from None
    try:
        yield
    finally:
        await listener.remove(name, handler)


def _client(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        driver_info=None,  # else the library reads its own metadata from disk at each connect
        protocol=2,  # pushes arrive as plain arrays
        max_connections=BUS_CONNECTIONS_MAX,
        timeout=BUS_TIMEOUT_S,
        socket_timeout=BUS_TIMEOUT_S,
        socket_connect_timeout=BUS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),  # a blind second try could publish twice
    )
    return Redis.from_pool(pool)


def _connection(redis: Redis) -> Any:
    pool: Any = redis.connection_pool  # its make_connection is not annotated
    return pool.make_connection()


async def _run_id(connection: Connection) -> str:
    """The server's run id, "" where INFO is not allowed."""
    await connection.send_command("INFO", "server", check_health=False)
    try:
        answer = await connection.read_response()
    except ResponseError:
        return ""
    for line in bytes(answer).splitlines():
        if line.startswith(b"run_id:"):
            return line.removeprefix(b"run_id:").decode()
    return ""


def _name(channel: str) -> str:
    return f"showcart:{{{channel}}}:events"


def _head_key(channel: str) -> str:
    return f"showcart:{{{channel}}}:head"


def _history_key(channel: str) -> str:
    return f"showcart:{{{channel}}}:history"
