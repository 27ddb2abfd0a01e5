"""Whose a service key is, as one worker remembers it.

What is known of a key is believed for SERVICE_KEY_FRESH_S and then read anew, so a revoked key is refused by every
worker that much later at the most, whatever becomes of the bus; a busy key costs a query in that time, not one per
request. While the database is away no key is good for longer than that.
"""

import asyncio
import hmac
import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from live.access import store
from live.access.keys import digest, is_key
from live.access.store import Holder
from live.core.addresses import network
from live.core.auth import ALL_SHOWS, Principal, Role
from live.core.clock import Clock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.limits import (
    ADDRESSES_REMEMBERED_MAX,
    SERVICE_KEY_FRESH_S,
    SERVICE_KEY_LOOK_S,
    SERVICE_KEY_USED_S,
    SERVICE_KEYS_REMEMBERED_MAX,
    SERVICE_KEYS_TRIED_BURST,
    SERVICE_KEYS_TRIED_PER_S,
)
from live.core.scopes import StoreError
from live.core.together import Together

log = logging.getLogger(__name__)


class _Seen(NamedTuple):
    """`holder` None: no good key. `ends_s` None: it never expires; both times are of the monotonic clock."""

    holder: Holder | None
    read_s: float
    ends_s: float | None


class Holders:
    """See the module. `queries` counts what was asked of the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[str, _Seen] = {}  # by hash, the latest asked last
        self._used: dict[str, int | None] = {}  # ids of keys, with the last use that was written down
        self._gate = Gate(SERVICE_KEYS_TRIED_PER_S, SERVICE_KEYS_TRIED_BURST, ADDRESSES_REMEMBERED_MAX)
        self._reading = Together(self._read, SERVICE_KEYS_REMEMBERED_MAX)
        self.queries = 0

    async def find(self, secret: str, address: str) -> Principal:
        """The service whose key this is; raises `Problem` token_invalid, token_expired, rate_limited, unavailable."""
        if not is_key(secret):
            raise Problem(Kind.token_invalid)
        hash_ = digest(secret)
        seen = self._seen.pop(hash_, None)
        now_s = self._clock.monotonic()
        if seen is None or now_s - seen.read_s >= SERVICE_KEY_FRESH_S:
            if (seen is None or seen.holder is None) and (wait_s := self._gate.take(network(address), now_s)):
                raise Problem(Kind.rate_limited, "Too many unknown keys.", retry_after_s=math.ceil(wait_s))
            seen = await self._reading.ask(hash_)
        self._seen[hash_] = seen
        if len(self._seen) > SERVICE_KEYS_REMEMBERED_MAX:
            del self._seen[next(iter(self._seen))]
        holder = seen.holder
        if holder is None or not hmac.compare_digest(holder.hash, hash_):
            raise Problem(Kind.token_invalid, "There is no such service key, or it was revoked.")
        if seen.ends_s is not None and now_s >= seen.ends_s:
            raise Problem(Kind.token_expired, "The service key has expired.")
        self._used.setdefault(holder.id, holder.last_used_at_ms)
        return Principal(
            subject=f"service-{holder.id}",
            role=Role.viewer,
            show=holder.show or ALL_SHOWS,
            name=holder.label,
            scopes=holder.scopes,
        )

    def forget(self) -> None:
        """Read every key anew: one was changed on this worker."""
        self._seen.clear()

    async def run(self) -> None:
        """Write down when keys are used, until cancelled."""
        while True:
            await asyncio.sleep(SERVICE_KEY_LOOK_S)
            try:
                await self.note_used()
            except StoreError as error:
                log.warning("when service keys were used is not written down: %s", error)

    async def note_used(self) -> None:
        """Write down what was used lately, each key at most once in SERVICE_KEY_USED_S. Raises `StoreError`."""
        before_ms = self._clock.now_ms() - SERVICE_KEY_USED_S * 1000
        used, self._used = self._used, {}
        due = [id_ for id_, last_ms in used.items() if last_ms is None or last_ms < before_ms]
        if due:
            await self._database.write_sync(
                lambda conn: store.note_used(conn, due, self._database.now_ms_sync(conn), SERVICE_KEY_USED_S * 1000)
            )

    async def close(self) -> None:
        """Answer nobody any more."""
        await self._reading.close()

    async def _read(self, hashes: Sequence[str]) -> Mapping[str, _Seen]:
        self.queries += 1
        now_s = self._clock.monotonic()
        now_ms, found = await self._database.glance(
            lambda conn: (self._database.now_ms_sync(conn), store.holders(conn, hashes))
        )
        return {hash_: _seen(found.get(hash_), now_s, now_ms) for hash_ in hashes}


def _seen(holder: Holder | None, now_s: float, now_ms: int) -> _Seen:
    if holder is None or holder.ends_at_ms is None:
        return _Seen(holder, now_s, None)
    return _Seen(holder, now_s, now_s + (holder.ends_at_ms - now_ms) / 1000)
