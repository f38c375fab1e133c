"""What answering a query may take: records, characters and seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from cortex_jupyter.query.pattern import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Records of a page where `limit` is not given, and at most.
LIMIT: Final = 1000
MOST: Final = 10_000
#: Characters of text of a page, and seconds that looking for it takes, at most; see `Bound`.
PAGE_SIZE: Final = 32 << 20
QUERY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a page ends although there is more: its cursor goes on from there.

    Parameters
    ----------
    size : int, optional
        Characters of its records' texts; one record it has however long that is.
    end : float, optional
        When it is to be there, by `time.monotonic`. It goes on until at least something has been looked at.
    gone : callable, optional
        True when nobody waits for it any more.
    """

    size: int = PAGE_SIZE
    end: float = float("inf")
    gone: Callable[[], bool] = lambda: False

    @classmethod
    def within(cls, seconds: float, size: int, gone: Callable[[], bool]) -> Self:
        """Give the bound of a page that is begun now."""
        return cls(size, time.monotonic() + seconds, gone)

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.end or self.gone()


#: That of callers who have all the time they want.
PATIENT: Final = Bound()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What answering a query may take.

    Parameters
    ----------
    pattern_s : float, optional
        Seconds of computing of one pattern for the lines of one batch.
    query_s : float, optional
        Seconds after which a page or a search ends with what it has, and a cursor to go on.
    page_records, page_size : int, optional
        Records of a page, and characters of their texts.
    """

    pattern_s: float = SECONDS
    query_s: float = QUERY_S
    page_records: int = MOST
    page_size: int = PAGE_SIZE
