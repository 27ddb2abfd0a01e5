"""The pages: headers, caching, texts, sizes; and the pages' own logic, run by node."""

import gzip
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from live import pages
from live.core.errors import Problem
from live.core.settings import Settings

WEB = pages.WEB
PAGES = ("window.html", "watch.html", "studio.html", "ops.html", "missing.html")
URLS = {"/": "window", "/watch/demo": "watch", "/studio/demo": "studio", "/ops": "ops"}
SCRIPTS = sorted(WEB.rglob("*.js"))
STYLES = sorted(WEB.rglob("*.css"))
FURTHER = {
    "studio.html": "staff",
    "ops.html": "staff",
    "window.html": "window",
    "missing.html": "window",
    "watch.html": "later",  # after the first paint
}
PRODUCTS = (
    "espresso-cup", "linen-throw", "walnut-board", "field-lamp", "wool-beanie", "canvas-tote", "ceramic-vase",
    "trail-bottle",
)  # fmt: skip
METRICS = ("live/core", "live/realtime", "stream")
FIRST_PAINT_BYTES_MAX = 100_000
LINES_MAX = 400


def settings(**values: object) -> Settings:
    return Settings(secret="a secret of the tests", **values)  # type: ignore[arg-type]


@pytest.fixture
def site() -> Starlette:
    """The pages as an application; it reads its files, which nobody may do on the event loop."""
    given = settings(picture_origins=("https://pictures.shop.example",))
    missing = pages.Missing(given)

    async def not_found(request: Request, error: Exception) -> Response:
        return missing(request) or Response("{}", 404, media_type="application/problem+json")

    return Starlette(routes=pages.routes(given), exception_handlers={404: not_found, Problem: not_found})


@pytest.fixture
async def browser(site: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://shop.example:8000") as client:
        yield client


def text(name: str) -> str:
    return (WEB / name).read_text()


def texts(name: str) -> dict[str, str]:
    """A file of texts; a key that stands there twice is an error."""

    def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"{name}: {[key for key in keys if keys.count(key) > 1]}"
        return dict(pairs)

    found: dict[str, str] = json.loads(text(f"text/{name}.json"), object_pairs_hook=once)
    return found


class Markup(HTMLParser):
    """What a page refers to and uses."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.keys: set[str] = set()
        self.inline: list[str] = []
        self.ids: list[str] = []
        self._script = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.references += [values[name] for name in ("src", "href") if name in values]
        self.keys |= {values[name] for name in ("data-text", "data-label", "data-hint") if name in values}
        self.ids += [values["id"]] if "id" in values else []
        self.inline += [f"{tag} {name}" for name in values if name == "style" or name.startswith("on")]
        self._script = tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._script = False


def modules(entry: Path, *, lazy: bool = False) -> set[Path]:
    """`entry` and what it imports, statically; with `lazy`, also what it imports later."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        source = path.read_text()
        names = re.findall(r'^import (?:[^"]*? from )?"([^"]+)";', source, re.M)
        if lazy:
            names += re.findall(r'import\("([^"]+)"\)', source)
        waiting += [(path.parent / name).resolve() for name in names]
    return found


# --- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", URLS)
async def test_a_page_allows_nothing_foreign_and_nothing_inline(browser: httpx.AsyncClient, url: str) -> None:
    answer = await browser.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: https://pictures.shop.example",
        "media-src": "'self' blob:",
        "connect-src": "'self' ws://shop.example:8000 wss://shop.example:8000",
        "font-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("url", "who"), [("/", "()"), ("/watch/demo", "()"), ("/studio/demo", "(self)"), ("/ops", "()")]
)
async def test_only_the_studio_may_ask_for_camera_microphone_and_screen(
    browser: httpx.AsyncClient, url: str, who: str
) -> None:
    permissions = (await browser.get(url)).headers["permissions-policy"].split(", ")
    assert {f"camera={who}", f"microphone={who}", f"display-capture={who}"} <= set(permissions)


@pytest.mark.parametrize(
    ("host", "sockets"),
    [
        ("shop.example", " ws://shop.example wss://shop.example"),
        ("127.0.0.1:8000", " ws://127.0.0.1:8000 wss://127.0.0.1:8000"),
        ("[::1]:8000", " ws://[::1]:8000 wss://[::1]:8000"),
        ("", ""),
        ("evil; script-src *", ""),
        ("evil *", ""),
    ],
)
def test_the_host_header_cannot_widen_the_policy(host: str, sockets: str) -> None:
    assert f"connect-src 'self'{sockets};" in pages.policy(settings(), host)


