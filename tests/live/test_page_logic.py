"""The pages' own logic, run by node."""

import shutil
import subprocess
from pathlib import Path

import pytest


def test_the_logic_of_the_pages() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the scripts' own tests (tests/live/js) were not run")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in version[1:].split(".")[:2]) < (20, 19):
        pytest.skip(f"node {version} does not read .js as modules by itself; 20.19 is needed for tests/live/js")
    files = sorted(map(str, (Path(__file__).parent / "js").glob("*.test.mjs")))
    run = subprocess.run([node, "--test", *files], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
