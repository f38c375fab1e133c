"""The end of a log as HTML that needs nothing: what a notebook shows when it is opened without its kernel."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from cortex_jupyter.model import rfc3339
from cortex_jupyter.notebook.ansi import spans, tint
from cortex_jupyter.notebook.folded import folded
from cortex_jupyter.parsing.fields import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.notebook.folded import Row
    from cortex_jupyter.notebook.record import Record, Status
    from cortex_jupyter.parsing.blocks import Block

#: Lines, and characters of each, that are kept in the notebook's file; and how many are looked at, for a progress bar may be
#: hundreds of them.
LINES: Final = 200
LOOKED_AT: Final = 1000
_WIDTH: Final = 500
#: Pods that are named of those that say the same.
_NAMED: Final = 5
#: Escape sequences but those of colours and weights.
_ESCAPES: Final = re.compile(r"\x1b(?!\[[0-9;:]*m)(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Colours by the theme, where there is one; else by transparency, which serves a light and a dark page alike.
# Upside down, so that what is cut off is the beginning.
_BOX: Final = "display:flex;flex-direction:column-reverse;max-height:24em;overflow:auto;border:1px solid rgba(128,128,128,.4);border-radius:3px;padding:.4em .6em;"
_BOX_TEXT: Final = (
    "margin:0;font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere"
)
_DIM: Final = "opacity:.65"
_LEVELS: Final = {
    "warning": "box-shadow:inset 3px 0 #b8860b;padding-left:6px",
    "error": "box-shadow:inset 3px 0 #c0392b;padding-left:6px;background:rgba(192,57,43,.08)",
    "critical": "box-shadow:inset 3px 0 #c0392b;padding-left:6px;background:rgba(192,57,43,.08);font-weight:600",
}


def static(task: str, status: Status, query: dict[str, str], records: Sequence[Record], complete: str = "") -> str:
    """Write the end of a log.

    Parameters
    ----------
    task : str
        The task's key.
    status : Status
    query : dict
        The filter, as it was given.
    records : sequence of Record
        The last `LINES` are shown: of a progress bar its last state, of tracebacks that are the same one, folded but for the
        last.
    complete : str
        How many lines the recording has, and whether that is all.

    Returns
    -------
    str
        HTML without scripts, ids or links. Everything that was logged is escaped.
    """
    shown = _last(folded(records))
    several = len({(r.head.pod, r.head.container) for r in shown}) > 1
    last = next((row for row in reversed(shown) if row.block), None)
    filters = " ".join(f"{k}={v}" for k, v in query.items())
    head = f"<b>{escape(task)}</b> · {escape(status.message)}" + (f" · {escape(filters)}" if filters else "")
    body = (
        "".join(_row(row, several=several, unfolded=row is last) for row in shown)
        or f'<div style="{_DIM}">no lines yet</div>'
    )
    count = f"The last {lines} lines" if (lines := sum(row.count for row in shown)) > 1 else "The log"
    hint = f"{count} when this cell was run; run it again for the live view."
    foot = f"<div>{escape(complete)}</div>" if complete else ""
    return (
        f'<div class="cortex-logs-static" style="margin:.2em 0">'
        f'<div style="padding:.2em 0">{head}</div>'
        f'<div style="{_BOX}{_BOX_TEXT}"><div>{body}</div></div>'
        f'<div style="font-size:90%;padding:.2em 0">{foot}<div style="{_DIM}">{hint}</div></div></div>'
    )


def _last(rows: list[Row]) -> list[Row]:
    """Leave out what is beyond the last `LINES`, all that is written of a row counted."""
    room, first = LINES, len(rows)
    while first and room > 0:
        first -= 1
        room -= len(rows[first].lines) if rows[first].block else 1
    return rows[first:]


def _row(row: Row, *, several: bool, unfolded: bool) -> str:
    said, head = row.lines[-1], row.head
    source = f"{head.pod}/{head.container} "
    named = f'<span style="color:{tint(head.pod)}">{escape(source)}</span>' if several else ""
    before = f'<span style="{_DIM}">{rfc3339(head.ns)[11:23]} </span>{named}'
    if row.block is None:
        more = f'<span style="{_DIM}">  · {len(row.lines)} states</span>' if len(row.lines) > 1 else ""
        style = _LEVELS.get(said.level or "", "")
        return f"<div{f' style={chr(34)}{style}{chr(34)}' if style else ''}>{before}{_text(said)}{more}</div>"
    title = "".join(escape(part) for _, part in looks(row.block.title.replace("\n", " ")))
    aside = f'<span style="{_DIM}"> · {escape(_about(row.block, row.also))}</span>'
    lines = row.lines[:LINES]
    body = "".join(f"<div>{_text(line)}</div>" for line in lines)
    if len(lines) < len(row.lines):
        body += f'<div style="{_DIM}">… {len(row.lines) - len(lines)} more lines</div>'
    return (
        f'<details{" open" if unfolded else ""} style="{_LEVELS["error"]}">'
        f'<summary style="cursor:pointer">{before}<b>{title}</b>{aside}</summary>'
        f'<div style="padding-left:2em">{body}</div></details>'
    )


def _about(block: Block, also: list[str]) -> str:
    frames = f"{len(block.frames)} frame{'' if len(block.frames) == 1 else 's'}"
    more = f" and {len(also) - _NAMED} more" if len(also) > _NAMED else ""
    return f"{frames} · also in {', '.join(also[:_NAMED])}{more}" if also else frames


def _text(record: Record) -> str:
    parts = looks(record.text)
    return "".join(f'<span style="{css}">{escape(part)}</span>' if css else escape(part) for css, part in parts)


def looks(text: str) -> list[tuple[str, str]]:
    r"""Give a line as a person may read it: of a progress bar the last state, nothing that hides, and colours as CSS.

    Examples
    --------
    >>> looks(" 10%\r 20%\r"), looks("a\x00b\x1b[2J"), looks("\x1b[3mx")
    ([('', ' 20%')], [('', 'a�b')], [('font-style:italic', 'x')])
    """
    text = _ESCAPES.sub("", text)
    text = next((part for part in reversed(text.split("\r")) if plain(part)), "")
    found, room = [], _WIDTH
    for css, part in spans(text):
        if room > 0:
            found.append((css, _CONTROL.sub("\ufffd", part[:room])))
        room -= len(part)
    return found if room >= 0 else [*found, ("", f" … {-room} more characters")]
