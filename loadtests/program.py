"""What the generators that are programs of their own have in common: how they are called, and that they tell lines."""

import argparse
import resource
from pathlib import Path

import msgspec


def parser(program: str, doc: str, *, viewers: int) -> argparse.ArgumentParser:
    """The arguments of every generator; `doc` begins with what it does, `viewers` come when nothing else is said."""
    made = argparse.ArgumentParser(prog=f"python -m {program}", description=doc.partition("\n")[0])
    made.add_argument("url", nargs="?", help="of the server, such as http://127.0.0.1:8000")
    made.add_argument("--plan", type=Path, metavar="FILE", help="a whole plan as JSON, instead of all others")
    made.add_argument("--show", default="demo")
    made.add_argument("--viewers", type=int, default=viewers)
    made.add_argument("--ramp", type=float, default=2.0, metavar="SECONDS")
    made.add_argument("--duration", type=float, default=10.0, metavar="SECONDS")
    return made


def open_files() -> int:
    """How many files this process may open from now on: as many as it can be given."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def tell(line: msgspec.Struct) -> None:
    """Print a line for who reads what is measured."""
    print(msgspec.json.encode(line).decode(), flush=True)
