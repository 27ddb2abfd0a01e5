"""The styles of the pages: colours with contrast in both themes, and motion that can be switched off."""

import itertools
import re

import pytest

from tests.live.web import STYLES, text


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast_in_both_themes(theme: int) -> None:
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text("css/tokens.css"))
    token = {name: (light, dark)[theme] for name, light, dark in pairs}
    grounds = ("bg", "surface", "raised")
    words = [
        *itertools.product(("text", "muted", "danger"), grounds),
        *itertools.product(("accent", "success", "warning"), ("bg", "surface")),
        ("on-accent", "accent"), ("on-accent", "accent-strong"), ("on-danger", "danger"),
        *((name, f"{name}-soft") for name in ("accent", "danger", "success", "warning")),
        *(("text", f"{name}-soft") for name in ("accent", "danger", "success", "warning")),
    ]  # fmt: skip
    for front, back in words:
        assert contrast(token[front], token[back]) >= 4.5, f"{front} on {back}"
    for ground in grounds:
        assert contrast(token["line-strong"], token[ground]) >= 3.0, f"an input's border on {ground}"


def test_motion_can_be_switched_off() -> None:
    assert "prefers-reduced-motion" in text("css/tokens.css")
    for path in STYLES:
        for duration in re.findall(r"(?:transition|animation):[^;]*?(\d+)ms", path.read_text()):
            assert int(duration) <= 200 or "linear" in path.read_text(), path.name
