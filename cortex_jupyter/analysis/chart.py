"""Draw curves as SVG that needs no library and no script, in light and dark, also in a saved notebook.

CSS alone shows the crosshair with its values, so it works wherever the picture is shown.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from datetime import UTC, datetime
from html import escape
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cortex_jupyter.analysis.curves import Curve, Panel

    #: Turns a value into its position in the picture.
    Scale = Callable[[float], float]

#: Colour of the median of many curves: a grey, which no source has.
_MEDIAN: Final = "#808a94"
_WIDTH: Final = 1000
_GAP: Final = 18
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 24
#: Number of crosshair positions in a panel.
_STOPS: Final = 40
#: Maximum number of curves whose values the crosshair shows.
_LABELLED: Final = 8
STYLE: Final = (
    ".cortex-chart{max-width:1200px;margin:.4em 0;color:var(--jp-ui-font-color1,inherit)}"
    ".cortex-chart svg{width:100%;height:auto;display:block;font:11px system-ui,-apple-system,'Segoe UI',sans-serif}"
    ".cortex-chart text{fill:currentColor}"
    ".cortex-chart .dim{opacity:.62}.cortex-chart .grid{stroke:currentColor;stroke-opacity:.13}"
    ".cortex-chart .stop *{opacity:0;pointer-events:none}.cortex-chart .stop rect:first-child{pointer-events:all}"
    ".cortex-chart .stop:hover *{opacity:1}.cortex-chart .stop:hover rect:first-child{opacity:0}"
    ".cortex-chart .tip{fill:var(--jp-layout-color1,Canvas);stroke:currentColor;stroke-opacity:.25}"
    ".cortex-chart .key{display:inline-block;margin:0 1.1em .3em 0;font:12px system-ui,sans-serif;white-space:nowrap}"
    ".cortex-chart .key i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:.45em;vertical-align:middle}"
)


def chart(panels: Sequence[Panel], note: str = "") -> str:
    """Draw panels side by side.

    Parameters
    ----------
    panels : sequence of Panel
    note : str, optional
        Text above the chart, for instance that it is live.

    Returns
    -------
    str
        HTML; text from the log is escaped.
    """
    if not panels:
        return f'<div class="cortex-chart"><style>{STYLE}</style><i>no numbers that vary</i> {escape(note)}</div>'
    columns = 1 if len(panels) == 1 else 2 if len(panels) in (2, 4) else 3
    width = (_WIDTH - _GAP * (columns - 1)) / columns
    height = 300.0 if columns == 1 else 220.0 if columns == 2 else 190.0
    rows = math.ceil(len(panels) / columns)
    drawn = "".join(
        f'<g transform="translate({(i % columns) * (width + _GAP):.0f},{(i // columns) * height:.0f})">'
        f"{_panel(panel, width, height)}</g>"
        for i, panel in enumerate(panels)
    )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {rows * height:.0f}" role="img" aria-label="{escape(", ".join(p.name for p in panels))}">{drawn}</svg>'
    return f'<div class="cortex-chart"><style>{STYLE}</style>{_legend(panels, note)}{svg}</div>'


def _legend(panels: Sequence[Panel], note: str) -> str:
    colours = {curve.label: curve.colour for panel in panels for curve in panel.curves}
    if any(p.band for p in panels):
        keys = [(_MEDIAN, f"{len(colours)} sources: their median, and the range from the lowest to the highest")]
        apart = dict.fromkeys(c.label for p in panels for c in p.apart)
        keys += [(colours[label], f"{label}, far from the others") for label in apart]
    else:
        keys = [(colour, label) for label, colour in colours.items()] if len(colours) > 1 else []
    parts = [f'<span class="key"><i style="background:{c}"></i>{escape(text)}</span>' for c, text in keys]
    if note:
        parts.append(f'<span class="key" style="opacity:.65">{escape(note)}</span>')
    return f"<div>{''.join(parts)}</div>" if parts else ""


def _panel(panel: Panel, width: float, height: float) -> str:
    visible = [panel.band, *panel.curves] if panel.band else panel.curves
    xs = [float(v) for c in visible for v in (*c.x[:1], *c.x[-1:], *c.lost[:1], *c.lost[-1:])]
    ys = [float(v) for c in visible if len(c.low) for v in (c.low.min(), c.high.max())]
    title = f'<text x="{_LEFT}" y="15" font-weight="600" font-size="12">{escape(panel.name)}</text>'
    if panel.last is not None:
        count = len(panel.curves)
        ended = "; the others have ended" if panel.live < count else ""
        says = f"Median of the last values of {panel.live} of {count} curves{ended}" if count > 1 else "Last value"
        number = f"{'median ' if count > 1 else ''}{_short(panel.last)}"
        title += (
            f'<text class="dim" x="{width - _RIGHT:.0f}" y="15" text-anchor="end"><title>{says}</title>{number}</text>'
        )
    if not xs or not ys:
        return f'{title}<text class="dim" x="{_LEFT}" y="40">no finite values</text>{_lost(panel, width, None)}'
    x = _scale(min(xs), max(xs), _LEFT, width - _RIGHT, log=False)
    y = _scale(*_padded(min(ys), max(ys), log=panel.log), height - _BOTTOM, _TOP, log=panel.log)
    parts = [title, _axes(panel, x, y, (min(xs), max(xs)), (min(ys), max(ys)), width, height)]
    if panel.band:
        parts.append(_line(panel.band, x, y, 'stroke-width="2"', band=True))
        parts += [_line(curve, x, y, 'stroke-width="1.4"', band=False) for curve in panel.apart]
    else:
        parts += [_line(curve, x, y, 'stroke-width="1.6"', band=True) for curve in panel.curves]
    parts.append(_lost(panel, width, x))
    parts.append(_stops(panel, x, width, height))
    return "".join(parts)


def _padded(low: float, high: float, *, log: bool) -> tuple[float, float]:
    if log:
        return low / 1.15, high * 1.15
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _scale(low: float, high: float, a: float, b: float, *, log: bool) -> Scale:
    f: Callable[[float], float] = math.log10 if log else float
    first, span = f(low), (f(high) - f(low)) or 1.0
    return lambda value: a + (b - a) * (f(value) - first) / span


def _line(curve: Curve, x: Scale, y: Scale, style: str, *, band: bool) -> str:
    stroke = curve.colour or _MEDIAN
    if not len(curve.x):
        return ""
    points = [(x(a), y(b)) for a, b in zip(curve.x.tolist(), curve.y.tolist(), strict=True)]
    drawn = ""
    if band and (curve.low != curve.high).any():
        low = [(x(a), y(b)) for a, b in zip(curve.x.tolist(), curve.low.tolist(), strict=True)]
        high = [(x(a), y(b)) for a, b in zip(curve.x.tolist(), curve.high.tolist(), strict=True)]
        drawn = f'<path d="{_path([*high, *reversed(low)])}Z" fill="{stroke}" fill-opacity=".16"/>'
    if len(points) == 1:
        return f'{drawn}<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2.5" fill="{stroke}"/>'
    return f'{drawn}<path d="{_path(points)}" fill="none" stroke="{stroke}" stroke-linejoin="round" {style}/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _axes(
    panel: Panel, x: Scale, y: Scale, xs: tuple[float, float], ys: tuple[float, float], width: float, height: float
) -> str:
    bottom, parts = height - _BOTTOM, []
    for value in _powers(*ys) if panel.log else _ticks(*ys, 4):
        at = y(value)
        if _TOP - 4 <= at <= bottom + 1:
            parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{width - _RIGHT:.0f}"/>')
            parts.append(
                f'<text class="dim" x="{_LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{_short(value)}</text>'
            )
    ticks = _moments(*xs) if panel.by_time else [(v, _short(v)) for v in _ticks(*xs, 5 if width > 400 else 4)]
    for value, label in ticks:
        parts.append(f'<text class="dim" x="{x(value):.1f}" y="{height - 7:.0f}" text-anchor="middle">{label}</text>')
    parts.append(f'<path class="grid" style="stroke-opacity:.4" d="M{_LEFT} {bottom:.1f}H{width - _RIGHT:.0f}"/>')
    return "".join(parts)


def _lost(panel: Panel, width: float, x: Scale | None) -> str:
    """Mark where values were NaN or infinite, and label the first such place, because users look for it."""
    where = [at for curve in panel.curves for at in curve.lost]
    if not where:
        return ""
    with_lost = [curve for curve in panel.curves if curve.lost]
    curve = min(with_lost, key=lambda curve: curve.lost[0])
    first = curve.lost[0]
    when = _clock(first) if panel.by_time else f"step {_short(first)}"
    who = f", {curve.label}" if len(panel.curves) > 1 and (len(with_lost) == 1 or curve.recovers) else ""
    more = ", and more" if curve.recovers and len(where) > 1 else ""
    words = f"NaN {'at' if curve.recovers else 'from'} {when}{who}{more}"
    label = f'<text x="{width - _RIGHT:.0f}" y="28" text-anchor="end" fill="#e45756" style="fill:#e45756">{escape(words)}</text>'
    if x is None:
        return label
    marked = sorted({round(x(at)) for at in where})
    marks = "".join(f"M{at - 3} {_TOP}l6 6m0 -6l-6 6" for at in (marked[0], marked[-1]))
    bar = "".join(f"M{at} {_TOP + 3}h1" for at in marked)
    return f'{label}<path d="{marks}{bar}" stroke="#e45756" stroke-width="1.4" fill="none"/>'


def _stops(panel: Panel, x: Scale, width: float, height: float) -> str:
    """Draw the crosshair positions: invisible strips whose line and values CSS shows under the pointer."""
    visible = [panel.band, *panel.apart] if panel.band else list(panel.curves)[:_LABELLED]
    curves = [(curve, *_points(curve)) for curve in visible]
    positions = sorted({position for _, xs, _ in curves for position in xs})
    if not positions:
        return ""
    first, span = positions[0], positions[-1] - positions[0]
    at = positions
    if len(positions) > _STOPS:
        # Positions at even distances, each at a point.
        targets = (first + span * i / (_STOPS - 1) for i in range(_STOPS))
        at = sorted({positions[_nearest(positions, value)] for value in targets})
    edges = [_LEFT - 1.0, *((x(a) + x(b)) / 2 for a, b in itertools.pairwise(at)), width - _RIGHT + 1]
    parts = []
    for begin, end, value in zip(edges, edges[1:], at, strict=False):
        rows = [
            (curve.colour or _MEDIAN, curve.label if len(visible) > 1 else "", _short(ys[_nearest(xs, value)]))
            for curve, xs, ys in curves
            if _reaches(xs, value, span / _STOPS / 2)
        ]
        parts.append(
            _stop(begin, end, x(value), _clock(value) if panel.by_time else f"step {_step(value)}", rows, width, height)
        )
    return "".join(parts)


def _nearest(positions: list[float], value: float) -> int:
    """Return the index of the place that is nearest to a value.

    Examples
    --------
    >>> [_nearest([0.0, 10.0, 20.0], value) for value in (-3, 4, 6, 99)]
    [0, 0, 1, 2]
    """
    i = bisect_left(positions, value)
    return min(range(max(0, i - 1), min(len(positions), i + 1)), key=lambda j: abs(positions[j] - value))


def _points(curve: Curve) -> tuple[list[float], list[float]]:
    """Return x and values of a curve with its lost values, which are NaN."""
    points = [*zip(curve.x.tolist(), curve.y.tolist(), strict=True), *((x, math.nan) for x in curve.lost)]
    points.sort(key=itemgetter(0))
    return [x for x, _ in points], [value for _, value in points]


def _reaches(positions: list[float], at: float, margin: float) -> bool:
    """Return whether a curve reaches a place: to its usual distance between points beyond its ends, at least `margin`."""
    if not positions:
        return False
    reach = max(margin, (positions[-1] - positions[0]) / max(1, len(positions) - 1))
    return positions[0] - reach <= at <= positions[-1] + reach


def _stop(
    begin: float, end: float, at: float, when: str, rows: list[tuple[str, str, str]], width: float, height: float
) -> str:
    lines = [when, *(f"{label} {value}".strip() for _, label, value in rows)]
    wide = 6.2 * max(map(len, lines)) + 22
    start = at + 8 if at + 8 + wide < width else at - 8 - wide
    text = f'<text x="{start + 7:.1f}" y="{_TOP + 15}" class="dim">{escape(when)}</text>'
    for i, (dot, label, value) in enumerate(rows):
        row = _TOP + 30 + 14 * i
        text += f'<circle cx="{start + 10:.1f}" cy="{row - 4}" r="3" fill="{dot}"/><text x="{start + 17:.1f}" y="{row}">{escape(f"{label} {value}".strip())}</text>'
    return (
        f'<g class="stop"><rect x="{begin:.1f}" y="{_TOP}" width="{max(0.5, end - begin):.1f}" height="{height - _TOP - _BOTTOM:.0f}" opacity="0"/>'
        f'<path d="M{at:.1f} {_TOP}V{height - _BOTTOM:.0f}" stroke="currentColor" stroke-opacity=".4"/>'
        f'<rect class="tip" x="{start:.1f}" y="{_TOP + 2}" width="{wide:.0f}" height="{20 + 14 * len(rows)}" rx="4"/>{text}</g>'
    )


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return round values between two, about `count` of them.

    Examples
    --------
    >>> _ticks(0.03, 2.3, 4)
    [0.5, 1.0, 1.5, 2.0]
    """
    span = high - low
    if span <= 0:
        return [low]
    raw = span / count
    unit = 10 ** math.floor(math.log10(raw))
    error = raw / unit  # as in https://github.com/d3/d3-array: the nearest round step on a logarithmic scale
    step = unit * (10 if error >= math.sqrt(50) else 5 if error >= math.sqrt(10) else 2 if error >= math.sqrt(2) else 1)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _powers(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, (last - first) // 5)
    return [10.0**e for e in range(first, last + 1, step)]


def _moments(low: float, high: float) -> list[tuple[float, str]]:
    count = 3
    if high <= low:
        return [(low, _clock(low))]
    room = (high - low) * 0.1
    return [(v, _clock(v)) for v in (low + room + (high - low - 2 * room) * i / (count - 1) for i in range(count))]


def _step(value: float) -> str:
    # A point can be the mean of several steps, so its step need not be whole. Round it from 20 on, where a fraction
    # says little.
    return f"{value:,.0f}".replace(",", " ") if value >= 20 else _short(value)


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%H:%M:%S}"


def _short(value: float) -> str:
    """Format a number for an axis.

    Examples
    --------
    >>> [_short(v) for v in (0.25, 0.0003, 12500.0, 3_000_000.0, 40.0)]
    ['0.25', '3e-4', '12.5k', '3M', '40']
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    size = abs(value)
    for unit, of in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if of <= size < 1e12:
            return f"{value / (1e3 if unit == 'k' else of):.4g}{unit}"
    if size and (size < 1e-3 or size >= 1e12):
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"
