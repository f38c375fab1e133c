"""Show how far a task is: a frame that displays progress bars."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from cortex_jupyter.analysis.result_frame import ResultFrame, html_table

_SHOWN: Final = 40
_FULL: Final = 30


class ProgressFrame(ResultFrame):
    """The newest state of each progress bar; returned by `log.progress()`.

    Columns: `pod`, `container`, `label`, `step`, `total`, `fraction`, `rate` (per second), `unit`, `elapsed`,
    `remaining` (seconds), `time`, `seq`. Bars that run come first.
    """

    nothing = "no progress bars"

    def __repr__(self) -> str:
        rows = self._table.slice(0, _SHOWN).to_pylist()
        return "\n".join(f"{_bar(r)}  {progress_text(r):40}  {r['pod']}/{r['container']}" for r in rows) or self.nothing

    def _repr_html_(self) -> str:
        if not self:
            return f"<i>{self.nothing}</i>"
        rows = self._table.slice(0, _SHOWN).to_pylist()
        cells = [
            [
                escape(f"{r['pod']}/{r['container']}"),
                escape(r["label"] or ""),
                _drawn(r["fraction"]),
                escape(progress_text(r, label=False)),
            ]
            for r in rows
        ]
        return html_table(["", "", "", ""], cells, len(self) - len(rows))


def progress_text(row: dict[str, Any], *, label: bool = True) -> str:
    """Describe a progress bar's state in words.

    Examples
    --------
    >>> progress_text({"label": "train", "fraction": 0.62, "step": 1240.0, "total": 2000.0, "rate": 3.1, "unit": "it", "remaining": 245.0})
    'train 62%, 1240/2000, 3.1 it/s, 4 min 5 s left'
    """
    parts = []
    head = f"{row['label']} " if label and row["label"] else ""
    if row["fraction"] is not None:
        parts.append(f"{row['fraction']:.0%}")
    if row["step"] is not None:
        parts.append(f"{row['step']:g}" + (f"/{row['total']:g}" if row["total"] else ""))
    if row["rate"]:
        parts.append(f"{row['rate']:.3g} {row['unit'] or 'it'}/s")
    if row["remaining"]:
        parts.append(f"{duration_text(row['remaining'])} left")
    return head + ", ".join(parts)


def duration_text(seconds: float) -> str:
    """Format a duration.

    Examples
    --------
    >>> duration_text(12.4), duration_text(245), duration_text(7500)
    ('12 s', '4 min 5 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def _bar(row: dict[str, Any]) -> str:
    done = round((row["fraction"] or 0) * _FULL)
    return f"{'█' * done}{'·' * (_FULL - done)}"


def _drawn(fraction: float | None) -> str:
    done = min(1.0, fraction or 0.0) * 100
    return (
        '<div style="width:180px;height:9px;border-radius:5px;background:rgba(128,128,128,.25);overflow:hidden">'
        f'<div style="width:{done:.1f}%;height:100%;background:{"#3c9a5f" if done >= 100 else "#4c78a8"}"></div></div>'
    )
