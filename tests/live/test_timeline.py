"""The show's clock and the reducer: what one event does to a screen."""

import copy
from typing import Any

import pytest

from live import timeline
from live.shows import Show, ShowState
from live.timeline import Pin


def product(id_: str, available: int = 5, title: str = "Thing") -> dict[str, Any]:
    variants = [{"sku": f"{id_}-s", "available": available}, {"sku": f"{id_}-m", "available": available}]
    return {"id": id_, "title": title, "variants": variants}


def message(id_: str, viewer: str = "v1") -> dict[str, Any]:
    return {"id": id_, "viewer": {"id": viewer, "name": viewer, "role": "viewer"}, "text": id_}


@pytest.fixture
def snapshot() -> timeline.Snapshot:
    show = Show(id="demo", title="Demo", state=ShowState.lobby, created_at_ms=1)
    pin = timeline.pin_view(Pin(id="p1", product_id="a", pinned_at_ms=5), product("a"))
    chat = {"messages": [message("01"), message("03", "v2")], "slow_s": 0}
    return timeline.compose(show, [product("a"), product("b")], pin) | {"chat": chat, "viewers": 3}


def available(snapshot: timeline.Snapshot) -> dict[str, int]:
    return {variant["sku"]: variant["available"] for item in snapshot["lineup"] for variant in item["variants"]}


@pytest.mark.parametrize(
    ("started", "ended", "now", "clock"),
    [(None, None, 500, 0), (100, None, 100, 0), (100, None, 350, 250), (100, 300, 350, 200), (100, None, 50, 0)],
)
def test_the_clock_starts_on_air_and_stops_at_the_end(
    started: int | None, ended: int | None, now: int, clock: int
) -> None:
    assert timeline.show_clock(started, ended, now) == clock


def test_the_view_of_a_show_is_plain(snapshot: timeline.Snapshot) -> None:
    assert snapshot["show"] == {
        "id": "demo", "title": "Demo", "state": "lobby", "created_at_ms": 1, "scheduled_at_ms": None,
        "started_at_ms": None, "ended_at_ms": None, "publishing": False, "auto_live": False,
        "publisher_lost_at_ms": None,
    }  # fmt: skip


def test_an_unknown_event_changes_nothing(snapshot: timeline.Snapshot) -> None:
    assert timeline.apply(snapshot, "poll.opened", {"id": "x"}) is snapshot
    assert timeline.apply_state(snapshot, "hearts", {"count": 1}) is snapshot


def test_the_state_is_replaced(snapshot: timeline.Snapshot) -> None:
    after = timeline.apply(snapshot, "show.state", {"state": "live", "started_at_ms": 9})
    assert (after["show"]["state"], after["show"]["started_at_ms"], after["show"]["title"]) == ("live", 9, "Demo")


def test_a_new_lineup_also_renews_the_pinned_product(snapshot: timeline.Snapshot) -> None:
    lineup = [product("b"), product("a", title="Better")]
    after = timeline.apply(snapshot, "show.lineup", {"lineup": lineup})
    assert after["lineup"] == lineup
    assert after["pin"] == {"pin_id": "p1", "product": lineup[1], "pinned_at_ms": 5}


def test_a_pin_replaces_the_one_before(snapshot: timeline.Snapshot) -> None:
    pin = {"pin_id": "p2", "product": product("b", 1), "pinned_at_ms": 6}
    after = timeline.apply(snapshot, "product.pinned", pin)
    assert after["pin"] == pin
    assert available(after)["b-s"] == 1


def test_only_the_present_pin_is_taken_down(snapshot: timeline.Snapshot) -> None:
    assert timeline.apply(snapshot, "product.unpinned", {"pin_id": "p0"}) == snapshot
    bare = timeline.apply(snapshot, "product.unpinned", {"pin_id": "p1"})
    assert bare["pin"] is None
    assert timeline.apply(bare, "product.unpinned", {"pin_id": "p1"}) == bare


