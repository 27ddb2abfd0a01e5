"""The chart for the documentation: well-formed, everything inside, both axes from 0."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtests.benches.picture import HEIGHT, WIDTH, Curve, draw

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("highest", [0.4, 37.0, 60.0, 431.0])
def test_a_picture_is_whole(tmp_path: Path, highest: float) -> None:
    path = tmp_path / "curve.svg"
    curves = [
        Curve("ours & theirs", [(50, highest / 10), (800, highest / 2)]),
        Curve("floor", [(0, 0), (800, highest)]),
    ]
    draw(path, curves, x="viewers", y="% of a core", title="CPU")
    root = ElementTree.parse(path).getroot()
    assert root.findtext(f"{SVG}title") == (
        f"CPU. ours & theirs: {_said(highest / 2)} % of a core at 800; floor: {_said(highest)} % of a core at 800"
    )
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 2
    for line in lines:
        for place in line.attrib["points"].split():
            across, down = map(float, place.split(","))
            assert 0 <= across <= WIDTH
            assert 0 <= down <= HEIGHT
    marks = [
        float((each.text or "x").replace("\u202f", "")) for each in root.findall(f"{SVG}text") if _number(each.text)
    ]
    assert marks[0] == 0
    assert max(marks) >= 800
    assert len(marks) <= 18


def _said(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:g}"


def _number(text: str | None) -> bool:
    try:
        float((text or "x").replace("\u202f", ""))
    except ValueError:
        return False
    return True
