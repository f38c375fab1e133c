"""The end of a log as self-contained HTML: what a notebook shows when it is opened without its kernel."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.colours import rgb, source_colour
from cortex_jupyter.model import rfc3339
from cortex_jupyter.notebook.ansi import legible, spans
from cortex_jupyter.notebook.folding import fold
from cortex_jupyter.parsing.fields import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.notebook.folding import Row
    from cortex_jupyter.notebook.record import Record, Status
    from cortex_jupyter.parsing.blocks import Block

#: Maximum number of lines that are saved in the notebook's file.
LINES: Final = 200
#: Maximum number of characters that are saved of each line.
_WIDTH: Final = 500
#: Lines that are read: more than are saved, because a progress bar may have written hundreds of them.
MAX_READ: Final = 1000
#: How many pods are named that wrote the same traceback.
_MAX_NAMES: Final = 5
#: Escape sequences, except for colours and weights.
_ESCAPES: Final = re.compile(r"\x1b(?!\[[0-9;:]*m)(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Transparency instead of fixed colours, so that it suits a light and a dark page.
# The column is reversed, so that the box is scrolled to the end at first.
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


def static_html(
    task: str, status: Status, query: dict[str, str], records: Sequence[Record], complete: str = "", part: str = ""
) -> str:
    """Return the end of a log as HTML.

    Parameters
    ----------
    task : str
        The task's key.
    status : Status
    query : dict
        The parameters as the user gave them.
    records : sequence of Record
        The last `LINES` of them are shown. A progress bar shows its last state. Equal tracebacks are one row; only the last
        traceback is unfolded.
    complete : str
        The completeness statement.
    part : str
        Code of a part of a log, which has no live view.

    Returns
    -------
    str
        HTML without scripts, IDs or links. The text of lines is escaped.
    """
    rows = _last(fold(records))
    several = len({(r.head.pod, r.head.container) for r in rows}) > 1
    last = next((row for row in reversed(rows) if row.block), None)
    filters = " ".join(f"{k}={v}" for k, v in query.items())
    head = f"<b>{escape(task)}</b> · {escape(status.message)}" + (f" · {escape(filters)}" if filters else "")
    body = (
        "".join(_row(row, task, several=several, unfolded=row is last) for row in rows)
        or f'<div style="{_DIM}">{"no lines" if part else "no lines yet"}</div>'
    )
    count = f"The last {lines} lines" if (lines := sum(row.count for row in rows)) > 1 else "The log"
    hint = f"{count} when this cell was run; run it again for the live view."
    if part:
        hint = f"{count} of {escape(part)}" if lines == LINES else escape(part)
    foot = f"<div>{escape(complete)}</div>" if complete else ""
    return (
        f'<div class="cortex-logs-static" style="margin:.2em 0">'
        f'<div style="padding:.2em 0">{head}</div>'
        f'<div style="{_BOX}{_BOX_TEXT}"><div>{body}</div></div>'
        f'<div style="font-size:90%;padding:.2em 0">{foot}<div style="{_DIM}">{hint}</div></div></div>'
    )


def _last(rows: list[Row]) -> list[Row]:
    """Return the last rows, with at most `LINES` written lines together."""
    room, first = LINES, len(rows)
    while first and room > 0:
        first -= 1
        room -= len(rows[first].lines) if rows[first].block else 1
    return rows[first:]


def _row(row: Row, task: str, *, several: bool, unfolded: bool) -> str:
    last_line, head = row.lines[-1], row.head
    source = f"{head.pod}/{head.container} "
    colour = legible(rgb(source_colour(head.pod, task, head.role, head.rank)))
    source_label = f'<span style="color:{colour}">{escape(source)}</span>' if several else ""
    prefix = f'<span style="{_DIM}">{rfc3339(head.ns)[11:23]} </span>{source_label}'
    if row.block is None:
        more = f'<span style="{_DIM}">  · {len(row.lines)} states</span>' if len(row.lines) > 1 else ""
        style = _LEVELS.get(last_line.level or "", "")
        return f"<div{f' style={chr(34)}{style}{chr(34)}' if style else ''}>{prefix}{_text(last_line)}{more}</div>"
    title = "".join(escape(part) for _, part in styled(row.block.title.replace("\n", " ")))
    aside = f'<span style="{_DIM}"> · {escape(_about(row.block, row.also))}</span>'
    lines = row.lines[:LINES]
    body = "".join(f"<div>{_text(line)}</div>" for line in lines)
    if len(lines) < len(row.lines):
        body += f'<div style="{_DIM}">… {len(row.lines) - len(lines)} more lines</div>'
    return (
        f'<details{" open" if unfolded else ""} style="{_LEVELS["error"]}">'
        f'<summary style="cursor:pointer">{prefix}<b>{title}</b>{aside}</summary>'
        f'<div style="padding-left:2em">{body}</div></details>'
    )


def _about(block: Block, also: list[str]) -> str:
    frames = f"{len(block.frames)} frame{'' if len(block.frames) == 1 else 's'}"
    more = f" and {len(also) - _MAX_NAMES} more" if len(also) > _MAX_NAMES else ""
    return f"{frames} · also in {', '.join(also[:_MAX_NAMES])}{more}" if also else frames


def _text(record: Record) -> str:
    parts = styled(record.text)
    return "".join(f'<span style="{css}">{escape(part)}</span>' if css else escape(part) for css, part in parts)


def printable(text: str) -> str:
    """Return a text without colours, and with a sign in place of each control character."""
    return _CONTROL.sub("\ufffd", plain(text))


def styled(text: str) -> list[tuple[str, str]]:
    r"""Return a line as (CSS, text) parts: only the last state of a progress bar, control characters replaced.

    Examples
    --------
    >>> styled(" 10%\r 20%\r"), styled("a\x00b\x1b[2J"), styled("\x1b[3mx")
    ([('', ' 20%')], [('', 'a�b')], [('font-style:italic', 'x')])
    """
    text = _ESCAPES.sub("", text)
    text = next((part for part in reversed(text.split("\r")) if plain(part)), "")
    parts, room = [], _WIDTH
    for css, part in spans(text):
        if room > 0:
            parts.append((css, _CONTROL.sub("\ufffd", part[:room])))
        room -= len(part)
    return parts if room >= 0 else [*parts, ("", f" … {-room} more characters")]
