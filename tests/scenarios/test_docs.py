"""The documents keep up with the code."""

import re
from pathlib import Path

import msgspec
import pytest

from live.core.errors import CLOSES, Close, Kind
from live.core.settings import PREFIX, Settings
from live.realtime import protocol

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name)
def test_every_error_is_documented(kind: Kind) -> None:
    assert f"| {kind.number} | `{kind.name}` | {kind.status} | {kind.title} |" in PROTOCOL


@pytest.mark.parametrize("close", CLOSES, ids=lambda close: str(close.code))
def test_every_close_code_is_documented(close: Close) -> None:
    assert f"| {close.code} | {close.reason} | {'yes' if close.reconnect else 'no'} |" in PROTOCOL


@pytest.mark.parametrize(
    "type_", [*protocol.ClientMessage.__args__, *protocol.ServerMessage.__args__], ids=lambda type_: type_.__name__
)
def test_every_wire_message_has_an_example(type_: type[msgspec.Struct]) -> None:
    tag = type_.__struct_config__.tag
    examples = re.findall(r"```json\n(.*?)```", PROTOCOL, re.DOTALL)
    found = [example for example in examples if f'"type": "{tag}"' in example]
    assert found, f"no example of {tag}"
    for example in found:
        value = msgspec.json.decode(example)
        messages = value if isinstance(value, list) else [value]
        for message in messages:
            if message["type"] == tag:
                assert isinstance(msgspec.convert(message, type_, strict=True), type_)


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_every_setting_is_in_the_readme(field: str) -> None:
    assert f"`{PREFIX}{field.upper()}`" in README


def test_the_readme_tells_the_settings_defaults() -> None:
    defaults = {f"{PREFIX}{field.name.upper()}": field.default for field in msgspec.structs.fields(Settings)}
    rows = re.findall(rf"^\| ((?:`{PREFIX}[A-Z_]+`(?:, )?)+) \| ([^|]+) \|", README, re.MULTILINE)
    told = {name: default for names, default in rows for name in re.findall(r"\w+", names)}
    assert told.keys() == defaults.keys()
    for name, default in told.items():
        value = re.fullmatch(r"`([^`]*)`", default)
        if value is None:
            assert not defaults[name], f"{name} is {defaults[name]!r}, and told to be: {default}"
        else:
            assert str(defaults[name]) in (value[1], value[1].title()), name


def test_only_settings_are_told_to_be_set() -> None:
    settings = {f"{PREFIX}{field.upper()}" for field in Settings.__struct_fields__}
    named = {
        name: document.name
        for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for name in re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", document.read_text())
        if not name.startswith(f"{PREFIX}LOADTEST_")
    }
    assert set(named) - settings == {f"{PREFIX}SECERT"}, "an example of a mistake"


@pytest.mark.parametrize(
    "document",
    [path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
