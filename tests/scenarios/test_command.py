"""`showcart …` in processes of its own: what it prints, how it refuses, and that it leaves nothing running."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import httpx
import psutil

from tests.scenarios.conftest import Run, port_of


async def _output(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


def _valkeys(folder: Path) -> list[psutil.Process]:
    """The embedded servers whose socket lies under `folder`."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "name"])
        if any(str(folder) in part for part in process.info["cmdline"] or ()) and "valkey" in process.info["name"]
    ]


async def _gone(folder: Path) -> None:
    async with asyncio.timeout(10):
        while _valkeys(folder):
            await asyncio.sleep(0.05)


async def test_the_demo_is_ready_and_leaves_nothing_running(showcart: Run, tmp_path: Path) -> None:
    demo = await showcart("demo")
    port = await port_of(demo)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/readyz")).json() == {"database": "ok", "bus": "ok", "media": "ok"}
        assert (await client.get("/healthz")).text == "ok\n"
        show = (await client.get("/api/shows/demo")).json()
        assert len(show["lineup"]) >= 8
        for product in show["lineup"]:
            assert (await client.get(product["picture"])).headers["content-type"] == "image/svg+xml"
        assert "showcart_loop_lag_seconds_bucket" in (await client.get("/metrics")).text
        assert (await client.get("/healthz", headers={"host": "evil.example"})).status_code == 400
    assert len(_valkeys(tmp_path)) == 1
    demo.send_signal(signal.SIGINT)
    code, _, errors = await _output(demo)
    assert (code, errors) == (0, "")
    assert _valkeys(tmp_path) == []


async def test_a_killed_server_leaves_no_valkey_behind(showcart: Run, tmp_path: Path) -> None:
    demo = await showcart("demo")
    await port_of(demo)
    demo.kill()
    await demo.wait()
    await _gone(tmp_path)
    again = await showcart("demo")
    await port_of(again)


async def test_serve_wants_a_migrated_database(showcart: Run) -> None:
    code, _, errors = await _output(await showcart("serve"))
    assert (code, "showcart migrate" in errors) == (1, True)
    assert (await _output(await showcart("migrate")))[0] == 0
    server = await showcart("serve", SHOWCART_LOG_FORMAT="json")
    assert server.stderr is not None
    async with asyncio.timeout(30):
        while (line := json.loads(await server.stderr.readline()))["event"] != "ready":
            pass
    async with httpx.AsyncClient() as client:
        shows = await client.get(f"http://127.0.0.1:{line['port']}/api/shows")
        assert shows.json()["shows"] == []
    server.terminate()
    assert (await _output(server))[0] == 0


async def test_beside_a_running_server(showcart: Run, tmp_path: Path) -> None:
    """Tokens are made, products imported, and a second server on its folder is refused."""
    demo = await showcart("demo")
    port = await port_of(demo)
    _, token, _ = await _output(await showcart("token", "--role", "host", "--show", "demo"))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {"authorization": f"Bearer {token.strip()}"}
        assert (await client.get("/api/shows/demo/stream-keys", headers=headers)).status_code == 200
        assert (await client.get("/api/shows/other/stream-keys", headers=headers)).json()["code"] == 1105
    before = httpx.get(f"http://127.0.0.1:{port}/api/products/espresso-cup").json()
    file = tmp_path / "more.json"
    sku = before["variants"][0]["sku"]
    entry = {"id": "espresso-cup", "title": "Cup", "currency": "EUR", "variants": [{"sku": sku, "price_minor": 1234}]}
    file.write_text(json.dumps([entry]))
    code, out, _ = await _output(await showcart("import", "--dry-run", str(file)))
    assert (code, "would be changed" in out) == (0, True)
    assert httpx.get(f"http://127.0.0.1:{port}/api/products/espresso-cup").json() == before
    code, out, _ = await _output(await showcart("import", str(file)))
    assert (code, "0 created, 1 changed" in out) == (0, True)
    after = httpx.get(f"http://127.0.0.1:{port}/api/products/espresso-cup").json()
    assert after["title"] == "Cup"
    assert after["variants"][0]["price_minor"] == 1234
    code, _, errors = await _output(await showcart("demo"))
    assert (code, "SHOWCART_DATA_DIR" in errors) == (1, True)


async def test_a_broken_file_is_named_line_by_line(showcart: Run, tmp_path: Path) -> None:
    await _output(await showcart("migrate"))
    for name in ("broken.csv", "broken.txt"):
        file = tmp_path / name
        file.write_text("product_id,title,sku,price,currency,stock\na,A,A-1,1.00,EUR,5\nb,B,B-1,-1,EUR,5\n")
        code, out, errors = await _output(await showcart("import", str(file)))
        assert code == 1
        assert "Traceback" not in errors
        if name.endswith(".csv"):
            assert "1 created" in out
            assert "line 3" in errors
        else:
            assert ".csv" in errors


async def test_wrong_settings_and_taken_ports_are_said_in_one_line(showcart: Run) -> None:
    code, _, errors = await _output(await showcart("demo", SHOWCART_PORT="http"))
    assert (code, errors.startswith("Error: SHOWCART_PORT: ")) == (1, True)
    code, _, errors = await _output(await showcart("demo", "--host", "0.0.0.0"))
    assert (code, errors.startswith("Error: SHOWCART_HOST: ")) == (1, True)
    nowhere = "postgresql://shop:geheim@127.0.0.1:1/shop"
    for command in ("demo", "migrate", "serve"):
        code, _, errors = await _output(await showcart(command, SHOWCART_DATABASE_URL=nowhere))
        assert (code, "SHOWCART_DATABASE_URL" in errors, "geheim" in errors, "Traceback" in errors) == (
            1,
            True,
            False,
            False,
        )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, errors = await _output(await showcart("demo", "--port", str(taken.getsockname()[1])))
    assert (code, errors.count("\n"), "SHOWCART_PORT" in errors) == (1, 1, True)
