"""Coverage-guided fuzzing: `python -m tests.faults.fuzz DIRECTORY SEED RUNS [TARGET ...]`.

Runs each target of `tests.faults.targets` a fixed number of times under Atheris (libFuzzer), which mutates the inputs
it knows and keeps what reaches new branches of `stream`, `live`, aioice and websockets. DIRECTORY gets the inputs and,
when a target fails, the one that did it, named crash-…; the exit status is then not 0.
"""

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["stream", "aioice", "live", "websockets"]):
    from tests.faults.targets import INPUT_BYTES_MAX, TARGETS


def run(name: str, directory: Path, seed: str, runs: str) -> int:
    """The exit status of one target, in a process of its own: libFuzzer ends the process that it runs in."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    read, known = TARGETS[name]
    corpus = directory / name
    corpus.mkdir()
    for index, data in enumerate(known):
        (corpus / str(index)).write_bytes(data)
    options = [f"-runs={runs}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}", "-timeout=10", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus}/", str(corpus)], read)
    atheris.Fuzz()
    return 0  # not reached


def main(directory: str, seed: str, runs: str, *names: str) -> int:
    failed = [name for name in names or TARGETS if run(name, Path(directory), seed, runs)]
    sys.stderr.write(f"failed: {', '.join(failed) or 'none'}\n")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