def test_a_changed_product_changes_wherever_it_stands(snapshot: timeline.Snapshot) -> None:
    changed = product("a", title="New")
    after = timeline.apply(snapshot, "product.changed", {"product": changed})
    assert after["lineup"][0] == after["pin"]["product"] == changed
    other = timeline.apply(snapshot, "product.changed", {"product": product("b", title="New")})
    assert other["pin"] == snapshot["pin"]
    assert timeline.apply(snapshot, "product.changed", {"product": product("z")}) == snapshot


def test_stock_changes_wherever_the_sku_stands(snapshot: timeline.Snapshot) -> None:
    after = timeline.apply(snapshot, "product.sold_out", {"sku": "a-s"})
    assert available(after) == {"a-s": 0, "a-m": 5, "b-s": 5, "b-m": 5}
    assert after["pin"]["product"]["variants"][0]["available"] == 0
    after = timeline.apply(after, "product.restocked", {"sku": "a-s", "available": 2})
    assert available(after)["a-s"] == 2
    unpinned = timeline.apply(after, "product.unpinned", {"pin_id": "p1"})
    after = timeline.apply_state(unpinned, "stock", {"sku": "b-m", "available": 4})
    assert available(after) == {"a-s": 2, "a-m": 5, "b-s": 5, "b-m": 4}


def test_a_price_changes_wherever_the_sku_stands(snapshot: timeline.Snapshot) -> None:
    price = {"price_minor": 800, "deal": None}
    after = timeline.apply(snapshot, "product.price", {"product_id": "a", "sku": "a-s"} | price)
    changed = {"sku": "a-s", "available": 5} | price
    assert after["pin"]["product"]["variants"][0] == after["lineup"][0]["variants"][0] == changed
    assert after["lineup"][1] == snapshot["lineup"][1]
    assert timeline.apply(after, "product.price", {"product_id": "z", "sku": "z-s"} | price) == after


def test_nothing_is_pinned_in_a_show_that_is_over() -> None:
    pin = Pin(id="p1", product_id="a", pinned_at_ms=5)
    for state, sold in ((ShowState.lobby, pin), (ShowState.paused, pin), (ShowState.ended, None)):
        show = Show(id="demo", title="Demo", state=state, created_at_ms=1)
        assert timeline.selling(show, pin) == sold
        assert timeline.selling(show, None) is None


def test_the_viewers_are_counted(snapshot: timeline.Snapshot) -> None:
    assert timeline.apply_state(snapshot, "viewers", {"count": 8})["viewers"] == 8
    assert timeline.apply_state(snapshot, "reactions", {"heart": 2})["reactions"] == {"heart": 2}


def test_messages_stand_in_the_order_of_their_ids_and_once(snapshot: timeline.Snapshot) -> None:
    after = timeline.apply(snapshot, "chat.message", message("02"))
    after = timeline.apply(after, "chat.message", message("02"))
    assert [item["id"] for item in after["chat"]["messages"]] == ["01", "02", "03"]


def test_messages_go(snapshot: timeline.Snapshot) -> None:
    after = timeline.apply(snapshot, "chat.deleted", {"id": "01"})
    assert [item["id"] for item in after["chat"]["messages"]] == ["03"]
    after = timeline.apply(snapshot, "chat.cleared", {"viewer_id": "v2"})
    assert [item["id"] for item in after["chat"]["messages"]] == ["01"]


def test_slow_mode_is_kept_beside_the_messages(snapshot: timeline.Snapshot) -> None:
    after = timeline.apply(snapshot, "chat.mode", {"slow_s": 30})
    assert after["chat"] == snapshot["chat"] | {"slow_s": 30}


def test_nothing_is_changed_in_place(snapshot: timeline.Snapshot) -> None:
    before = copy.deepcopy(snapshot)
    events: list[tuple[str, dict[str, Any]]] = [
        ("show.state", {"state": "live"}),
        ("show.lineup", {"lineup": [product("a", 1)]}),
        ("product.pinned", {"pin_id": "p2", "product": product("b"), "pinned_at_ms": 6}),
        ("product.changed", {"product": product("a", 9)}),
        ("product.sold_out", {"sku": "a-s"}),
        ("chat.message", message("09")),
        ("chat.cleared", {"viewer_id": "v1"}),
        ("chat.mode", {"slow_s": 1}),
    ]
    for name, data in events:
        timeline.apply(snapshot, name, data)
        assert snapshot == before
