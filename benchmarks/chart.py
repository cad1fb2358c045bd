"""A chart of what was seen beside what was wanted: one bar for each target, all on a scale on which the target is 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, ROW, BAR, LEFT, RIGHT, TOP = 860, 34, 14, 300, 190, 64
_FULL = WIDTH - LEFT - RIGHT
_MOST = 2.0
"""What is drawn of a bar, in targets; a longer one is cut, and its figure says how long it is."""

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 } .small { font-size: 12px; fill: #59636e } .end { text-anchor: end }
.middle { text-anchor: middle }
.met { fill: #1a7f6b } .missed { fill: #c4561b } .mark { stroke: #1f2328; stroke-width: 2 }
.spread { stroke: #1f2328; stroke-width: 1.5; opacity: .8 } .ground { fill: #8c959f; opacity: .16 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .met { fill: #3fb498 } .missed { fill: #f0883e }
  .mark, .spread { stroke: #e6edf3 }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One target: `low`, `seen` and `high` as shares of it, and both figures in words."""

    label: str
    beside: str
    """What it is compared with, below the label."""
    low: float
    seen: float
    high: float
    met: bool
    words: str
    """What was seen, and what was wanted."""


def chart(title: str, sections: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """An SVG of sections of bars, each with a sentence that says which side of the mark is the good one."""
    parts, y = [f'<text class="title" x="12" y="26">{escape(title)}</text>'], TOP
    for sentence, bars in sections:
        if not bars:
            continue
        rows = len(bars) * ROW
        parts.append(f'<text class="small" x="12" y="{y - 12}">{escape(sentence)}</text>')
        parts.append(f'<rect class="ground" x="{LEFT}" y="{y}" width="{_FULL}" height="{rows}" rx="3"/>')
        parts += [_row(bar, y + number * ROW) for number, bar in enumerate(bars)]
        mark = _x(1.0)
        parts.append(f'<line class="mark" x1="{mark}" y1="{y - 4}" x2="{mark}" y2="{y + rows + 4}"/>')
        parts.append(f'<text class="small middle" x="{mark}" y="{y - 12}">target</text>')
        y += rows + 48
    height = y - 30
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n{body}\n</svg>\n'
    )


def _row(bar: Bar, y: int) -> str:
    middle, top = y + ROW // 2, y + (ROW - BAR) // 2
    end, kind = _x(bar.seen), "met" if bar.met else "missed"
    drawn = [
        f'<text class="end" x="{LEFT - 12}" y="{middle - 1}">{escape(bar.label)}</text>',
        f'<text class="small end" x="{LEFT - 12}" y="{middle + 13}">{escape(bar.beside)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{max(end - LEFT, 2)}" height="{BAR}" rx="2"/>',
        f'<text x="{WIDTH - RIGHT + 12}" y="{middle - 1}">{escape(bar.words.partition("; ")[0])}</text>',
        f'<text class="small" x="{WIDTH - RIGHT + 12}" y="{middle + 13}">{escape(bar.words.partition("; ")[2])}</text>',
    ]
    low, high = _x(bar.low), _x(bar.high)
    if high - low > 2:
        drawn.append(f'<line class="spread" x1="{low}" y1="{middle}" x2="{high}" y2="{middle}"/>')
    if bar.seen > _MOST:  # cut, and seen to be
        drawn.append(f'<path class="ground" d="M{end - 9} {top} l6 0 l-5 {BAR} l-6 0 z" style="opacity:1"/>')
    return "\n".join(drawn)


def _x(share: float) -> int:
    return LEFT + round(min(share, _MOST) / _MOST * _FULL)
