"""`showcart key …`, as an operator types it."""

import asyncio
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from click.testing import CliRunner, Result

from live.access.command import key_command
from live.access.keys import is_key
from live.core.database import migrate


def _key(folder: Path, *arguments: str) -> Result:
    environ = {"SHOWCART_DATA_DIR": str(folder), "SHOWCART_SECRET": "x" * 32, "SHOWCART_DATABASE_URL": ""}
    return CliRunner().invoke(key_command, list(arguments), env=environ)


@pytest.fixture
def folder(tmp_path: Path, blockbuster: BlockBuster) -> Path:
    blockbuster.deactivate()  # Alembic reads its files
    asyncio.run(migrate(f"sqlite:///{tmp_path / 'showcart.db'}"))
    return tmp_path


def test_a_key_is_printed_listed_rotated_and_revoked(folder: Path) -> None:
    made = _key(folder, "create", "--label", "ERP", "--scope", "orders:read", "--scope", "stock:write", "--days", "30")
    assert made.exit_code == 0 and is_key(made.stdout.strip()), made.output
    _key(folder, "create", "--label", "One show", "--scope", "reports:read", "--show", "gala")
    first, second = _key(folder, "list").stdout.splitlines()
    id_ = first.split()[0]
    assert made.stderr.strip() == f"id {id_}"
    assert made.stdout[:12] in first and made.stdout.strip() not in first
    assert "ERP  orders:read,stock:write  expires 20" in first and "show gala" in second
    turned = _key(folder, "rotate", id_, "--overlap-s", "60")
    assert is_key(turned.stdout.strip()) and "old secret until" in _key(folder, "list").stdout
    assert _key(folder, "revoke", id_).exit_code == 0
    assert _key(folder, "list").stdout.split()[0] == second.split()[0]


def test_mistakes_are_said_in_one_line(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for arguments, said in (
        (("revoke", "0" * 32), "Error: 1109 unknown_service_key"),
        (("rotate", "x", "--overlap-s", "-1"), "Error: 1002 invalid_field"),
        (("create", "--label", "x", "--scope", "everything"), "Invalid value for '--scope'"),
        (("create", "--label", "x"), "Missing option '--scope'"),
        (("create", "--label", " ", "--scope", "orders:read"), "Error: 1002 invalid_field"),
    ):
        result = _key(folder, *arguments)
        assert result.exit_code != 0 and said in result.output
    empty = _key(tmp_path_factory.mktemp("empty"), "list")
    assert empty.exit_code == 1 and "showcart migrate" in empty.output
