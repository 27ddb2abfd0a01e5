"""A show's clock, its events, and the snapshot that the events bring up to date.

The clock stands at 0 until the show is live for the first time, runs through pauses (a viewer's replay pauses for
nobody), and stops when the show ends. Every event carries `at_ms` on it.

`apply(snapshot, name, data)` is the one definition of what an event does to a screen; the pages' reducer mirrors it
line by line (`docs/protocol.md`). Every event's data is absolute ("the pin is X", never "the next pin"), so applying
one twice does no harm, and what holds is:

    apply(… apply(snapshot at offset n, event n+1) …, event m)  ==  snapshot at offset m

with two bounds: the list of messages reaches further back on a screen that was there longer (compare from the
younger of the two first messages on), and what states carry (`viewers`, `stock`, `left`) is as new as the newest state.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from live.core.codec import plain
from live.shows import OVER, Show

Snapshot = dict[str, Any]
Product = dict[str, Any]


class Pin(msgspec.Struct, frozen=True):
    """A product on screen since `pinned_at_ms` (Unix milliseconds)."""

    id: str
    product_id: str
    pinned_at_ms: int


class Entry(msgspec.Struct, frozen=True):
    """Something that happened in a show, as it was told to the screens. `seq` counts up by one per show."""

    seq: int
    at_ms: int
    name: str
    data: dict[str, Any]


def show_clock(started_at_ms: int | None, ended_at_ms: int | None, now_ms: int) -> int:
    """Milliseconds on a show's clock at the Unix time `now_ms`. None: it did not start, or did not end."""
    if started_at_ms is None:
        return 0
    return max(0, (now_ms if ended_at_ms is None else min(now_ms, ended_at_ms)) - started_at_ms)


def selling(show: Show, pin: Pin | None) -> Pin | None:
    """The pin as prices see it: of a show that is over, nothing is pinned."""
    return None if show.state in OVER else pin


def show_view(show: Show) -> dict[str, Any]:
    """The show as screens see it: the snapshot's `show`, and the data of the event `show.state`."""
    view: dict[str, Any] = plain(show)
    return view


def pin_view(pin: Pin, product: Product) -> dict[str, Any]:
    """The pin as screens see it: the snapshot's `pin`, and the data of the event `product.pinned`."""
    return {"pin_id": pin.id, "product": product, "pinned_at_ms": pin.pinned_at_ms}


def compose(show: Show, lineup: list[Product], pin: dict[str, Any] | None) -> Snapshot:
    """The show's part of a snapshot; `lineup` and `pin` hold whole products."""
    return {"show": show_view(show), "lineup": lineup, "pin": pin}


def apply(snapshot: Snapshot, name: str, data: Mapping[str, Any]) -> Snapshot:
    """`snapshot` after one event; a name that is not known changes nothing (a newer server may tell more)."""
    reduce = _EVENTS.get(name)
    return snapshot if reduce is None else reduce(snapshot, data)


def apply_state(snapshot: Snapshot, name: str, data: Mapping[str, Any]) -> Snapshot:
    """`snapshot` after a state message: `viewers`, `stock`, `drop` and `reactions`; others are not in the snapshot."""
    if name == "viewers":
        return snapshot | {"viewers": data["count"]}
    if name == "reactions":
        return snapshot | {"reactions": dict(data)}
    if name == "stock":
        return _with_stock(snapshot, data["sku"], data["available"])
    return _drop_left(snapshot, data) if name == "drop" else snapshot


