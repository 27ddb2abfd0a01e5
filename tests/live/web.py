"""The files of the pages: where they are, what they say and what they refer to."""

import re
from html.parser import HTMLParser
from pathlib import Path

from live import pages

WEB = pages.WEB
PAGES = (
    "window.html",
    "watch.html",
    "studio.html",
    "ops.html",
    "missing.html",
    "withdraw.html",
    "rules.html",
    "shipping.html",
)
SCRIPTS = sorted(WEB.rglob("*.js"))
STYLES = sorted(WEB.rglob("*.css"))


def text(name: str) -> str:
    """The file `name` as a browser gets it: a page in its frame."""
    return pages.draw(name, "").plain.decode() if name in PAGES else (WEB / name).read_text()


class Markup(HTMLParser):
    """What a page refers to and uses."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.keys: set[str] = set()
        self.inline: list[str] = []
        self.ids: list[str] = []
        self._script = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.references += [values[name] for name in ("src", "href") if name in values]
        self.keys |= {values[name] for name in ("data-text", "data-label", "data-hint") if name in values}
        self.ids += [values["id"]] if "id" in values else []
        self.inline += [f"{tag} {name}" for name in values if name == "style" or name.startswith("on")]
        self._script = tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._script = False


def modules(entry: Path, *, lazy: bool = False) -> set[Path]:
    """`entry` and what it imports, statically; with `lazy`, also what it imports later."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        source = path.read_text()
        names = re.findall(r'^import (?:[^"]*? from )?"([^"]+)";', source, re.M)
        if lazy:
            names += re.findall(r'import\("([^"]+)"\)', source)
        waiting += [(path.parent / name).resolve() for name in names]
    return found
