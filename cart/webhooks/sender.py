"""Sends what waits in the outbox: any number of workers, each message by one of them at a time.

A worker looks every WEBHOOK_LOOK_S, without writing when there is nothing to do. It *spreads* new events over the
endpoints that want them, *claims* what is due, sends it, and *settles* what came of it together with its next claims. A
claim is a lease: when a worker dies between sending and settling, another one sends the message again, under the same
id, so each message arrives at least once.

Each endpoint has WEBHOOK_PARALLEL places on a worker and connections of its own; one that is slow fills only those.
Of one subject a single message is under way to an endpoint, so what concerns it arrives in order.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from sqlalchemy import Connection

from cart.webhooks import events, schedule, signature, store
from cart.webhooks.schedule import Fate, Try
from cart.webhooks.sealing import Seal
from cart.webhooks.store import Claim, Endpoint, Settled
from live.core.clock import Clock
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import (
    WEBHOOK_BACKLOG_MAX,
    WEBHOOK_COUNT_S,
    WEBHOOK_END_S,
    WEBHOOK_FAILING_S,
    WEBHOOK_GATHER_S,
    WEBHOOK_LEASE_S,
    WEBHOOK_LOOK_S,
    WEBHOOK_PARALLEL,
    WEBHOOK_PRUNE_BATCH,
    WEBHOOK_PRUNE_S,
    WEBHOOK_SENDING_MAX,
    WEBHOOK_SPREAD_BATCH,
)
from live.core.tasks import end

_log = structlog.get_logger(__name__)
_DAY_MS = 24 * 3600 * 1000


class Figures(msgspec.Struct):
    """What this worker has sent, and what waits for all endpoints, as of the last count. `oldest_ms`: its age."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    disabled: int = 0
    sending: int = 0
    pending: int = 0
    oldest_ms: int = 0


Send = Callable[[str, str, dict[str, str], bytes], Awaitable[Try]]


