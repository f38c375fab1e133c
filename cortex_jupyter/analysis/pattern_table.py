"""The templates of a log as an object: a frame that shows how often each was said over time."""

from __future__ import annotations

import re
from html import escape
from typing import Final

from cortex_jupyter.analysis.result_frame import Found, html_table
from cortex_jupyter.analysis.spark import bars, spark
from cortex_jupyter.parsing.templates import ANY

#: By level, as in the viewer; by transparency it serves light and dark.
LEVELS: Final = {"warning": "#b8860b", "error": "#d9534f", "critical": "#d9534f"}
_SHOWN: Final = 30


class Patterns(Found):
    """The templates of a log, the most frequent first; `log.patterns()` makes it.

    Columns: `pattern`, `count`, `share`, `level`, `first`, `last`, `pods`, `counts`, `seq`, `example`.
    """

    nothing = "no lines"

    def grep(self, place: int) -> str:
        """Give a regular expression for the lines of one pattern: `log.filter(grep=log.patterns().grep(3))`.

        Parameters
        ----------
        place : int
            The row.
        """
        return grep(self._table["pattern"][place].as_py())

    def __repr__(self) -> str:
        rows = self._table.slice(0, _SHOWN).to_pylist()
        lines = [f"{r['count']:>9,}  {bars(r['counts'])}  {r['level'] or '':8}  {r['pattern'][:120]}" for r in rows]
        more = len(self) - len(rows)
        return "\n".join(lines) + (f"\n... {more} more patterns" if more > 0 else "") if lines else self.nothing

    def _repr_html_(self) -> str:
        if not self:
            return f"<i>{self.nothing}</i>"
        rows = self._table.slice(0, _SHOWN).to_pylist()
        cells = [
            [f"{r['count']:,}", f"{r['share']:.1%}", spark(r["counts"], LEVELS.get(r["level"], "#4c78a8")), said(r["pattern"], r["level"]), str(r["pods"])]
            for r in rows
        ]  # fmt: skip
        head = ["lines", "share", "over time", "pattern", "pods"]
        return html_table(head, cells, len(self) - len(rows), wrap=True)


def grep(pattern: str) -> str:
    r"""Give a regular expression for the lines of a template.

    Examples
    --------
    >>> grep("epoch <*> (of <*>) done")
    'epoch\\s+\\S+\\s+\\(of\\s+\\S+\\)\\s+done'
    """
    words = [r"\S+".join(re.escape(part) for part in word.split(ANY)) for word in pattern.split()]
    return r"\s+".join(words)


def said(pattern: str, level: str | None = None) -> str:
    """Write a template as HTML: what varies is dim, what is bad has its colour."""
    text = escape(pattern).replace(escape(ANY), '<span style="opacity:.6">·</span>')
    colour = f";color:{LEVELS[level]}" if level in LEVELS else ""
    return f'<span style="font:12px/1.5 ui-monospace,Menlo,Consolas,monospace{colour}">{text}</span>'
