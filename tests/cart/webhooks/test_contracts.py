"""What is sent for each event is recorded, and documented: whoever changes it changes a promise.

After a change that is meant: SHOWCART_TEST_RECORD=1 pytest tests/cart/webhooks/test_contracts.py
"""

import os
import re
from pathlib import Path

import orjson
import pytest

from cart.webhooks import events
from live.core.codec import plain
from tests.cart.ordering import samples
from tests.cart.webhooks.facts import FACTS

_RECORDED = Path(__file__).parent / "contracts"
_PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"


def test_every_type_has_an_example() -> None:
    assert list(FACTS) == list(events.KINDS)
    assert {path.stem for path in _RECORDED.glob("*.json")} == set(FACTS)


@pytest.mark.parametrize("type_", FACTS)
def test_what_is_sent_is_what_was_promised(type_: str) -> None:
    made = events.message(type_, FACTS[type_], FACTS[type_].get("show"))
    sent = orjson.loads(events.body(type_, 1_800_000_000_000, made.show, made.data))
    path = _RECORDED / f"{type_}.json"
    if os.environ.get("SHOWCART_TEST_RECORD"):
        path.write_bytes(orjson.dumps(sent, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    assert sent == orjson.loads(path.read_bytes())


def test_orders_have_what_their_messages_say() -> None:
    order = samples.order(samples.line("CUP"), samples.line("MUG"), shipping_minor=490)
    told = events.message("order.placed", plain(order), order.show).data
    assert told["total_minor"] == sum(line["line_minor"] for line in told["lines"]) + told["shipping_minor"]
    assert [line["sku"] for line in told["lines"]] == ["CUP", "MUG"]


def test_the_page_shows_every_type_as_it_is_sent() -> None:
    page = _PAGE.read_text()
    told = re.findall(r"^### `(.+?)`$.*?^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [type_ for type_, _ in told] == list(events.KINDS)
    for type_, example in told:
        assert orjson.loads(example) == orjson.loads((_RECORDED / f"{type_}.json").read_bytes()), type_
        assert events.KINDS[type_].meaning in page
