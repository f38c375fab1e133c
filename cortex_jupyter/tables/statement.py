"""The completeness statement: how many lines there are, from when to when, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import orjson

from cortex_jupyter.model import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from cortex_jupyter.store import Readable


@dataclass(frozen=True, slots=True)
class Completeness:
    """What a recording holds, computed from what was committed, never assumed; as text, in local time.

    Parameters
    ----------
    records : int
        Lines.
    from_, to : str or None
        Times of the earliest and the latest line, RFC 3339 with nine digits; None without lines.
    sources : int
        Number of sources (runs of containers).
    done : bool
        The task has ended and everything it wrote has been read.
    gaps : list of dict
        Where lines are missing, or may be: `from`, `to`, `reason`, `source`.
    masked : dict
        Number of masked secrets by kind, masked before lines were stored or when they were read.

    Examples
    --------
    >>> print(Completeness(1203441, None, None, sources=2, done=True))
    1 203 441 lines, 2 sources, complete
    """

    records: int
    from_: str | None
    to: str | None
    sources: int
    done: bool
    gaps: list[dict[str, Any]] = field(default_factory=list)
    masked: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Readable, recording: int) -> Self:
        """Return the statement of a recording."""
        complete, info = store.complete(recording), store.info(recording)
        first, last = (None if t is None else rfc3339(t) for t in (complete.first, complete.last))
        return cls(
            complete.records,
            first,
            last,
            complete.sources,
            info is not None and info.done,
            complete.gaps,
            complete.masked,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the `complete` object of the HTTP contract, with `sources` and `done`."""
        complete = {
            "records": self.records,
            "from": self.from_,
            "to": self.to,
            "gaps": self.gaps,
            "sources": self.sources,
            "done": self.done,
        }
        return complete | ({"masked": self.masked} if self.masked else {})

    def as_json(self, **more: object) -> bytes:
        """Return the statement as JSON, as in the metadata of tables and Parquet files."""
        return orjson.dumps(self.as_dict() | more)

    def __str__(self) -> str:
        parts = [format_count(self.records, "line")]
        if self.from_ and self.to:
            parts.append(f"{_span(self.from_, self.to)} {_when(self.to):%Z}")
        parts.append(format_count(self.sources, "source"))
        if self.masked:
            kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.masked.items()))
            parts.append(f"{format_count(sum(self.masked.values()), 'secret')} masked ({kinds})")
        if not self.gaps:
            parts.append("complete" if self.done else "complete so far")
            return ", ".join(parts)
        parts.append(format_count(len(self.gaps), "gap"))
        return f"{', '.join(parts)}: {'; '.join(map(_gap, self.gaps))}"

    __repr__ = __str__


def format_count(n: int, word: str) -> str:
    """Format a count with its noun.

    Examples
    --------
    >>> format_count(14978, "byte"), format_count(1, "line")
    ('14 978 bytes', '1 line')
    """
    return f"{n:,} {word}{'' if n == 1 else 's'}".replace(",", " ")


def _span(start: str, end: str) -> str:
    a, b = _when(start), _when(end)
    pattern = "%H:%M:%S" if a.date() == b.date() else "%Y-%m-%d %H:%M:%S"
    return f"{a:{pattern}} to {b:{pattern}}"


def _when(text: str) -> datetime:
    # The statement has RFC 3339; a gap notice has nanoseconds.
    ns = int(text) if text.isdecimal() else parse_rfc3339(text)
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).astimezone()


def _gap(gap: dict[str, Any]) -> str:
    source = gap.get("source") or {}
    where = f"{source['pod']}/{source['container']} " if source.get("pod") else ""
    try:
        when = _span(gap["from"], gap["to"])
    except (KeyError, TypeError, ValueError, AttributeError):
        when = "at an unknown time"
    reason = gap.get("reason") or gap.get("message")
    return f"{where}{when}{f' ({reason})' if reason else ''}"
