"""What the workers of one supervisor tell each other about themselves, whatever state the bus and the stores are in.

Each worker listens on a Unix socket in a folder that the supervisor made for them and that nobody else may enter. A
question is one line, the answer is all that comes until the end. A worker that hangs, or is just being replaced,
gives no answer within SIBLING_ANSWER_S.
"""

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from live.core.limits import SIBLING_ANSWER_BYTES_MAX, SIBLING_ANSWER_S, SIBLING_QUESTION_BYTES_MAX
from live.core.tasks import end

log = logging.getLogger(__name__)

FOLDER = "SHOWCART_SIBLINGS"
"""The variable in which the supervisor hands its workers the folder."""

Answer = Callable[[str], bytes]
_CHUNK_BYTES = 64 * 1024


@contextlib.contextmanager
def family() -> Iterator[dict[str, str]]:
    """The variable for the workers of a supervisor, which keeps the folder until the block ends."""
    with tempfile.TemporaryDirectory(prefix="showcart-", ignore_cleanup_errors=True) as folder:
        yield {FOLDER: folder}


def folder(count: int) -> Path | None:
    """The folder that the environment names; None when there is only one worker, or no supervisor."""
    named = os.environ.get(FOLDER, "") if count > 1 else ""
    return Path(named) if named else None


class Siblings:
    """See the module. `answer` gives this worker's answer to a question. `folder` None: there are no others."""

    def __init__(self, worker: int, count: int, answer: Answer, folder: Path | None) -> None:
        self._worker = worker
        self._count = count if folder is not None else worker + 1
        self._first = 0 if folder is not None else worker
        self._answer = answer
        self._folder = folder
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, worker: int, count: int, answer: Answer) -> AsyncIterator["Siblings"]:
        """Answer the others, whose folder the environment names, until the block ends."""
        siblings = cls(worker, count, answer, folder(count))
        server = await siblings._listen()
        try:
            yield siblings
        finally:
            if server is not None:
                server.close()
            await end(*siblings._serving)

    async def ask(self, question: str) -> dict[int, bytes | None]:
        """The answers of all workers, this one's included; None: that one gave none."""
        others = [each for each in range(self._first, self._count) if each != self._worker]
        answers = await asyncio.gather(*(self._asked(each, question) for each in others))
        return dict(sorted({**dict(zip(others, answers, strict=True)), self._worker: self._answer(question)}.items()))

    async def _listen(self) -> asyncio.Server | None:
        if self._folder is None:
            return None
        path = self._socket(self._worker)
        await asyncio.to_thread(path.unlink, missing_ok=True)  # of the process that was in our place before
        return await asyncio.start_unix_server(self._heard, path, limit=SIBLING_QUESTION_BYTES_MAX)

    def _socket(self, worker: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{worker}.socket"

    def _heard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="answer a sibling")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SIBLING_ANSWER_S):
                question = await reader.readline()
                writer.write(self._answer(question.decode().rstrip("\n")))
                await writer.drain()
        except (OSError, ValueError) as error:  # gone, or no line
            log.info("a sibling's question was not answered: %s", error)
        finally:
            writer.close()

    async def _asked(self, worker: int, question: str) -> bytes | None:
        writer = None
        try:
            async with asyncio.timeout(SIBLING_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._socket(worker))
                writer.write(question.encode() + b"\n")
                answer = b""
                while chunk := await reader.read(_CHUNK_BYTES):
                    answer += chunk
                    if len(answer) > SIBLING_ANSWER_BYTES_MAX:
                        return None
        except OSError:  # TimeoutError is one
            return None
        finally:
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close()
        return answer or None