async def test_a_file_is_sent_again_only_when_it_changed(browser: httpx.AsyncClient) -> None:
    first = await browser.get("/static/js/watch.js", headers={"Accept-Encoding": "identity"})
    assert first.content == (WEB / "js/watch.js").read_bytes()
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
        again = await browser.get(
            "/static/js/watch.js", headers={"Accept-Encoding": "identity", "If-None-Match": known}
        )
        assert (again.status_code, again.content) == (304, b"")
    stale = await browser.get("/static/js/watch.js", headers={"If-None-Match": '"other"'})
    assert stale.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip, br", True), ("*", True), ("br;q=1, gzip;q=0.5", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
async def test_a_browser_gets_the_compression_it_takes(browser: httpx.AsyncClient, accepted: str, packed: bool) -> None:
    request = browser.build_request("GET", "/static/js/watch.js", headers={"Accept-Encoding": accepted})
    answer = await browser.send(request, stream=True)
    raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert ("content-encoding" in answer.headers) == packed
    assert answer.headers["etag"].endswith('-gzip"') == packed
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (gzip.decompress(raw) if packed else raw) == (WEB / "js/watch.js").read_bytes()


async def test_pictures_are_kept_and_run_nothing(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/static/pictures/espresso-cup.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_head_has_the_headers_only(browser: httpx.AsyncClient) -> None:
    answer = await browser.head("/watch/demo")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "path", ["nothing.js", "watch.html", "../pages.py", "..%2fpages.py", "js/../../pages.py", "js", "", "text/%00"]
)
async def test_nothing_else_is_public(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(f"/static/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_reader_gets_a_friendly_page_and_a_program_a_problem(browser: httpx.AsyncClient) -> None:
    reader = {"Accept": "text/html,application/xhtml+xml"}
    page = await browser.get("/nowhere", headers=reader)
    assert page.status_code == 404
    assert 'data-testid="missing"' in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    for request in (
        browser.build_request("GET", "/nowhere", headers={"Accept": "application/json"}),
        browser.build_request("GET", "/api/nowhere", headers=reader),
        browser.build_request("POST", "/nowhere", headers=reader),
    ):
        answer = await browser.send(request)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


# --- what the files refer to ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
async def test_what_a_page_refers_to_exists(browser: httpx.AsyncClient, page: str) -> None:
    markup = Markup(text(page))
    assert markup.inline == []
    assert len(markup.ids) == len(set(markup.ids))
    for url in markup.references:
        if not url.startswith("#"):
            assert (await browser.get(url)).status_code == 200, url
        else:
            assert url[1:] in markup.ids


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_a_heading_for_everybody(page: str) -> None:
    headings = re.findall(r"<h1[^>]*>", text(page))
    assert headings
    assert not any("visually-hidden" in heading for heading in headings)


def test_what_a_script_imports_exists() -> None:
    for path in set().union(*(modules(script, lazy=True) for script in SCRIPTS)):
        assert path.is_file(), path


async def test_what_a_script_mentions_exists(browser: httpx.AsyncClient) -> None:
    for script in SCRIPTS:
        for url in re.findall(r'"(/static/[^"]+)"', script.read_text()):
            assert (await browser.get(url)).status_code == 200, f"{script.name}: {url}"


def test_the_ops_page_asks_for_figures_that_exist() -> None:
    told = "".join(path.read_text() for part in METRICS for path in (WEB.parents[1] / part).rglob("*.py"))
    script = (WEB / "js/ops.js").read_text()
    for name in re.findall(r'"(showcart_\w+?)(?:_total)?"', script):
        assert f'"{name}"' in told, name
    for what in [
        *re.findall(r'what: "(\w+)"', script),
        *re.findall(r'"(\w+)"', script.split("DROPPED = ")[1].split("]")[0]),
    ]:
        assert f'"{what}"' in told, what


def test_every_script_and_style_is_used() -> None:
    entries = {
        WEB / url.removeprefix("/static/")
        for page in PAGES
        for url in Markup(text(page)).references
        if url.startswith("/static/")
    }
    used = set(itertools.chain.from_iterable(modules(path, lazy=True) for path in entries if path.suffix == ".js"))
    assert set(SCRIPTS) == used
    late = {WEB / url for script in SCRIPTS for url in re.findall(r'"/static/(css/[^"]+)"', script.read_text())}
    assert set(STYLES) == late | {path for path in entries if path.suffix == ".css"}


def test_every_module_of_the_first_paint_is_loaded_at_once() -> None:
    preloaded = {
        WEB / url.removeprefix("/static/") for url in Markup(text("watch.html")).references if url.endswith(".js")
    }
    assert modules(WEB / "js/watch.js") == preloaded


def test_every_product_of_the_demo_has_a_picture() -> None:
    for product in PRODUCTS:
        assert "<svg" in text(f"pictures/{product}.svg")


def test_no_file_names_a_foreign_address() -> None:
    for path in WEB.rglob("*.*"):
        foreign = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text())) - {"http://www.w3.org"}
        assert not foreign, f"{path.name}: {foreign}"


