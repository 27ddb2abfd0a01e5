"""What the show's host does in a rehearsal, over the HTTP API."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

from loadtests.scenario import Drop

HTTP_TIMEOUT_S = 10.0
BEFORE_AIR = ("draft", "scheduled", "lobby", "paused")


class LoadTestError(RuntimeError):
    """The rehearsal cannot take place or did not come to its end; nothing can be said about the event."""


class Host:
    """The host of one show on the server at `url`; every method raises `LoadTestError`."""

    def __init__(self, url: str, show: str, token: str) -> None:
        self._url = url
        self._path = f"/api/shows/{show}"
        self._token = token

    def go_live(self) -> dict[str, Any]:
        """The show, which is live now."""
        found = self._ask("GET", self._path)
        if found.get("show", {}).get("state") in BEFORE_AIR:
            self._ask("POST", f"{self._path}/state", {"to": "live"})
        return found

    def product_of(self, drop: Drop, show: dict[str, Any]) -> str:
        """The product to pin in `show`, as `go_live` gave it."""
        if drop.product:
            return drop.product
        lineup = show.get("lineup") or []
        if not lineup:
            raise LoadTestError("drop.product: the show has no lineup to take a product from")
        return str(lineup[0]["id"])

    def pin(self, product: str) -> None:
        """Put `product` on screen."""
        self._ask("PUT", f"{self._path}/pin", {"product_id": product})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the server to the host; raises `LoadTestError`."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if method != "GET":
            headers["Idempotency-Key"] = os.urandom(16).hex()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:
                content: dict[str, Any] = json.loads(answer.read() or b"{}")
                return content
        except urllib.error.HTTPError as error:
            said = error.read(2000).decode("utf-8", "replace")
            raise LoadTestError(f"{method} {path} was answered with {error.code}: {said}") from None
        except (OSError, ValueError) as error:
            raise LoadTestError(f"{method} {self._url}{path}: {error}") from None
