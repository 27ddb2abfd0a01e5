"""The pages and their static files: read once, compressed once, answered from memory.

There is no build step: the files under `live/web` are what a browser gets, the pages put into their frame when the
process starts. A page is static; everything in it comes over the API and the show's socket. The content security policy
allows no inline code and no foreign request.
"""

import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from live.core import rest
from live.core.errors import Kind, Problem
from live.core.settings import Settings
from live.shows import is_show_id

WEB = Path(__file__).parent / "web"
TYPES = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".svg": "image/svg+xml",
    }
)
FOLDERS = ("css", "js", "text", "pictures")  # what is public under /static/
APIS = ("/api/", "/ws/", "/whip/", "/whep/", "/static/")  # they answer programs, not readers

_REVALIDATE = "no-cache"  # code of one version must not meet code of another
_KEPT = "public, max-age=3600"
_COMPRESS_BYTES_MIN = 512
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent: plain and compressed, each with its strong ETag."""

    plain: bytes
    packed: bytes
    etag: str
    media_type: str
    cache_control: str


def read(path: Path, cache_control: str) -> File:
    """The file at `path`, ready to be sent."""
    return _pack(path.read_bytes(), path.suffix, cache_control)


def draw(name: str, cache_control: str) -> File:
    """The page `name` (such as "watch.html") in its frame, ready to be sent."""
    page = _environment().get_template(name).render(page=name.removesuffix(".html"))
    return _pack(page.encode(), ".html", cache_control)


def _pack(content: bytes, suffix: str, cache_control: str) -> File:
    packed = gzip.compress(content, 9, mtime=0) if len(content) >= _COMPRESS_BYTES_MIN else b""
    etag = hashlib.blake2b(content, digest_size=9).hexdigest()
    return File(content, packed, etag, TYPES[suffix], cache_control)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(WEB), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip


def static_files(root: Path = WEB) -> dict[str, File]:
    """Every public file by its path below /static/."""
    return {
        path.relative_to(root).as_posix(): read(path, _KEPT if folder == "pictures" else _REVALIDATE)
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in TYPES
    }


def send(request: Request, file: File, headers: Mapping[str, str], status: int = 200) -> Response:
    """`file`, or 304 when the browser has it; compressed when the browser takes that."""
    packed = bool(file.packed) and _accepts_gzip(request.headers.get("accept-encoding", ""))
    etag = f'"{file.etag}{"-gzip" if packed else ""}"'
    answer = {"ETag": etag, "Cache-Control": file.cache_control, "Vary": "Accept-Encoding", **headers}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if status == 200 and (etag in known or "*" in known):
        return Response(status_code=304, headers=answer)
    if packed:
        answer["Content-Encoding"] = "gzip"
    return Response(file.packed if packed else file.plain, status, answer, file.media_type)


def _accepts_gzip(header: str) -> bool:
    for part in header.split(","):
        coding, _, parameters = part.strip().partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return parameters.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def policy(settings: Settings, host: str) -> str:
    """The content security policy of a page that was asked for at `host` ("" or odd: no explicit socket address).

    The socket's address is named because Safari before 15.4 does not count it as 'self'.
    """
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    pictures = "".join(f" {origin}" for origin in settings.picture_origins)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' data:{pictures}",
            "media-src 'self' blob:",
            f"connect-src 'self'{sockets}",
            "font-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def page_headers(settings: Settings, host: str, *, capture: bool = False) -> dict[str, str]:
    """The headers of a page; `capture` lets it ask for camera, microphone and screen."""
    who = "(self)" if capture else "()"
    return {
        "Content-Security-Policy": policy(settings, host),
        "Permissions-Policy": f"camera={who}, microphone={who}, display-capture={who}, geolocation=(), payment=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


STATIC_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # a picture opened on its own
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
)


class Missing:
    """The friendly page for a reader who asked for an address that does not exist."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = draw("missing.html", "no-store")

    def __call__(self, request: Request) -> Response | None:
        """The page with status 404; None when a program asked, which wants problem+json."""
        reader = "text/html" in request.headers.get("accept", "")
        if request.method not in ("GET", "HEAD") or not reader or request.url.path.startswith(APIS):
            return None
        return send(request, self._file, page_headers(self._settings, request.headers.get("host", "")), 404)

    async def on_http_exception(self, request: Request, error: Exception) -> Response:
        """Starlette's handler for its own refusals: a page for a reader whom nothing was found for, else a problem."""
        assert isinstance(error, HTTPException)
        page = self(request) if error.status_code == 404 else None
        return page or await rest.on_http_exception(request, error)


def routes(settings: Settings) -> list[BaseRoute]:
    """`/`, `/watch/{show}`, `/studio/{show}`, `/ops`, `/withdraw`, `/shipping`, `/prices` and `/static/…`."""
    files = static_files()

    async def static(request: Request) -> Response:
        file = files.get(request.path_params["path"])
        if file is None:
            raise Problem(Kind.not_found)
        return send(request, file, STATIC_HEADERS)

    return [
        Route("/", _page(settings, "window.html")),
        Route("/watch/{show}", _page(settings, "watch.html")),
        Route("/studio/{show}", _page(settings, "studio.html", capture=True)),
        Route("/ops", _page(settings, "ops.html")),
        Route("/withdraw", _page(settings, "withdraw.html")),
        Route("/shipping", _page(settings, "shipping.html")),
        Route("/prices", _page(settings, "rules.html")),
        Route("/static/{path:path}", static),
    ]


def _page(settings: Settings, name: str, *, capture: bool = False) -> Callable[[Request], Awaitable[Response]]:
    file = draw(name, _REVALIDATE)

    async def page(request: Request) -> Response:
        if not is_show_id(request.path_params.get("show", "any")):
            raise HTTPException(404)  # what cannot be a show's id can be an address that the page's script cannot read
        return send(request, file, page_headers(settings, request.headers.get("host", ""), capture=capture))

    return page
