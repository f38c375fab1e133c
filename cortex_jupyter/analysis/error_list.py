"""Show the errors of a log: as a list, as a frame, and as cards that open."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.errors import Error, as_table
from cortex_jupyter.analysis.result_frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN: Final = 25
_PODS: Final = 3
_BAD: Final = "#d9534f"
MONO: Final = "font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere"


class Errors(ResultFrame):
    r"""The errors of a log, ordered by their first occurrence; returned by `log.errors()`.

    It is a sequence of `Error` (`type`, `message`, `frames`, `count`, `pods`, `first`, `last`, `context`, `text`,
    `seq`, ...). It is also a frame with the columns `kind`, `type`, `message`, `count`, `pods`, `first`, `last`, `file`,
    `line`, `function`, `frames`, `chain`, `seq`, `text` and `context`; `file`, `line` and `function` are of the frame
    that failed.

    Examples
    --------
    >>> import cortex_jupyter as cortex, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "train.log")
    >>> said = 'Traceback (most recent call last):\n  File "train.py", line 3, in step\n    x[9]\nIndexError: no x\n'
    >>> _ = path.write_text(said)
    >>> for error in cortex.open(path).errors():
    ...     print(error.title, error.count, error.pods, error.frames[-1].function)
    IndexError: no x 1 ['train.log'] step
    """

    nothing = "no errors"

    def __init__(self, errors: list[Error]) -> None:
        super().__init__(as_table(errors))
        self._errors = errors

    def __iter__(self) -> Iterator[Error]:  # type: ignore[override]
        return iter(self._errors)

    def __getitem__(self, index: int) -> Error:
        return self._errors[index]

    def __repr__(self) -> str:
        lines = [f"{error.count:>6}x  {error.title[:140]}  {_where(error)}" for error in self._errors[:_SHOWN]]
        more = len(self) - len(lines)
        return "\n".join(lines) + (f"\n... {more} more" if more > 0 else "") if lines else self.nothing

    def _repr_html_(self) -> str:
        if not self:
            return f"<i>{self.nothing}</i>"
        cards = "".join(card(error) for error in self._errors[:_SHOWN])
        more = len(self) - _SHOWN
        note = f'<div style="opacity:.65">{more} more errors; .to_pandas() has all</div>' if more > 0 else ""
        return f'<div class="cortex-errors">{cards}{note}</div>'


def card(error: Error, *, is_open: bool = False) -> str:
    """Return an error as a `<details>` element. A click on its summary shows the traceback; no script is needed."""
    times = f"{error.first:%H:%M:%S}" if error.first else ""
    if error.count > 1 and error.last:
        times += f" to {error.last:%H:%M:%S}"
    count = f'<b style="opacity:.8">{error.count}x</b> ' if error.count > 1 else ""
    head = (
        f'{count}<b style="color:{_BAD}">{escape(error.type)}</b> {escape(error.message[:300])}'
        f' <span style="opacity:.6">{escape(_where(error))} · {times}</span>'
    )
    before = "".join(f'<div style="opacity:.55">{escape(line) or "&nbsp;"}</div>' for line in error.context)
    body = f'<div style="{MONO};padding:.3em 0 .5em 1.2em">{before}{escape(error.text)}</div>'
    return (
        f'<details{" open" if is_open else ""} style="border-left:3px solid {_BAD};padding:.1em .6em;margin:.3em 0">'
        f'<summary style="cursor:pointer">{head}</summary>{body}</details>'
    )


def _where(error: Error) -> str:
    pods = ", ".join(error.pods[:_PODS]) + (
        f" and {len(error.pods) - _PODS} more pods" if len(error.pods) > _PODS else ""
    )
    location = ""
    if error.frames:
        frame = error.frames[-1 if error.kind == "python" else 0]
        location = f" at {frame.file}:{frame.line}" if frame.line else ""
    return f"in {pods}{location}"
