"""Draw how many instances of each part are busy, by the size of the fleet, as SVG for light and dark pages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 400, 56, 250, 24, 44
#: The colours of Okabe and Ito, which colour-blind readers can distinguish on white and on black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888")
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.grid { stroke: #8883; } .full { stroke: #d1242f; stroke-dasharray: 5 3; }
path { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""


def picture(title: str, sizes: Sequence[float], lines: Mapping[str, Sequence[float]]) -> str:
    """Return a chart with logarithmic axes as SVG.

    Parameters
    ----------
    title : str
    sizes : sequence of float
        Numbers of tasks, in ascending order.
    lines : mapping of str to sequence of float
        By part, how many instances are busy at each size.

    Returns
    -------
    str
    """
    low, high = 0.01, 100.0

    def x(size: float) -> float:
        share = math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(load: float) -> float:
        share = math.log(min(max(load, low), high) / low) / math.log(high / low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text x="{_LEFT}" y="14">how many of it are busy</text>',
        f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end">tasks at one time</text>',
    ]
    for load in (0.01, 0.1, 1, 10, 100):
        kind = "full" if load == 1 else "grid"
        out.append(f'<line class="{kind}" x1="{_LEFT}" x2="{right}" y1="{y(load):.1f}" y2="{y(load):.1f}"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y(load) + 4:.1f}" text-anchor="end">{load:g}</text>')
    for size in sizes[:: max(1, len(sizes) // 5)]:
        out.append(f'<line class="grid" x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{_TOP}" y2="{bottom}"/>')
        out.append(f'<text x="{x(size):.1f}" y="{bottom + 16}" text-anchor="middle">{size:,.0f}</text>')
    # Labels stand at the ends of the curves, far enough apart to be readable.
    below = _TOP - 8.0
    ends = sorted(lines.items(), key=lambda item: -item[1][-1])
    for colour, (name, loads) in zip(_COLOURS, ends, strict=False):
        path = " ".join(
            f"{'M' if i == 0 else 'L'}{x(s):.1f},{y(v):.1f}" for i, (s, v) in enumerate(zip(sizes, loads, strict=True))
        )
        below = max(y(loads[-1]), below + 16)
        out.append(f'<path d="{path}" stroke="{colour}"/>')
        out.append(f'<path d="M{right + 1},{y(loads[-1]):.1f} L{right + 10},{below:.1f}" stroke="{colour}"/>')
        out.append(f'<text x="{right + 14}" y="{below + 4:.1f}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])
