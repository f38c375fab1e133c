"""Show the ranks of a task: as a frame, and as strips of their progress over time."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.chart import STYLE
from cortex_jupyter.analysis.result_frame import ResultFrame, cell, html_table
from cortex_jupyter.parsing.rhythm import seconds_text

if TYPE_CHECKING:
    from cortex_jupyter.analysis.ranks import Comparison, Strip

_SHOWN: Final = 32
_WIDTH: Final = 1000
_LEFT, _RIGHT, _TOP, _AXIS = 118, 232, 4, 20
#: Height of a strip with text beside it; with more ranks than fit into `_HEIGHT`, strips are lower and most have no text.
_ROW, _HEIGHT = 18.0, 720.0
_TEXT: Final = 12.0
#: Colours of a rank on its way, of one that is behind, and of one that is silent or has failed.
_GOOD, _BEHIND, _BAD = "#4c78a8", "#e08a00", "#d9534f"
#: Shades of a colour.
_LEVELS: Final = 4
_NOTES: Final = {
    "slow": _BEHIND,
    "behind": _BAD,
    "stuck": _BAD,
    "silent": _BAD,
    "failed first": _BAD,
}


class Ranks(ResultFrame):
    """The ranks of a task, a row for each; returned by `log.ranks()`.

    Columns: `role`, `rank`, `pod`, `container`, `node`, `run`, `attempt` (of the newest run), `state` (`running`, `succeeded`,
    `failed`, `ended`), `note` (`failed first`, `failed`, `behind` while the task hangs, `silent`, `stuck`, `slow`, or nothing),
    `step` (the newest),
    `step_s` and `step_p95_s` (the time of a step: median and 95 %), `lag` (steps behind the median rank), `late_s` (how much
    later than the median rank it makes a step), `last` (time of its last line), `silent_s` (since then), `error` (its first),
    `error_seq`, `exit_code`, `seq` (of its last line). Times are converted to the recorder's clock; a node without a
    known clock counts as having the usual difference.
    """

    nothing = "no ranks: the log has no lines of main containers"

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(comparison.table)
        self._comparison = comparison

    def plot(self) -> RankStrips:
        """Return a picture: a strip for each rank, which shows its progress over time.

        A strip is blue where a rank keeps up, orange where it is behind, and empty where it makes no step. It needs no
        plotting library.
        """
        return RankStrips(self._comparison)

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Return the table to display: names, and numbers in short."""
        head = ["rank", "note", "step", "step time", "p95", "lag", "late", "silent", "error", ""]
        rows = []
        ranks = list(zip((strip.name for strip in self._comparison.strips), self._table.to_pylist(), strict=True))
        if len(ranks) > _SHOWN:  # the unusual ones come first, so that none of them is cut off
            ranks.sort(key=lambda rank: rank[1]["note"] not in _NOTES)
        for name, row in ranks[:_SHOWN]:
            texts = [name, row["note"] or row["state"], cell(row["step"])]
            texts += [_seconds(row[column]) for column in ("step_s", "step_p95_s")]
            texts += [cell(row["lag"]), _seconds(row["late_s"]), _seconds(row["silent_s"])]
            rows.append([*texts, (row["error"] or "")[:80], f"log.seq[{row['error_seq'] or row['seq']}]"])
        return head, rows

    def _repr_html_(self) -> str:
        if not self:
            return f"<i>{escape(self.nothing)}</i>"
        head, rows = self.shown()
        cells = [[escape(text) for text in row] for row in rows]
        for texts in cells:
            if colour := _NOTES.get(texts[1]):
                texts[1] = f'<b style="color:{colour}">{texts[1]}</b>'
            texts[-1] = f"<code>{texts[-1]}</code>"
            texts[:-2] = [f'<span style="white-space:nowrap">{text}</span>' for text in texts[:-2]]
        return html_table(head, cells, len(self) - len(rows))


