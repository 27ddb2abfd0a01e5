"""Publish made-up video to a show and watch it many times over WebRTC.

    python -m loadtests.media http://127.0.0.1:8000 --show demo --token demo --viewers 50

prints a JSON line a second and the totals at the end; `measures.py` says what is in them. A rehearsal writes a file
with the whole plan instead, and calls it with `--plan FILE`.
"""

import argparse
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtests.measures import MediaLine
from loadtests.media.broadcast import run
from loadtests.plan import MediaPlan
from loadtests.scenario import Media

TOKEN = "SHOWCART_LOADTEST_TOKEN"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broadcast from the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.media", description=__doc__.partition("\n")[0])
    parser.add_argument("url", nargs="?", help="of the server, such as http://127.0.0.1:8000")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="a whole plan as JSON, instead of all others")
    parser.add_argument("--show", default="demo")
    parser.add_argument("--token", default=os.environ.get(TOKEN, "demo"), help=f"a host's or a stream key; {TOKEN}")
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--ramp", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--duration", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--kbps", type=int, default=1000, help="of the best layer")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--layers", type=int, choices=(1, 2, 3), default=1)
    parser.add_argument("--keyframes", type=float, default=0.0, metavar="SECONDS", help="0: only when asked for")
    options = parser.parse_args(arguments)
    if options.plan is not None:
        plan = msgspec.json.decode(options.plan.read_bytes(), type=MediaPlan)
    elif options.url is None:
        parser.error("the server's URL is missing")
    else:
        media = Media(
            options.viewers, options.ramp, options.kbps, options.fps, options.layers, options.keyframes
        )  # fmt: skip
        plan = MediaPlan(options.url, options.show, media, options.duration)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def tell(line: MediaLine) -> None:
        print(msgspec.json.encode(line).decode(), flush=True)

    try:
        tell(run(plan, options.token, tell))
    except ConnectionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