class Sender:
    """See the module. `send(endpoint_id, url, headers, body)` never raises; `kept_days`: what is over is kept so long.

    `forget` hears which endpoints there still are.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        seal: Seal,
        send: Send,
        forget: Callable[[set[str]], Awaitable[None]],
        *,
        kept_days: int,
        lease_s: float = WEBHOOK_LEASE_S,
        chance: random.Random | None = None,
    ) -> None:
        self.figures = Figures()
        self._database = database
        self._clock = clock
        self._seal = seal
        self._send = send
        self._forget = forget
        self._kept_ms = kept_days * _DAY_MS
        self._lease_ms = round(lease_s * 1000)
        self._chance = chance or random.Random()
        self._sending: dict[asyncio.Task[None], Claim] = {}
        self._results: list[tuple[Claim, Try]] = []
        self._wake = asyncio.Event()
        self._count_s = self._prune_s = clock.monotonic()

    async def run(self) -> None:
        """Look and send until cancelled."""
        try:
            while True:
                try:
                    await self.turn()
                    await self._keep_house()
                except Problem as problem:  # the store is out of reach; the next round may find it
                    _log.warning("webhooks_postponed", problem=problem.kind.name)
                except Exception:  # a bug here must not keep back all later messages
                    _log.exception("webhooks_failed")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WEBHOOK_LOOK_S):
                        await self._wake.wait()
                    await asyncio.sleep(WEBHOOK_GATHER_S)  # answers that come together are written down together
        finally:
            await self.close()

    async def close(self) -> None:
        """Wait a moment for answers, and write down what came; what has none is others' to send again, at once."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=WEBHOOK_END_S)
        given_up = list(self._sending.values())
        await end(*self._sending)
        with contextlib.suppress(Problem):
            if self._results:
                await self._settle_and_claim([], {})
            if given_up:
                await self._database.write_sync(lambda conn: store.release(conn, given_up))

    async def turn(self) -> int:
        """Spread, settle and claim once, and begin to send; how many messages were begun."""
        self._wake.clear()
        look = await self._database.read_sync(lambda conn: store.look(conn, self._database.now_ms_sync(conn)))
        if look.waiting:
            while await self._spread() == WEBHOOK_SPREAD_BATCH:
                pass
            look = await self._database.read_sync(lambda conn: store.look(conn, self._database.now_ms_sync(conn)))
        await self._forget({endpoint.id for endpoint in look.endpoints})
        # What was answered lets others of its subject go, which were not ready when we looked.
        ready = {*look.ready, *(claim.endpoint_id for claim, _ in self._results)}
        endpoints = {each.id: each for each in look.endpoints if each.id in ready and each.state == "active"}
        free = self._free(list(endpoints))
        if not free and not self._results:
            return 0
        claims = await self._settle_and_claim(list(free.items()), endpoints)
        for claim in claims:
            task = asyncio.create_task(self._deliver(endpoints[claim.endpoint_id], claim), name="webhook")
            self._sending[task] = claim
            task.add_done_callback(self._sent)
        self.figures.sending = len(self._sending)
        return len(claims)

    async def answered(self) -> None:
        """Wait until everything that was begun has an answer, or has failed."""
        while self._sending:
            await asyncio.wait(self._sending)

    # --- one turn

    async def _spread(self) -> int:
        return await self._database.write_sync(
            lambda conn: store.spread(conn, self._database.now_ms_sync(conn), WEBHOOK_SPREAD_BATCH)
        )

    def _free(self, endpoint_ids: list[str]) -> dict[str, int]:
        """For each endpoint how many messages this worker takes, with turns between them when places are few."""
        busy = [claim.endpoint_id for claim in self._sending.values()]
        spare = WEBHOOK_SENDING_MAX - len(busy)
        self._chance.shuffle(endpoint_ids)
        free: dict[str, int] = {}
        for number, endpoint_id in enumerate(endpoint_ids):
            share = -(-spare // (len(endpoint_ids) - number))  # rounded up
            if (places := min(WEBHOOK_PARALLEL - busy.count(endpoint_id), share)) > 0:
                free[endpoint_id] = places
                spare -= places
        return free

    async def _settle_and_claim(self, free: list[tuple[str, int]], endpoints: dict[str, Endpoint]) -> list[Claim]:
        results, self._results = self._results, []

        def work(conn: Connection) -> tuple[list[Settled], list[Claim]]:
            now_ms = self._database.now_ms_sync(conn)
            settled = [self._judged(claim, result, now_ms) for claim, result in results]
            if settled:
                store.settle(conn, settled, now_ms)
                self._mark(conn, settled, now_ms)
            until_ms = now_ms + self._lease_ms
            claims: list[Claim] = []
            for endpoint_id, most in sorted(free):
                if self._stopped(conn, endpoints[endpoint_id], now_ms):
                    continue
                claims += store.claim(conn, endpoint_id, now_ms, until_ms, most)
            return settled, claims

        try:
            settled, claims = await self._database.write_sync(work)
        except BaseException:
            self._results = results + self._results
            raise
        for each in settled:
            self.figures.delivered += each.state == Fate.delivered.value
            self.figures.failed += not each.result.delivered
            self.figures.dead += each.state == Fate.dead.value
        return claims

    def _judged(self, claim: Claim, result: Try, now_ms: int) -> Settled:
        fate, due_at_ms = schedule.judge(result, claim.tries, now_ms, self._chance.random())
        return Settled(claim, result, fate.value, due_at_ms)

    def _mark(self, conn: Connection, settled: list[Settled], now_ms: int) -> None:
        working = {each.claim.endpoint_id for each in settled if each.result.delivered}
        store.mark_health(conn, working, {each.claim.endpoint_id for each in settled} - working, now_ms)
        for endpoint_id in sorted({each.claim.endpoint_id for each in settled if each.result.gone}):
            self.figures.disabled += store.disable(conn, endpoint_id, "It answered 410: it wants nothing any more.")

    def _stopped(self, conn: Connection, endpoint: Endpoint, now_ms: int) -> bool:
        """Whether an endpoint has failed for too long, and is disabled now."""
        since_ms = endpoint.failing_since_ms
        if since_ms is None or now_ms - since_ms < WEBHOOK_FAILING_S * 1000:
            return False
        reason = f"Nothing has arrived for {WEBHOOK_FAILING_S // 86400} days."
        self.figures.disabled += store.disable(conn, endpoint.id, reason)
        return True

    async def _deliver(self, endpoint: Endpoint, claim: Claim) -> None:
        body = events.body(claim.type, claim.at_ms, claim.show, claim.data)
        timestamp_s = self._clock.now_ms() // 1000
        secrets = self._secrets(endpoint, timestamp_s * 1000)
        if secrets:
            headers = signature.headers(claim.event_id, timestamp_s, body, secrets)
            result = await self._send(endpoint.id, endpoint.url, headers, body)
        else:
            result = Try(None, "The secret cannot be read since SHOWCART_SECRET was changed; rotate it.")
        self._results.append((claim, result))

    def _secrets(self, endpoint: Endpoint, now_ms: int) -> list[str]:
        """What signs now, the newest first."""
        sealed = [endpoint.secret]
        if endpoint.old_secret is not None and now_ms < (endpoint.old_until_ms or 0):
            sealed.append(endpoint.old_secret)
        opened = (self._seal.open(each, endpoint.id) for each in sealed)
        return [each for each in opened if each is not None]

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self.figures.sending = len(self._sending)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("webhook_not_sent", exc_info=error)  # a bug: its lease runs out, and it is tried again

    # --- now and then

    async def _keep_house(self) -> None:
        now_s = self._clock.monotonic()
        if now_s >= self._count_s:
            self._count_s = now_s + WEBHOOK_COUNT_S
            await self.count()
        if now_s >= self._prune_s:
            self._prune_s = now_s + WEBHOOK_PRUNE_S
            await self.prune()

    async def count(self) -> None:
        """Count what waits; an endpoint that is too far behind is disabled."""

        def read(conn: Connection) -> tuple[dict[str, tuple[int, int]], int]:
            return store.backlog(conn), self._database.now_ms_sync(conn)

        waiting, now_ms = await self._database.read_sync(read)
        self.figures.pending = sum(count for count, _ in waiting.values())
        self.figures.oldest_ms = max((now_ms - oldest for _, oldest in waiting.values()), default=0)
        for endpoint_id in sorted(waiting):
            if waiting[endpoint_id][0] > WEBHOOK_BACKLOG_MAX:
                await self._disable(endpoint_id, f"More than {WEBHOOK_BACKLOG_MAX} messages waited for it.")

    async def prune(self) -> None:
        """Forget what was kept long enough."""

        def work(conn: Connection) -> int:
            return store.prune(conn, self._database.now_ms_sync(conn) - self._kept_ms, WEBHOOK_PRUNE_BATCH)

        while await self._database.write_sync(work) >= WEBHOOK_PRUNE_BATCH:
            pass

    async def _disable(self, endpoint_id: str, reason: str) -> None:
        if await self._database.write_sync(lambda conn: store.disable(conn, endpoint_id, reason)):
            self.figures.disabled += 1
            _log.warning("webhook_endpoint_disabled", endpoint=endpoint_id, reason=reason)
