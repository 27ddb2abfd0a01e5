"""Sets of rules: written down as drafts, published as a whole, taken back to the one before; who did it is kept.

What is published changes prices at once: the screens of the shows that are not over hear of it in the transaction that
publishes. What the catalogue costs everywhere else is written down afterwards, page by page (`Watch`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from cart.answers import replay, request_hash
from cart.offering.showing import LIVE_RULE, Showing
from cart.pricing import store
from cart.pricing.checks import Flaw, check
from cart.pricing.rules import Gift, Rule
from cart.pricing.store import PriceChange, StoredRuleset
from cart.store import Kept, forget_answer, keep_answers, kept_answers
from live import store as shows_store
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import LABEL_CHARS_MAX, PRICE_CHANGES_PAGE, PRICED_SHOWS_MAX, RULESETS_PAGE
from live.service import Batch, Shows
from live.shows import clean_line

NONE = 0  # the number of the ruleset that has no rules


class Rulesets:
    """See the module."""

    def __init__(self, database: Database, shows: Shows, showing: Showing) -> None:
        self._database = database
        self._shows = shows
        self._showing = showing

    async def page(self, before: int | None) -> list[StoredRuleset]:
        """The newest first; `before`: the last number of the page before, None for the first page."""
        return await self._database.read_sync(lambda conn: store.rulesets(conn, before, RULESETS_PAGE))

    async def get(self, number: int) -> StoredRuleset:
        """One ruleset; raises `Problem` unknown_ruleset."""
        return await self._database.read_sync(lambda conn: _find(conn, number))

    async def in_force(self) -> int:
        """The number of the ruleset that prices are made by; 0: none was published."""
        return await self._database.read_sync(lambda conn: store.clock(conn).ruleset)

    async def changes(self) -> list[PriceChange]:
        """Who changed when what prices are made by, the newest first."""
        return await self._database.read_sync(lambda conn: store.changes(conn, PRICE_CHANGES_PAGE))

    def check(self, rules: Sequence[Rule]) -> list[Flaw]:
        """Why these rules cannot be saved; nothing, when they can."""
        taken = [Flaw(rule.id, "id", f"ids with {LIVE_RULE!r} are of hosts") for rule in rules if _is_live(rule)]
        return taken + gifts(rules) + check(rules)

    async def draft(self, note: str, rules: Sequence[Rule], by: str, key: str | None) -> tuple[dict[str, Any], bool]:
        """Save rules, which change nothing until they are published; the ruleset, and whether it is an old answer.

        Raises `Problem` invalid_rules with all flaws, key_reused.
        """
        note = clean_line(note, "note", LABEL_CHARS_MAX) if note.strip() else ""
        refuse(self.check(rules))
        request = ("draft", note, plain(rules))

        def effect(tx: Batch) -> dict[str, Any]:
            return {"ruleset": plain(store.add_ruleset(tx.conn, note, rules, by, tx.now_ms))}

        return await self._once(by, request, key, effect, tell=False)

    async def publish(
        self, number: int, by: str, key: str | None, in_force: int | None = None
    ) -> tuple[dict[str, Any], bool]:
        """Make prices by this ruleset from now on, and by no other: {version, ruleset}.

        `in_force`: the one that it was made from, 0 for none; None: whichever that is.
        Raises `Problem` unknown_ruleset, invalid_rules, rules_changed, key_reused.
        """

        def effect(tx: Batch) -> dict[str, Any]:
            refuse(gifts(_find(tx.conn, number).rules))  # it may have been saved before they were refused
            if in_force is not None and store.clock(tx.conn).ruleset not in (in_force, number):
                raise Problem(Kind.rules_changed, field="in_force")
            return self._publish(tx, number, by)

        return await self._once(by, ("publish", number, in_force), key, effect)

    async def roll_back(self, by: str, key: str | None) -> tuple[dict[str, Any], bool]:
        """Publish the ruleset again that was in force before the present one (none, when there was none)."""

        def effect(tx: Batch) -> dict[str, Any]:
            now = store.clock(tx.conn).ruleset
            earlier = store.published_before(tx.conn, now)
            return self._publish(tx, earlier, by)

        return await self._once(by, ("roll back",), key, effect)

    def _publish(self, tx: Batch, number: int, by: str) -> dict[str, Any]:
        """The shows and the clock are locked."""
        conn = tx.conn
        now = store.clock(conn)
        if now.ruleset == number:
            return {"version": now.version, "ruleset": number}
        before = self._showing.pricing.rules(conn)
        store.mark_published(conn, number, by, tx.now_ms)
        change = store.advance(conn, tx.now_ms, "published", by, ruleset=number)
        store.told(conn, tx.now_ms)
        shows = store.open_shows(conn, PRICED_SHOWS_MAX)
        self._showing.tell_shows(tx, conn, shows, before, tx.now_ms)
        return {"version": change.version, "ruleset": number}

    async def _once(
        self,
        by: str,
        request: tuple[Any, ...],
        key: str | None,
        effect: Callable[[Batch], dict[str, Any]],
        *,
        tell: bool = True,
    ) -> tuple[dict[str, Any], bool]:
        """Do `effect` with the shows (if it tells them) and the clock locked, or answer as before under `key`."""
        scope, hash_ = f"prices:{by}", request_hash(request)

        def work(tx: Batch) -> tuple[dict[str, Any], bool]:
            conn = tx.conn
            if tell:
                lock_shows(conn)
            store.clock(conn, lock=True)
            if key is not None:
                kept = kept_answers(conn, [(scope, key)]).get((scope, key))
                if (body := replay(kept, hash_, tx.now_ms)) is not None:
                    return body, True
                if kept is not None:
                    forget_answer(conn, scope, key)
            body = effect(tx)
            if key is not None:
                keep_answers(conn, {(scope, key): Kept(hash_, body, tx.now_ms)})
            return body, False

        answer, told = await self._shows.batch(work, here=False)  # whole lineups of all shows that are not over
        await told
        return answer


def gifts(rules: Sequence[Rule]) -> list[Flaw]:
    """What these rules would promise and nobody would keep: orders and stock know no gifts yet."""
    return [
        Flaw(rule.id, f"then[{place}]", "a gift would be shown, but neither ordered nor taken from stock; not yet")
        for rule in rules
        for place, effect in enumerate(rule.then)
        if isinstance(effect, Gift)
    ]


def lock_shows(conn: Connection) -> list[str]:
    """The shows that are not over, which nobody else changes before this transaction ends; locked before the clock."""
    shows = sorted(store.open_shows(conn, PRICED_SHOWS_MAX))
    for show in shows:
        shows_store.timeline_position(conn, show, lock=True)
    return shows


def refuse(flaws: Sequence[Flaw]) -> None:
    """Raises `Problem` invalid_rules with all flaws, if there are any."""
    if flaws:
        first = flaws[0]
        detail = f"{first.rule}: {first.field}: {first.why}"
        raise Problem(Kind.invalid_rules, detail, field="rules", extra={"flaws": plain(flaws)})


def _find(conn: Connection, number: int) -> StoredRuleset:
    found = store.find_ruleset(conn, number) if 0 < number < 2**31 else None
    if found is None:
        raise Problem(Kind.unknown_ruleset, field="number")
    return found


def _is_live(rule: Rule) -> bool:
    return rule.id.startswith(LIVE_RULE)
