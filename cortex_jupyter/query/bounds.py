"""Bounds of an answer to a query: records, characters and seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from cortex_jupyter.query.pattern import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Number of records of a page, unless the query says otherwise.
LIMIT: Final = 1000
#: The largest `limit` that a query may ask for.
MAX_LIMIT: Final = 10_000
#: Maximum size of a page (characters of text); see `Bound`.
PAGE_SIZE: Final = 32 << 20
#: Maximum time to find a page (seconds); see `Bound`.
QUERY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Bound:
    """The maximum size and time of a page. A page that reaches one ends early; its cursor goes on from there.

    Parameters
    ----------
    size : int, optional
        Characters of its records' texts. A page has at least one record, whatever its length.
    end : float, optional
        Deadline, by `time.monotonic`. It counts only after some entries were read, so that each page makes progress.
    reader_gone : callable, optional
        Returns True when no reader waits for the page any more.
    """

    size: int = PAGE_SIZE
    end: float = float("inf")
    reader_gone: Callable[[], bool] = lambda: False

    @classmethod
    def within(cls, seconds: float, size: int, reader_gone: Callable[[], bool]) -> Self:
        """Return the bound of a page that begins now."""
        return cls(size, time.monotonic() + seconds, reader_gone)

    @property
    def over(self) -> bool:
        """Whether the deadline has passed, or no reader waits any more."""
        return time.monotonic() >= self.end or self.reader_gone()


#: The bound without a deadline.
NO_DEADLINE: Final = Bound()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits on answering a query.

    Parameters
    ----------
    pattern_s : float, optional
        CPU time of one pattern for the lines of one batch (seconds).
    query_s : float, optional
        Time limit of a page or a search (seconds). It ends with the results that it has, and a cursor to go on.
    page_records, page_size : int, optional
        Maximum of a page: records, and characters of their texts.
    """

    pattern_s: float = SECONDS
    query_s: float = QUERY_S
    page_records: int = MAX_LIMIT
    page_size: int = PAGE_SIZE
