"""Fixtures that every part shares: real stores, a clock that obeys, and a loop that must never block."""

import asyncio
import gc
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from live.core.bus import Bus
from live.core.clock import ManualClock
from live.core.database import Database, migrate
from live.core.valkey import EmbeddedValkey
from tests.cluster.valkeys import running_valkeys, valkeys
from tests.faults.stand import stand
from tests.held_loop import HELD_S, HeldLoop

__all__ = ["running_valkeys", "stand", "valkeys"]  # fixtures of everybody's, too

# The same examples on every run, and no verdict by the clock: a machine is slow for reasons that are not ours.
settings.register_profile("showcart", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("showcart")

_ROOM_BYTES = 1024**3  # what four workers' PostgreSQL need

# Work of the start and the end of a process, when nobody waits for the loop.
_MAY_BLOCK = {
    "live/core/database.py": {"_upgrade", "_found"},
    "live/core/writers.py": {"_here"},  # what is done here takes few milliseconds ...
    "live/core/readers.py": {"glance"},  # ... and what is asked there a tenth of one
    "live/core/sqlite.py": {"engine"},
    "live/core/valkey.py": {"start", "stop", "_end", "_launch", "_release_watcher"},
    "asyncpg/connect_utils.py": {"_parse_connect_dsn_and_args"},  # looks for ~/.pgpass at each connect
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The few tests that run alone are found without loading the thousands that do not."""
    if not config.option.markexpr.startswith("alone") or not collection_path.name.startswith("test_"):
        return None
    return None if "mark.alone" in collection_path.read_text() else True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is loaded now stays: to look for garbage meanwhile was two fifths of the work, and tests need not either."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def blocking_calls() -> BlockBuster:
    guard = BlockBuster(["live", "chat", "cart", "stream", "app"])
    for function in guard.functions.values():
        for path, names in _MAY_BLOCK.items():
            function.can_block_in(path, names)
    return guard


@pytest.fixture(autouse=True)
def blockbuster(blocking_calls: BlockBuster) -> Iterator[BlockBuster]:
    """A blocking call inside our own coroutines fails the test."""
    blocking_calls.activate()
    try:
        yield blocking_calls
    finally:
        blocking_calls.deactivate()


@pytest.fixture(scope="session")
def loop_watch() -> Iterator[HeldLoop]:
    made = HeldLoop()
    with made.watching():
        yield made


@pytest.fixture(autouse=True)
def held_loop(loop_watch: HeldLoop) -> Iterator[None]:
    """Code of ours that holds the loop fails the test."""
    loop_watch.found.clear()
    yield
    assert not loop_watch.found, f"the loop was held for more than {HELD_S} s of CPU: {loop_watch.found}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def _swift_folder() -> Path | None:
    """A folder in memory, if there is room: a database made and dropped for each test keeps a disk busy for minutes.

    None: the system's folder for temporary files. Nothing here is tried for what it leaves after a power cut.
    """
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM_BYTES else None


def _postgresql_bin() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, wherever the system's package put it."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The socket folder of a private PostgreSQL server with a migrated template database."""
    binaries = _postgresql_bin()
    if binaries is None:
        pytest.fail("PostgreSQL is not installed: run `make test`, or install your system's postgresql package")
    # Not under pytest's own folder: other users may not look into that, and later runs clear it away.
    folder = Path(tempfile.mkdtemp(prefix="showcart-pg-", dir=_swift_folder()))
    # PostgreSQL refuses to run as root; its package brings a user for that.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, *arguments],
            check=True, user=user, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    data = folder / "data"
    run("initdb", "-D", str(data), "-U", "showcart", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_buffers=32MB -c max_connections=200"
    # What PostgreSQL counts by itself once a minute changes its plans, in whichever test that minute ends.
    options += " -c max_wal_size=128MB -c autovacuum=off"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield str(folder)
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows, to copy."""
    template = tmp_path_factory.mktemp("sqlite") / "template.db"
    _done(migrate(f"sqlite:///{template}"))
    return template


@pytest.fixture(scope="session")
def postgresql_template(postgresql: str) -> str:
    """The name of one that PostgreSQL copies."""
    _done(_command(postgresql, "CREATE DATABASE template_showcart"))
    _done(migrate(f"postgresql://showcart@/template_showcart?host={postgresql}"))
    return "template_showcart"


def _done(work: Coroutine[Any, Any, None]) -> None:
    """Do it on a loop of its own, beside that of the test."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


async def _command(postgresql: str, command: str) -> None:
    connection = await asyncpg.connect(host=postgresql, user="showcart", database="postgres")
    try:
        await connection.execute(command)
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty, migrated store; each test gets its own."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "showcart.db")
        yield f"sqlite:///{tmp_path / 'showcart.db'}"
        return
    folder: str = request.getfixturevalue("postgresql")
    template: str = request.getfixturevalue("postgresql_template")
    name = f"test_{uuid.uuid4().hex}"
    _done(_command(folder, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield f"postgresql://showcart@/{name}?host={folder}"
    _done(_command(folder, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(database_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    """An open store of each kind, empty but for its schema, on the test's clock."""
    store = await Database.open(database_url, clock)
    yield store
    await store.close()


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A real Valkey of the test's own; it starts when it is asked to."""
    server = EmbeddedValkey(tmp_path)
    yield server
    await server.stop()


@pytest.fixture
async def valkey_url(valkey: EmbeddedValkey) -> str:
    return await valkey.start()


@pytest.fixture
async def bus(valkey_url: str) -> AsyncIterator[Bus]:
    """One worker's bus."""
    opened = await Bus.open(valkey_url)
    yield opened
    await opened.close()
