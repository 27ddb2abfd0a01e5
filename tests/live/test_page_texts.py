"""The texts of the pages: both languages say the same, every text exists and every one is used."""

import itertools
import json
import re

import pytest

from tests.live.web import PAGES, SCRIPTS, WEB, Markup, modules, text

FURTHER = {
    "studio.html": "staff",
    "ops.html": "ops",
    "window.html": "window",
    "missing.html": "window",
    "withdraw.html": "withdraw",
    "rules.html": "rules",
    "shipping.html": "later",
    "watch.html": "later",  # after the first paint
}


def texts(name: str) -> dict[str, str]:
    """A file of texts; a key that stands there twice is an error."""

    def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"{name}: {[key for key in keys if keys.count(key) > 1]}"
        return dict(pairs)

    found: dict[str, str] = json.loads(text(f"text/{name}.json"), object_pairs_hook=once)
    return found


@pytest.mark.parametrize("name", ["", ".staff", ".ops", ".window", ".later", ".withdraw", ".rules", ".errors"])
def test_german_and_english_say_the_same_things(name: str) -> None:
    english, german = texts(f"en{name}"), texts(f"de{name}")
    assert list(english) == list(german)
    for key, value in english.items():
        assert value.strip(), key
        assert german[key].strip(), key
        assert set(re.findall(r"\{\w+\}", value)) == set(re.findall(r"\{\w+\}", german[key])), key


def used_keys(source: str) -> tuple[set[str], set[str]]:
    """Keys that stand in `t("…")`, and the beginnings of those that are put together."""
    nested = re.findall(r"\bt\((`[^`]*`)\)", source)  # one may stand inside another call
    calls = nested + re.findall(r"\b(?:t|has)\(((?:[^()]|\([^()]*\))*)\)", source)
    exact: set[str] = set()
    begun: set[str] = set()
    for call in calls:
        first = call.split(", {")[0]
        exact |= {key for key in re.findall(r'"([a-zA-Z]+(?:\.[\w.-]+)?)"', re.sub(r'[!=]== "[^"]*"', "", first))}
        begun |= {prefix for prefix in re.findall(r"`([a-z]+\.(?:\w+\.)?)\$\{", first)}
    return exact, begun


@pytest.mark.parametrize("page", PAGES)
def test_every_text_that_a_page_uses_exists(page: str) -> None:
    known = texts("en") | texts("en.errors") | texts(f"en.{FURTHER[page]}")
    bases = {re.sub(r"\.(one|other)$", "", key) for key in known} | set(known)
    markup = Markup(text(page))
    assert markup.keys <= bases
    entry = next(WEB / url.removeprefix("/static/") for url in markup.references if url.endswith(f"/{page[:-5]}.js"))
    for path in modules(entry, lazy=True):
        exact, begun = used_keys(path.read_text())
        assert exact <= bases, f"{path.name}: {exact - bases}"
        for prefix in begun:
            assert any(key.startswith(prefix) for key in known), f"{path.name}: {prefix}"


def test_every_text_is_used() -> None:
    sources = "".join([*(path.read_text() for path in SCRIPTS), *map(text, PAGES)])
    exact, begun = used_keys(sources)
    exact |= set(itertools.chain.from_iterable(Markup(text(page)).keys for page in PAGES))
    for key in (
        texts("en")
        | texts("en.later")
        | texts("en.staff")
        | texts("en.ops")
        | texts("en.window")
        | texts("en.withdraw")
        | texts("en.rules")
        | texts("en.errors")
    ):
        base = re.sub(r"\.(one|other)$", "", key)
        assert key in exact or base in exact or f'"{base}"' in sources or key.startswith(tuple(begun)), key


def test_the_order_button_says_what_the_law_asks_for() -> None:
    assert texts("de.later")["checkout.order"] == "zahlungspflichtig bestellen"
    assert texts("en.later")["checkout.order"] == "Order with obligation to pay"