def _show_state(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    return snapshot | {"show": snapshot["show"] | dict(data)}


def _lineup(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    snapshot = snapshot | {"lineup": list(data["lineup"])}
    for product in snapshot["lineup"]:
        snapshot = _with_pinned(snapshot, product)
    return snapshot


def _pinned(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    return _with_product(snapshot | {"pin": dict(data)}, data["product"])


def _unpinned(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    pin = snapshot["pin"]
    # An older pin's end, applied again, must not take a newer pin off the screen.
    return snapshot if pin is None or pin["pin_id"] != data["pin_id"] else snapshot | {"pin": None}


def _changed(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    return _with_product(snapshot, data["product"])


def _priced(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    price = {name: data[name] for name in data if name not in ("product_id", "sku")}
    return _with_variant(snapshot, data["sku"], price)


def _sold_out(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    return _with_stock(snapshot, data["sku"], 0)


def _restocked(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    return _with_stock(snapshot, data["sku"], data["available"])


def _with_pinned(snapshot: Snapshot, product: Product) -> Snapshot:
    """`snapshot` with `product` in the pin, when it is the pinned one."""
    pin = snapshot["pin"]
    if pin is None or pin["product"]["id"] != product["id"]:
        return snapshot
    return snapshot | {"pin": pin | {"product": product}}


def _with_product(snapshot: Snapshot, product: Product) -> Snapshot:
    """`snapshot` with `product` wherever the product of this id stands."""
    lineup = [product if item["id"] == product["id"] else item for item in snapshot["lineup"]]
    return _with_pinned(snapshot | {"lineup": lineup}, product)


def _with_stock(snapshot: Snapshot, sku: str, available: int) -> Snapshot:
    """`snapshot` with `available` units of `sku` wherever it stands."""
    return _with_variant(snapshot, sku, {"available": available})


def _with_variant(snapshot: Snapshot, sku: str, members: Mapping[str, Any]) -> Snapshot:
    """`snapshot` with other `members` of the variant `sku` wherever it stands."""

    def changed(product: Product) -> Product:
        variants = [variant | members if variant["sku"] == sku else variant for variant in product["variants"]]
        return product | {"variants": variants}

    snapshot = snapshot | {"lineup": [changed(product) for product in snapshot["lineup"]]}
    pin = snapshot["pin"]
    return snapshot if pin is None else snapshot | {"pin": pin | {"product": changed(pin["product"])}}


def _drop(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    drops = [drop for drop in snapshot.get("drops", []) if drop["sku"] != data["sku"]]
    if data["drop"] is not None:
        drops.append(data["drop"])
    return snapshot | {"drops": sorted(drops, key=lambda drop: str(drop["id"]))}


def _drop_left(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    """`snapshot` with what is `left` of the drop of a SKU, if there is one."""
    drops = snapshot.get("drops", [])
    return snapshot | {
        "drops": [drop | {"left": data["left"]} if drop["sku"] == data["sku"] else drop for drop in drops]
    }


def _message(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    others = [message for message in snapshot["chat"]["messages"] if message["id"] != data["id"]]
    # Ids are ordered by time, so two messages that crossed on their way stand in the order of the log.
    return _with_messages(snapshot, sorted([*others, dict(data)], key=lambda message: str(message["id"])))


def _deleted(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    messages = snapshot["chat"]["messages"]
    return _with_messages(snapshot, [message for message in messages if message["id"] != data["id"]])


def _cleared(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    messages = snapshot["chat"]["messages"]
    return _with_messages(snapshot, [message for message in messages if message["viewer"]["id"] != data["viewer_id"]])


def _mode(snapshot: Snapshot, data: Mapping[str, Any]) -> Snapshot:
    return snapshot | {"chat": snapshot["chat"] | dict(data)}


def _with_messages(snapshot: Snapshot, messages: list[dict[str, Any]]) -> Snapshot:
    return snapshot | {"chat": snapshot["chat"] | {"messages": messages}}


_EVENTS: dict[str, Callable[[Snapshot, Mapping[str, Any]], Snapshot]] = {
    "show.state": _show_state,
    "show.lineup": _lineup,
    "product.pinned": _pinned,
    "product.unpinned": _unpinned,
    "product.changed": _changed,
    "product.price": _priced,
    "product.sold_out": _sold_out,
    "product.restocked": _restocked,
    "drop.changed": _drop,
    "chat.message": _message,
    "chat.deleted": _deleted,
    "chat.cleared": _cleared,
    "chat.mode": _mode,
}
