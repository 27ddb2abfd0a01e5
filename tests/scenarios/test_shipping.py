"""What goes into an image and how it is run: there is no container engine here, so its parts are tried one by one."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from live.core.limits import FEED_FETCH_BYTES_MAX, FEED_UPLOAD_BYTES_MAX, FEED_UPLOADS_MAX, WORKER_STOP_S
from live.core.settings import PREFIX, Settings
from loadtests.ports import free_port
from loadtests.server import ready

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = [ROOT / "compose.yaml", ROOT / "docs/operations/compose/cluster.yaml"]
MANIFESTS = sorted((ROOT / "docs/operations/kubernetes").glob("*.yaml"))
VARIABLES = {PREFIX + field.upper() for field in Settings.__struct_fields__} | {"SHOWCART_DOMAIN"}  # Caddy's


def _container(kind: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod and its container of a manifest."""
    document = yaml.safe_load((ROOT / f"docs/operations/kubernetes/{name}.yaml").read_text())
    assert document["kind"] == kind
    pod: dict[str, Any] = document["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the image installs, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    keep = _kept_by_dockerignore()
    for name in listed:
        if name.partition("/")[0] in keep:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, timeout=100)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def _listed(*folders: str) -> list[str]:
    """The files under version control that are there."""
    found = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in found.stdout.split("\n") if (ROOT / name).is_file()]


def _kept_by_dockerignore() -> set[str]:
    lines = (ROOT / ".dockerignore").read_text().split()
    return {line[1:] for line in lines if line.startswith("!")}


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    listed = _listed("live", "chat", "cart", "stream", "loadtests")
    assert listed
    assert [name for name in listed if not (wheel / name).is_file()] == []


@pytest.fixture
def health_check() -> list[str]:
    """The image's own health check."""
    text = (ROOT / "Containerfile").read_text().replace("\\\n", "")
    found = re.search(r"^HEALTHCHECK .*? CMD (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    command: list[str] = json.loads(found[1])
    return [sys.executable, *command[1:]]


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Iterator[int]:
    """The port of a demo that runs from the wheel."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environ |= {"PYTHONPATH": str(wheel), "SHOWCART_PORT": str(port), "SHOWCART_DATA_DIR": str(tmp_path / "var")}
    command = [sys.executable, "-c", "import app; app.main()", "demo"]
    process = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and not ready(f"http://127.0.0.1:{port}"):
            pass
        assert process.poll() is None
        yield port
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_it_runs_from_the_wheel_and_the_health_check_sees_that(installed: int, health_check: list[str]) -> None:
    subprocess.run(health_check, env=os.environ | {"SHOWCART_PORT": str(installed)}, check=True, timeout=20)
    unused = subprocess.run(
        health_check, env=os.environ | {"SHOWCART_PORT": str(free_port())}, stderr=subprocess.DEVNULL
    )
    assert unused.returncode != 0


@pytest.mark.parametrize("path", [ROOT / "Containerfile", *COMPOSE, *MANIFESTS], ids=lambda path: path.name)
def test_every_variable_is_a_setting(path: Path) -> None:
    used = set(re.findall(r"SHOWCART_[A-Z_]+", path.read_text()))
    assert used <= VARIABLES


def test_an_example_names_every_secret_that_compose_needs() -> None:
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE[0].read_text()))
    example = (ROOT / "docs/operations/compose/example.env").read_text()
    assert needed == {line.partition("=")[0] for line in example.splitlines() if line and not line.startswith("#")}


def test_files_that_are_mounted_exist() -> None:
    mounted = re.findall(r"^ +- (\./[^:]+):", COMPOSE[0].read_text(), re.MULTILINE)
    assert mounted
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_workers_have_time_to_drain() -> None:
    grace = yaml.safe_load(COMPOSE[0].read_text())["services"]["showcart"]["stop_grace_period"]
    pod, _ = _container("Deployment", "deployment")
    assert int(grace.removesuffix("s")) > WORKER_STOP_S
    assert pod["terminationGracePeriodSeconds"] > WORKER_STOP_S


def test_ports_agree() -> None:
    compose = yaml.safe_load(COMPOSE[0].read_text())
    workers = int(compose["services"]["showcart"]["environment"]["SHOWCART_WORKERS"])
    port = Settings().port
    assert f"{port}-{port + workers - 1}:{port}-{port + workers - 1}/udp" in compose["services"]["showcart"]["ports"]
    _, container = _container("Deployment", "deployment")
    assert {entry["containerPort"] for entry in container["ports"]} == {port}
    assert {entry["protocol"] for entry in container["ports"]} == {"TCP", "UDP"}


@pytest.mark.parametrize("name", ["deployment", "migrate"])
def test_pods_run_without_rights(name: str) -> None:
    pod, container = _container("Deployment" if name == "deployment" else "Job", name)
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_probes_ask_what_they_should() -> None:
    """Ready is for new viewers; a store that is away must not have workers killed."""
    _, container = _container("Deployment", "deployment")
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_feeds_have_room_beside_memory() -> None:
    """They are kept in temporary files, so that they need no memory; in /tmp, which must not be memory then."""
    room = 2 * (FEED_UPLOADS_MAX * FEED_UPLOAD_BYTES_MAX + FEED_FETCH_BYTES_MAX)  # each with what it has named
    pod, container = _container("Deployment", "deployment")
    [place] = [one["name"] for one in container["volumeMounts"] if one["mountPath"] == "/tmp"]
    [volume] = [one["emptyDir"] for one in pod["volumes"] if one["name"] == place]
    assert "medium" not in volume
    assert int(volume["sizeLimit"].removesuffix("Gi")) * 1024**3 >= room
    service = yaml.safe_load(COMPOSE[0].read_text())["services"]["showcart"]
    assert "/tmp" not in service["tmpfs"]
    assert "scratch:/tmp" in service["volumes"]
