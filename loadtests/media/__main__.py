"""Publish made-up video to a show and watch it many times over WebRTC.

    python -m loadtests.media http://127.0.0.1:8000 --show demo --token demo --viewers 50

prints a JSON line a second and the totals at the end; `measures.py` says what is in them. A rehearsal writes a file
with the whole plan instead, and calls it with `--plan FILE`.
"""

import os
import sys
from collections.abc import Sequence

import msgspec

from loadtests.media.broadcast import run
from loadtests.plan import MediaPlan
from loadtests.program import open_files, parser, tell
from loadtests.scenario import Media

TOKEN = "SHOWCART_LOADTEST_TOKEN"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broadcast from the command line."""
    asked = parser("loadtests.media", __doc__, viewers=20)
    asked.add_argument("--token", default=os.environ.get(TOKEN, "demo"), help=f"a host's or a stream key; {TOKEN}")
    asked.add_argument("--kbps", type=int, default=1000, help="of the best layer")
    asked.add_argument("--fps", type=int, default=25)
    asked.add_argument("--layers", type=int, choices=(1, 2, 3), default=1)
    asked.add_argument("--keyframes", type=float, default=0.0, metavar="SECONDS", help="0: only when asked for")
    options = asked.parse_args(arguments)
    if options.plan is not None:
        plan = msgspec.json.decode(options.plan.read_bytes(), type=MediaPlan)
    elif options.url is None:
        asked.error("the server's URL is missing")
    else:
        media = Media(
            options.viewers, options.ramp, options.kbps, options.fps, options.layers, options.keyframes
        )  # fmt: skip
        plan = MediaPlan(options.url, options.show, media, options.duration)
    open_files()
    try:
        tell(run(plan, options.token, tell))
    except ConnectionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
