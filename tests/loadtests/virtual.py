"""A swarm and its show on a loop whose clock jumps: what is planned for a second happens in it on any machine.

Between them are Unix sockets: what one end sends is at the other end at once, so when nothing can be read, nothing is
on its way, and time may pass. Of TCP the kernel may deliver later, when it is busy.
"""

import asyncio
import functools
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ParamSpec

import pytest

from tests.properties.virtual_time import VirtualLoop

Given = ParamSpec("Given")


class Street(VirtualLoop):
    """Whatever host and port somebody connects to, he comes to the socket `door`."""

    def __init__(self, door: Path) -> None:
        super().__init__()
        self.door = door

    async def create_connection(self, protocol_factory: Callable[[], Any], *where: Any, **options: Any) -> Any:
        return await self.create_unix_connection(protocol_factory, str(self.door))


def door() -> Path:
    """Of the loop that runs."""
    street = asyncio.get_running_loop()
    assert isinstance(street, Street)
    return street.door


def virtually(test: Callable[Given, Coroutine[Any, Any, None]]) -> Callable[Given, None]:
    """A test that runs on a `Street` of its own, by whose time viewers live, too."""

    @functools.wraps(test)
    def run(*arguments: Given.args, **named: Given.kwargs) -> None:
        with tempfile.TemporaryDirectory(prefix="showcart-street-") as folder, pytest.MonkeyPatch.context() as patch:
            street = Street(Path(folder) / "door")
            patch.setattr("loadtests.viewer.time", SimpleNamespace(monotonic_ns=lambda: round(street.now_s * 1e9)))
            with asyncio.Runner(loop_factory=lambda: street) as runner:
                runner.run(test(*arguments, **named))

    return run
