"""POSTs offers (WHIP, WHEP) to a server; on this machine from different addresses."""

import asyncio

import msgspec

from loadtests.media.client import Client
from loadtests.plan import Target

SDP = "application/sdp"
POST_TIMEOUT_S = 20.0
POSTS_PER_ADDRESS = 400  # the server bounds the offers of one address, and a whole audience comes from this machine
ANSWER_BYTES_MAX = 256 * 1024


class RefusedError(ConnectionError):
    """The server said no: `name` is the problem's, or "http 502"; `retry_after_s` None: it did not say when."""

    def __init__(self, status: int, body: bytes, retry_after: str) -> None:
        try:
            problem = msgspec.json.decode(body, type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError):
            problem = {}
        self.name = str(problem.get("name") or f"http {status}")
        self.retry_after_s = float(retry_after) if retry_after.isdecimal() else None
        super().__init__(f"{status}: {self.name}")


class Doors:
    """The way into the video of one show. `token` is for who publishes.

    With `keep` connections are used again; without, each offer has its own, so that a server of several workers gets
    them as it would from as many people. A general HTTP client costs more here than all the rest of joining.
    """

    def __init__(self, url: str, show: str, token: str, *, keep: bool = False) -> None:
        self.target = Target.of(url)
        self._show = show
        self._token = token
        self._keep = keep
        self._posts = 0
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._idle_from = 0

    async def enter(self, client: Client, way: str, *, rids: tuple[str, ...] = (), rtx: bool = False) -> None:
        """Join by `way`, "whip" or "whep". Raises `RefusedError`, `OSError`, `EOFError`, `TimeoutError`."""
        direction = "sendonly" if way == "whip" else "recvonly"
        body = client.offer(direction, rids=rids, rtx=rtx).encode()
        head = f"POST /{way}/{self._show} HTTP/1.1\r\nHost: {self.target.host}:{self.target.port}\r\n"
        head += f"Content-Type: {SDP}\r\nAuthorization: Bearer {self._token}\r\nContent-Length: {len(body)}\r\n\r\n"
        async with asyncio.timeout(POST_TIMEOUT_S):
            answer = await self._post(head.encode() + body)
        await client.connect(answer)

    async def _post(self, request: bytes) -> str:
        door, self._posts = self._posts // POSTS_PER_ADDRESS, self._posts + 1
        if door != self._idle_from:
            self.close()
            self._idle_from = door
        reader, writer = await self._connection(door)
        kept = False
        try:
            writer.write(request)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = fields.get("content-length", "")
            if not length.isdecimal() or int(length) > ANSWER_BYTES_MAX:
                raise ConnectionError("the answer does not tell its length")
            body = await reader.readexactly(int(length))
            kept = self._keep and door == self._idle_from and fields.get("connection", "").lower() != "close"
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
        status = int(lines[0].split()[1])
        if status != 201:
            raise RefusedError(status, body, fields.get("retry-after", ""))
        return body.decode()

    async def _connection(self, door: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # the server has not closed it meanwhile
                return reader, writer
            writer.close()
        local = (f"127.0.0.{2 + door}", 0) if self.target.loopback else None
        return await asyncio.open_connection(
            self.target.host, self.target.port, local_addr=local, ssl=self.target.tls, limit=ANSWER_BYTES_MAX
        )

    def close(self) -> None:
        """Close the connections that are not in use."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()
