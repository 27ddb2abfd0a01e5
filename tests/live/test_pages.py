"""What the server sends with a page: policies, caching, compression, and an answer for what is not there."""

import gzip

import httpx
import pytest

from live import pages
from tests.live.conftest import settings
from tests.live.web import WEB

URLS = {
    "/": "window", "/watch/demo": "watch", "/studio/demo": "studio", "/ops": "ops", "/withdraw": "withdraw",
    "/shipping": "shipping", "/prices": "rules",
}  # fmt: skip


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


READER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.mark.parametrize("path", ["/watch/%FF", "/watch/%E0%A4%A", "/studio/%FF", "/watch/Demo", "/watch/%00"])
async def test_what_cannot_be_a_show_is_told_to_be_none(browser: httpx.AsyncClient, path: str) -> None:
    page = await browser.get(path, headers=READER)
    assert page.status_code == 404
    assert 'data-testid="missing"' in page.text


async def test_a_reader_gets_a_friendly_page_and_a_program_a_problem(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/nowhere", headers=READER)
    assert page.status_code == 404
    assert 'data-testid="missing"' in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    for request in (
        browser.build_request("GET", "/nowhere", headers={"Accept": "application/json"}),
        browser.build_request("GET", "/api/nowhere", headers=READER),
        browser.build_request("POST", "/nowhere", headers=READER),
    ):
        answer = await browser.send(request)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
