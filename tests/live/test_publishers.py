"""Who may publish to a show, and what a publisher who comes or goes does to it, on both stores."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import select

from live import store, timeline
from live.core.auth import Principal, Rank, Role, Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import STREAM_KEYS_MAX
from live.service import Shows
from live.shows import ShowState
from live.store import StreamKey
from tests.live.conftest import bring
from tests.live.recorder import Recorder
from tests.refusals import refused


async def test_a_publisher_puts_an_auto_live_show_on_air_and_leaves_it_there(
    shows: Shows, outlet: Recorder, clock: ManualClock
) -> None:
    await shows.create("demo", "Demo", auto_live=True)
    await shows.publisher_changed("demo", True)
    clock.advance(1)
    await shows.publisher_changed("demo", True)
    await shows.publisher_changed("demo", False)
    show = await shows.get("demo")
    assert (show.state, show.publishing, show.started_at_ms) == (ShowState.live, False, clock.now_ms() - 1000)
    assert [(told.data["state"], told.data["publishing"]) for told in outlet.told] == [("live", True), ("live", False)]


async def test_a_lost_publisher_is_a_slate_on_the_timeline_until_one_is_back(
    shows: Shows, outlet: Recorder, clock: ManualClock
) -> None:
    await shows.create("demo", "Demo", auto_live=True)
    snapshots = [await shows.publisher_changed("demo", True)]
    clock.advance(10)
    lost_at_ms = clock.now_ms()
    for present in (False, False, True):  # told again, a loss stays where it was
        snapshots.append(await shows.publisher_changed("demo", present))
        clock.advance(30)
    assert [(show.slate, show.publisher_lost_at_ms) for show in snapshots] == [
        (False, None), (True, lost_at_ms), (True, lost_at_ms), (False, None),
    ]  # fmt: skip
    assert {show.state for show in snapshots} == {ShowState.live}
    entries = await shows.timeline("demo")
    assert [(entry.at_ms, entry.data["publishing"], entry.data["publisher_lost_at_ms"]) for entry in entries] == [
        (0, True, None), (10_000, False, lost_at_ms), (70_000, True, None),
    ]  # fmt: skip
    seen = await shows.snapshot("demo")
    rebuilt = seen | {"show": timeline.show_view(snapshots[0])}
    for told in outlet.told[1:]:
        rebuilt = timeline.apply(rebuilt, told.name, told.data)
    assert rebuilt == seen


async def test_without_auto_live_the_host_decides(shows: Shows) -> None:
    await bring(shows, ShowState.lobby)
    show = await shows.publisher_changed("demo", True)
    assert (show.state, show.publishing) == (ShowState.lobby, True)


async def test_shows_that_somebody_publishes_to_are_known(shows: Shows) -> None:
    await bring(shows, ShowState.live, "a")
    await bring(shows, ShowState.live, "b")
    await shows.publisher_changed("a", True)
    assert await shows.publishing() == ["a"]
    await shows.publisher_changed("a", False)
    assert await shows.publishing() == []


async def made(shows: Shows, show: str, label: str = "", *, backup: bool = False) -> tuple[StreamKey, str]:
    """A new stream key and its secret."""
    key, secret = await shows.stream_keys.create(show, label, backup=backup)
    assert secret is not None
    return key, secret


async def test_a_stream_key_opens_its_show_until_it_is_revoked(shows: Shows, clock: ManualClock) -> None:
    await bring(shows, ShowState.lobby, "one")
    await bring(shows, ShowState.lobby, "two")
    key, secret = await made(shows, "one", " OBS ")
    assert (key.label, key.created_at_ms, key.revoked_at_ms) == ("OBS", clock.now_ms(), None)
    assert await shows.stream_keys.authorise("one", secret) is Rank.primary
    with refused(Kind.show_forbidden):
        await shows.stream_keys.authorise("two", secret)
    assert await shows.stream_keys.good("one") == [key]
    assert await shows.stream_keys.good("two") == []
    with refused(Kind.unknown_stream_key):
        await shows.stream_keys.revoke("two", key.id)
    await shows.stream_keys.revoke("one", key.id)
    await shows.stream_keys.revoke("one", key.id)
    with refused(Kind.token_invalid):
        await shows.stream_keys.authorise("one", secret)
    assert await shows.stream_keys.good("one") == []
    assert (await shows.stream_keys.get("one", key.id)).revoked_at_ms == clock.now_ms()


async def test_a_backup_key_publishes_with_that_rank(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    key, secret = await made(shows, "demo", "second line", backup=True)
    assert (key.backup, key.rank) == (True, Rank.backup)
    assert await shows.stream_keys.authorise("demo", secret) is Rank.backup
    assert await shows.stream_keys.good("demo") == [key]
    assert await shows.stream_keys.get("demo", key.id) == key


async def test_the_secret_of_a_stream_key_is_not_stored(shows: Shows, database: Database) -> None:
    await shows.create("demo", "Demo")
    _, secret = await made(shows, "demo")
    async with database.read() as conn:
        row = (await conn.execute(select(store.stream_key))).one()
    assert secret not in map(str, row)


async def test_a_stream_key_is_made_once_for_an_idempotency_key(shows: Shows) -> None:
    for show in ("one", "two"):
        await shows.create(show, "A show")
    create = partial(shows.stream_keys.create, key="4711", subject="host")
    both = await asyncio.gather(create("one", "OBS"), create("one", "OBS"))
    (key, secret), (again, nothing) = sorted(both, key=lambda issued: issued.secret is None)
    assert (again, nothing) == (key, None)
    assert await shows.stream_keys.authorise("one", str(secret)) is Rank.primary
    for other in (partial(create, "one", "vMix"), partial(create, "one", "OBS", backup=True)):
        with refused(Kind.key_reused, "Idempotency-Key"):
            await other()
    await shows.stream_keys.revoke("one", key.id)
    assert (await create("one", " OBS")).key.revoked_at_ms is not None, "a key that was revoked is not made anew"
    for more in (create("two", "OBS"), create("one", "OBS", subject="another"), create("one", "OBS", key="4712")):
        assert (await more).secret is not None


async def test_an_unknown_stream_key_is_refused(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    for key_id in ["x", "", "\x00", "\ud800", "é" * 40, "0" * 32]:
        with refused(Kind.unknown_stream_key, "id"):
            await shows.stream_keys.revoke("demo", key_id)
        with refused(Kind.unknown_stream_key, "id"):
            await shows.stream_keys.get("demo", key_id)


async def test_stream_keys_are_bounded(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    keys = [(await shows.stream_keys.create("demo"))[0] for _ in range(STREAM_KEYS_MAX)]
    with refused(Kind.too_many_stream_keys):
        await shows.stream_keys.create("demo")
    await shows.stream_keys.revoke("demo", keys[0].id)
    await shows.stream_keys.create("demo")
    with refused(Kind.invalid_field, "label"):
        await shows.stream_keys.create("demo", "x" * 61)


BEARERS = [
    (Role.host, "demo", None),
    (Role.host, "*", None),
    (Role.ops, "*", None),
    (Role.moderator, "demo", Kind.role_forbidden),
    (Role.viewer, "*", Kind.role_forbidden),
    (Role.host, "other", Kind.show_forbidden),
]


async def test_a_token_may_publish_with_the_role_host(shows: Shows, tokens: Tokens) -> None:
    await shows.create("demo", "Demo")
    for role, show, kind in BEARERS:
        token = tokens.sign(Principal("p", role, show, "P"), 60)
        if kind is None:
            assert await shows.stream_keys.authorise("demo", token) is Rank.primary
        else:
            with refused(kind):
                await shows.stream_keys.authorise("demo", token)


async def test_a_bad_bearer_may_not_publish(shows: Shows, tokens: Tokens, clock: ManualClock) -> None:
    await shows.create("demo", "Demo")
    await shows.stream_keys.authorise("demo", "demo")
    token = tokens.sign(Principal("p", Role.host, "demo", "P"), 60)
    clock.advance(120)
    for bearer, kind in [
        ("", Kind.token_missing),
        ("nonsense", Kind.token_invalid),
        ("ü\u00ff", Kind.token_invalid),
        ("x" * 9000, Kind.token_invalid),
        (token, Kind.token_expired),
        (token[:-2] + "AA", Kind.token_invalid),
    ]:
        with refused(kind):
            await shows.stream_keys.authorise("demo", bearer)


async def test_without_tokens_only_stream_keys_publish(database: Database, clock: ManualClock) -> None:
    shows = Shows(database, Recorder(), clock)
    await shows.create("demo", "Demo")
    _, secret = await made(shows, "demo")
    await shows.stream_keys.authorise("demo", secret)
    with refused(Kind.token_invalid):
        await shows.stream_keys.authorise("demo", "demo")
    with refused(Kind.unknown_product):
        await shows.set_lineup("demo", ["a"])


@pytest.mark.parametrize("state", [ShowState.ended, ShowState.replayable])
async def test_nobody_publishes_to_a_show_that_is_over(shows: Shows, state: ShowState) -> None:
    ended: list[str] = []
    shows.when_over = ended.append
    await shows.create("other", "Other")
    await bring(shows, state)
    assert set(ended) == {"demo"}
    await shows.check_open("other")
    with refused(Kind.illegal_transition):
        await shows.check_open("demo")
    with refused(Kind.unknown_show):
        await shows.check_open("nobody")
    _, secret = await made(shows, "demo")
    await shows.stream_keys.authorise("demo", secret)  # to give back a session that it still has
