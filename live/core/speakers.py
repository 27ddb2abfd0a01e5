"""All of the bus's mouths: a speaker for each server that has channels."""

from typing import Protocol

from live.core.slots import Address
from live.core.speaker import Connection, Speaker


class Servers(Protocol):
    """What is used of `live.core.servers.Servers`."""

    @property
    def primaries(self) -> frozenset[Address]: ...
    def owner(self, name: bytes) -> Address | None: ...
    def connection(self, address: Address) -> Connection: ...
    def refused(self, name: bytes, error: Exception) -> None: ...


class Speakers:
    """Sends to whoever has the channel. What the wrong server is sent is refused by it and dropped."""

    def __init__(
        self, servers: Servers, failures: tuple[type[Exception], ...], refusals: tuple[type[Exception], ...]
    ) -> None:
        self._servers = servers
        self._failures = failures
        self._refusals = refusals
        self._speakers: dict[Address, Speaker] = {}

    async def settle(self) -> None:
        """Connect to all that have channels, and leave those that have none any more."""
        primaries = self._servers.primaries
        for address in primaries:
            self._speaker(address)
        for address in [address for address in self._speakers if address not in primaries]:
            await self._speakers.pop(address).stop()

    async def stop(self) -> None:
        """Close the connections; what was not written is lost."""
        for speaker in self._speakers.values():
            await speaker.stop()
        self._speakers.clear()

    def send(self, channel: bytes, frame: bytes) -> bool:
        """As `Speaker.send`; False as well while nobody is known to have the channel."""
        address = self._servers.owner(channel)
        return address is not None and self._speaker(address).send(channel, frame)

    def clear(self, channel: bytes) -> bool:
        """As `Speaker.clear`, of the server that has `channel`."""
        address = self._servers.owner(channel)
        return address is not None and self._speaker(address).clear

    def _speaker(self, address: Address) -> Speaker:
        speaker = self._speakers.get(address)
        if speaker is None:
            speaker = self._speakers[address] = Speaker(
                lambda: self._servers.connection(address), self._failures, self._refusals, self._servers.refused
            )
            speaker.start()
        return speaker
