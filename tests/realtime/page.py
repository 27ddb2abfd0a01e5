"""A browser's page as the tests need it: it applies what it is sent and finds every gap."""

from collections.abc import Callable
from typing import Any

from tests.realtime.conftest import Client


class Page:
    """What a browser keeps: the words, and the position of the newest event that it applied.

    `owed`: a worker that could not publish may owe it a snapshot, and meanwhile another one's events go on.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.words: list[str] = []
        self.position: dict[str, Any] | None = None
        self.snapshots = 0
        self.recoveries = 0
        self.owed = False

    def apply(self, message: dict[str, Any]) -> None:
        if message["type"] == "connected":
            if message["recovered"]:
                self.recoveries += 1
                for event in message["events"]:
                    self._event(event)
                assert self.position == message["position"]
            else:
                self.snapshots += 1
                self.words = list(message["snapshot"]["words"])
                self.position = message["position"]
        elif message["type"] == "event":
            self._event(message)

    def _event(self, event: dict[str, Any]) -> None:
        assert self.position is not None
        assert event["offset"] == self.position["offset"] + 1, "a gap, or an event twice"
        self.position = {**self.position, "offset": event["offset"]}
        index = event["data"]["index"]
        if self.owed:
            self.words += ["(owed)"] * (index - len(self.words))
        assert index <= len(self.words), "the snapshot lacked something"
        self.words[index : index + 1] = [event["data"]["text"]]

    async def join(self) -> dict[str, Any]:
        await self.client.send(type="connect", id="c", position=self.position)
        connected = await self.client.until("connected", id="c")
        self.apply(connected)
        return connected

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.apply(await self.client.next())

    async def shows(self, words: list[str]) -> None:
        await self.until(lambda: self.words == words)