def test_nothing_goes_around_the_content_security_policy() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style\""
    for path in SCRIPTS:
        assert not re.search(forbidden, path.read_text()), path.name
    for path in (WEB / "pictures").iterdir():
        assert not re.search(r"<script|<style|style=|href=|<foreignObject", path.read_text()), path.name


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".staff", ".window", ".later"])
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
    known = texts("en") | texts(f"en.{FURTHER[page]}")
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
    sources = "".join(path.read_text() for path in [*SCRIPTS, *(WEB / page for page in PAGES)])
    exact, begun = used_keys(sources)
    exact |= set(itertools.chain.from_iterable(Markup(text(page)).keys for page in PAGES))
    for key in texts("en") | texts("en.later") | texts("en.staff") | texts("en.window"):
        base = re.sub(r"\.(one|other)$", "", key)
        assert key in exact or base in exact or f'"{base}"' in sources or key.startswith(tuple(begun)), key


def test_the_order_button_says_what_the_law_asks_for() -> None:
    assert texts("de.later")["checkout.order"] == "zahlungspflichtig bestellen"
    assert texts("en.later")["checkout.order"] == "Order with obligation to pay"


# --- budgets and manners ----------------------------------------------------------------------------------------------


def test_the_watch_page_paints_with_less_than_100_kb_of_our_code() -> None:
    first = {
        WEB / url.removeprefix("/static/")
        for url in Markup(text("watch.html")).references
        if url.startswith("/static/")
    }
    files = {WEB / "watch.html", *first, *modules(WEB / "js/watch.js")}
    for language in ("en", "de"):
        sizes = {path: path.stat().st_size for path in {*files, WEB / f"text/{language}.json"}}
        assert sum(sizes.values()) < FIRST_PAINT_BYTES_MAX, f"{language}: {sum(sizes.values())}"


def test_a_file_stays_small() -> None:
    for path in (*SCRIPTS, *STYLES):
        assert len(path.read_text().splitlines()) < LINES_MAX, path.name


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast_in_both_themes(theme: int) -> None:
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text("css/tokens.css"))
    token = {name: (light, dark)[theme] for name, light, dark in pairs}
    grounds = ("bg", "surface", "raised")
    words = [
        *itertools.product(("text", "muted", "danger"), grounds),
        *itertools.product(("accent", "success", "warning"), ("bg", "surface")),
        ("on-accent", "accent"), ("on-accent", "accent-strong"), ("on-danger", "danger"),
        *((name, f"{name}-soft") for name in ("accent", "danger", "success", "warning")),
        *(("text", f"{name}-soft") for name in ("accent", "danger", "success", "warning")),
    ]  # fmt: skip
    for front, back in words:
        assert contrast(token[front], token[back]) >= 4.5, f"{front} on {back}"
    for ground in grounds:
        assert contrast(token["line-strong"], token[ground]) >= 3.0, f"an input's border on {ground}"


def test_motion_can_be_switched_off() -> None:
    assert "prefers-reduced-motion" in text("css/tokens.css")
    for path in STYLES:
        for duration in re.findall(r"(?:transition|animation):[^;]*?(\d+)ms", path.read_text()):
            assert int(duration) <= 200 or "linear" in path.read_text(), path.name


# --- the pages' logic ---------------------------------------------------------------------------------------------


def test_the_logic_of_the_pages() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the scripts' own tests (tests/live/js) were not run")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in version[1:].split(".")[:2]) < (20, 19):
        pytest.skip(f"node {version} does not read .js as modules by itself; 20.19 is needed for tests/live/js")
    files = sorted(map(str, (Path(__file__).parent / "js").glob("*.test.mjs")))
    run = subprocess.run([node, "--test", *files], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
