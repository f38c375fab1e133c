"""Show the patterns of a log, with how often each occurred over time."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.result_frame import ResultFrame, html_table
from cortex_jupyter.parsing.line_patterns import ANY, MORE

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Colours of levels, readable on light and on dark pages. (The viewer's own colours follow its theme.)
LEVELS: Final = {"warning": "#b8860b", "error": "#d9534f", "critical": "#d9534f"}
_BAR_COLOUR: Final = "#4c78a8"
_SHOWN: Final = 30
_BARS: Final = " ▁▂▃▄▅▆▇█"


class Patterns(ResultFrame):
    """The patterns of a log, the most frequent first; returned by `log.patterns()`.

    Columns: `pattern`, `count`, `share`, `level`, `first`, `last`, `pods`, `counts`, `seq`, `example`,
    `times`.
    """

    nothing = "no lines"

    def grep(self, place: int) -> str:
        """Return a regular expression for the lines of one pattern: `log.filter(grep=log.patterns().grep(3))`.

        Parameters
        ----------
        place : int
            Index of the pattern, as in the table.
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
            [
                f"{r['count']:,}",
                f"{r['share']:.1%}",
                _bars_html(r["counts"], r["level"]),
                pattern_html(r["pattern"], r["level"]),
                str(r["pods"]),
            ]
            for r in rows
        ]
        head = ["lines", "share", "over time", "pattern", "pods"]
        return html_table(head, cells, len(self) - len(rows), wrap=True)


def grep(pattern: str) -> str:
    r"""Return a regular expression for the lines of a pattern.

    Examples
    --------
    >>> grep("epoch <*> (of <*>) done")
    'epoch\\s+\\S+\\s+\\(of\\s+\\S+\\)\\s+done'
    """
    # A value in brackets, in quotes or behind `=` may be empty; one with dots behind it may have several words.
    text = re.escape(" ".join(pattern.split())).replace(re.escape(ANY), ANY)
    text = text.replace(ANY + re.escape(MORE), r"\S.*?")
    text = re.sub(rf"(?<=[=\"'\[({{]){re.escape(ANY)}(?=\\?[\])}}\"'\s,;]|$)", lambda _: r"\S*?", text)
    return text.replace(ANY, r"\S+").replace(r"\ ", r"\s+")


def pattern_html(pattern: str, level: str | None = None) -> str:
    """Return a pattern as HTML: variable parts are dim, and bad levels are coloured."""
    text = escape(pattern).replace(escape(ANY), '<span style="opacity:.6">·</span>')
    colour = f";color:{LEVELS[level]}" if level in LEVELS else ""
    return f'<span style="font:12px/1.5 ui-monospace,Menlo,Consolas,monospace{colour}">{text}</span>'


def bars(counts: Sequence[int]) -> str:
    """Draw counts over time as bars, in text.

    Examples
    --------
    >>> bars([0, 1, 4, 8])
    ' ▁▄█'
    """
    top = max([*counts, 1])
    return "".join(_BARS[-(-n * 8 // top)] for n in counts)


def _bars_html(counts: Sequence[int], level: str | None) -> str:
    # Text, not SVG: 200 bytes a row in the saved notebook instead of 1 800.
    return f'<span style="font:9px/1 ui-monospace,Menlo,Consolas,monospace;white-space:pre;color:{LEVELS.get(level or "", _BAR_COLOUR)}">{bars(counts)}</span>'