class RankStrips:
    """The picture of `Ranks.plot`."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def html(self) -> str:
        """Return the picture as self-contained HTML, for light and dark pages."""
        return f'<div class="cortex-chart"><style>{STYLE}</style>{_legend(self._comparison.strips)}{_svg(self._comparison)}</div>'

    def __repr__(self) -> str:
        notes = [f"{strip.name} {strip.note}" for strip in self._comparison.strips if strip.note in _NOTES]
        return f"the progress of {len(self._comparison.strips)} ranks" + (f": {', '.join(notes)}" if notes else "")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/html": self.html()}


def _legend(strips: list[Strip]) -> str:
    """Return the meaning of the colours that are seen; a picture with one colour needs none."""
    keys = [
        (_GOOD, "makes steps", True),
        (_BEHIND, "is behind the median rank", any(lag > 0 for strip in strips for lag in strip.lag)),
        (_BAD, "makes no step, or failed", any(strip.note in _NOTES or strip.ended == "failed" for strip in strips)),
    ]
    used_keys = [(colour, text) for colour, text, is_seen in keys if is_seen]
    if len(used_keys) == 1:
        return ""
    parts = (
        f'<span class="key"><i style="background:{colour};height:8px"></i>{text}</span>' for colour, text in used_keys
    )
    return f"<div>{''.join(parts)}</div>"


def _svg(comparison: Comparison) -> str:
    strips = comparison.strips
    if not strips:
        return "<i>no ranks</i>"
    row = max(2.0, min(_ROW, _HEIGHT / len(strips)))
    height = _TOP + row * len(strips) + _AXIS
    parts, free = [], 0.0
    important = {i for i, strip in enumerate(strips) if strip.note in _NOTES}
    for index, strip in enumerate(strips):
        top = _TOP + index * row
        parts.append(_strip(strip, top, row))
        is_first_of_ten = index % max(1, round(len(strips) / 20)) == 0
        middle = top + row / 2
        near = any(abs(i - index) * row < _TEXT for i in important if i != index)
        if index in important or row >= _TEXT or (is_first_of_ten and not near):
            at = max(middle, free)
            free = at + _TEXT if index in important or row < _TEXT else 0.0
            parts.append(_texts(strip, at))
    parts.append(_axis(comparison, height))
    names = (
        ", ".join(f"{strip.name} {strip.note}" for strip in strips if strip.note in _NOTES) or f"{len(strips)} ranks"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(names)}">{"".join(parts)}</svg>'
    )


def _x(part: float) -> float:
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _strip(strip: Strip, top: float, row: float) -> str:
    gap = 2.0 if row > 8 else 0.5
    y, height = top + gap, max(1.0, row - 2 * gap)
    begin, until = _x(strip.start), _x(strip.end)
    title = f"<title>{escape(f'{strip.name}: {strip.label}')}</title>"
    where = f'x="{begin:.1f}" y="{y:.1f}" width="{max(1.0, until - begin):.1f}" height="{height:.1f}"'
    parts = [f'<rect {where} fill="currentColor" fill-opacity=".08"/>']
    paths: dict[tuple[str, int], str] = {}
    size, position = len(strip.pace), 0
    for shade, run in groupby(map(_shade, strip.pace, strip.lag)):
        length = len(list(run))
        if shade is not None:
            left_x = max(begin, _x(position / size))
            right = min(until, _x((position + length) / size))
            if right > left_x:
                piece = f"M{left_x:.1f} {y:.1f}h{right - left_x:.1f}v{height:.1f}H{left_x:.1f}z"
                paths[shade] = paths.get(shade, "") + piece
        position += length
    for (colour, level), path in paths.items():
        parts.append(f'<path d="{path}" fill="{colour}" fill-opacity="{0.25 + 0.6 * level / _LEVELS:.2f}"/>')
    if strip.note in ("silent", "stuck", "behind") and strip.last_step is not None:
        left_x = _x(strip.last_step)
        parts.append(
            f'<rect x="{left_x:.1f}" y="{y:.1f}" width="{max(2.0, until - left_x):.1f}" height="{height:.1f}" '
            f'fill="{_BAD}" fill-opacity=".3" stroke="{_BAD}" stroke-opacity=".8"/>'
        )
    if strip.error is not None:
        parts.append(f'<rect x="{_x(strip.error) - 1:.1f}" y="{y:.1f}" width="2" height="{height:.1f}" fill="{_BAD}"/>')
    if strip.ended == "failed":
        arm, middle = min(4.0, height / 2), y + height / 2
        stroke = f'stroke="{_BAD}" stroke-width="{2 if strip.note == "failed first" else 1.2}"'
        cross = f"M{until - arm:.1f} {middle - arm:.1f}l{2 * arm:.1f} {2 * arm:.1f}m0 {-2 * arm:.1f}l{-2 * arm:.1f} {2 * arm:.1f}"
        parts.append(f'<path d="{cross}" {stroke} fill="none"/>')
    return f"<g>{title}{''.join(parts)}</g>"


def _shade(pace: float, lag: float) -> tuple[str, int] | None:
    """Return colour and level of an interval; None where the rank made no step."""
    if not pace > 0:  # NaN too
        return None
    if lag > 0:
        return _BEHIND, max(1, min(_LEVELS, round(lag * _LEVELS)))
    return _GOOD, max(1, min(_LEVELS, round(pace * _LEVELS)))


def _texts(strip: Strip, middle: float) -> str:
    colour = _NOTES.get(strip.note)
    style = f' style="fill:{colour}" font-weight="600"' if colour else ""
    dim = "" if colour else ' class="dim"'
    return (
        f'<text x="{_LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end"{style}>{escape(strip.name[-18:])}</text>'
        f'<text x="{_WIDTH - _RIGHT + 10}" y="{middle + 4:.1f}"{dim}{style}>{escape(strip.label)}</text>'
    )


def _axis(comparison: Comparison, height: float) -> str:
    parts, ticks = [], 4
    for index in range(ticks + 1):
        at = comparison.start + (comparison.end - comparison.start) * index / ticks
        text = f"{datetime.fromtimestamp(at / 1e9, UTC).astimezone():%H:%M:%S}"
        parts.append(
            f'<text class="dim" x="{_x(index / ticks):.1f}" y="{height - 4:.0f}" text-anchor="middle">{text}</text>'
        )
    return "".join(parts)


def _seconds(value: float | None) -> str:
    return "" if value is None else seconds_text(value)
