"""The charts of a report as one SVG file, for a page that can only show pictures, such as one of Markdown."""

from html import escape
from textwrap import wrap

from loadtests.cards import Card, cards
from loadtests.charts import HEIGHT, WIDTH, peak
from loadtests.page import STYLE, verdict, when
from loadtests.report import Report

COLUMNS = 2
GAP, PAD = 16, 16
HEAD = 104  # of a card: its question, its words and its legend in two lines each
TITLE = 72
LETTER = 6.6  # how wide one is at 12 px, more or less; a bold one is wider by BOLD
BOLD = 1.15
_CARD_WIDTH, _CARD_HEIGHT = WIDTH + 2 * PAD, HEAD + HEIGHT + PAD
_STYLE = """
svg { overflow: visible; }
text { font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
svg .title { font-size: 24px; font-weight: 600; fill: var(--text); }
svg .question { font-size: 15px; font-weight: 600; fill: var(--text); }
svg .key { fill: currentColor; font-weight: 600; }
.sheet { fill: var(--bg); } .card { fill: var(--surface); stroke: var(--line); }
"""


def svg(report: Report) -> str:
    """The charts of the last run, two in a row."""
    last = report.runs[-1]
    shown = cards(report.scenario, last.run, last.knee)
    rows = -(-len(shown) // COLUMNS)
    width = GAP + COLUMNS * (_CARD_WIDTH + GAP)
    height = TITLE + rows * (_CARD_HEIGHT + GAP)
    title = f"{report.scenario.title}: {verdict(report)}"
    style = STYLE.read_text(encoding="utf-8") + _STYLE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{escape(style, quote=False)}</style>",
        f'<rect class="sheet" width="{width}" height="{height}"/>',
        f'<text class="title" x="{GAP}" y="32">{escape(title)}</text>',
        f'<text x="{GAP}" y="54">{escape(when(last.started_at))}</text>',
    ]
    for index, card in enumerate(shown):
        row, column = divmod(index, COLUMNS)
        x, y = GAP + column * (_CARD_WIDTH + GAP), TITLE + row * (_CARD_HEIGHT + GAP)
        parts.append(f'<g transform="translate({x} {y})">{_card(card)}</g>')
    return "".join([*parts, "</svg>\n"])


def _card(card: Card) -> str:
    parts = [
        f'<rect class="card" width="{_CARD_WIDTH}" height="{_CARD_HEIGHT}" rx="16"/>',
        f'<text class="question" x="{PAD}" y="26">{escape(card.question)}</text>',
    ]
    y = 28
    for words in wrap(card.words, int(WIDTH / LETTER)):
        y += 16
        parts.append(f'<text x="{PAD}" y="{y}">{escape(words)}</text>')
    x, y = float(PAD), y + 20
    for index, line in enumerate(card.lines):
        word = f"{line.name} {peak(line, card.unit) or '–'}"
        long = BOLD * LETTER * len(word) + PAD
        if x + long > _CARD_WIDTH and x > PAD:
            x, y = float(PAD), y + 16
        parts.append(f'<text class="key l{index}" x="{x:.0f}" y="{y}">{escape(word)}</text>')
        x += long
    drawn = card.drawn(dots=False).replace("<svg ", f'<svg x="{PAD}" y="{HEAD}" width="{WIDTH}" height="{HEIGHT}" ', 1)
    return "".join([*parts, drawn])
