"""Find when the lines of a foreign log were written."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from cortex_jupyter.archive.optional import import_optional

#: Names of time fields in foreign logs; the first that is present is used.
TIMES: Final = ("time", "timestamp", "@timestamp", "ts", "datetime", "date", "asctime")
_DATE: Final = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d"
_WRITTEN: Final = re.compile(rf"\[?({_DATE})(?:[.,](\d{{1,9}}))?\d*(Z|[+-]\d\d:?\d\d)?")
_FIELD: Final = re.compile(rf'"(?:{"|".join(map(re.escape, TIMES))})"\s*:\s*(?:"([^"]*)"|(\d{{1,19}}(?!\d)(?:\.\d+)?))')

#: Seconds since the Unix epoch that are plausible for a log: from 1990 to 2200.
_EARLIEST: Final = 631_152_000
_LATEST: Final = 7_258_118_400
#: Seconds since the Unix epoch that fit into 64 bits of ns: from 1677 to 2262.
_FIRST: Final = -(2**63) // 10**9 + 1
_LAST: Final = 2**63 // 10**9


class Clock:
    """Finds the time of one line after another.

    Parameters
    ----------
    last : int
        ns since the Unix epoch: the time of lines before the first line with a time of its own.

    Examples
    --------
    >>> clock = Clock(0)
    >>> clock.line("2023-11-14T22:13:20Z up"), clock.line("no time"), clock.line('{"ts": 1700000001, "msg": "on"}')
    (1700000000000000000, 1700000000000000000, 1700000001000000000)
    """

    def __init__(self, last: int) -> None:
        self.last = last
        self._second = ("", 0)

    def at(self, when: Any, line: str) -> int:
        """Return the time in a column of `times`; without one, the time that the line itself states."""
        self.last = when if type(when) is int else self.line(line if when is None else str(when))
        return self.last

    def line(self, line: str) -> int:
        """Return when a line was written; if it does not say, the time of the line before."""
        match = _WRITTEN.match(line)
        if match is not None:
            self.last = self._ns(match[1], match[2], match[3]) or self.last
        elif line[:1] == "{" and (field := _FIELD.search(line)) is not None:
            if field[2]:
                self.last = _number(float(field[2]) if "." in field[2] else int(field[2])) or self.last
            elif (inner := _WRITTEN.match(field[1])) is not None:
                self.last = self._ns(inner[1], inner[2], inner[3]) or self.last
        return self.last

    def _ns(self, date: str, fraction: str | None, zone: str | None) -> int | None:
        key = date + (zone or "")
        if self._second[0] != key:
            written = f"{date[:10].replace('/', '-')}T{date[11:]}{'+00:00' if zone in (None, 'Z') else zone}"
            try:
                second = int(datetime.fromisoformat(written).timestamp())
            except ValueError:  # the 31st of February
                return None
            if not _FIRST <= second < _LAST:
                return None
            self._second = (key, second)
        return self._second[1] * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def times(column: Any) -> list[Any]:
    """Return a column's times in ns, None for no time; text columns are returned as text."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        second = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
        fits = pc.and_(pc.greater_equal(second, _FIRST), pc.less(second, _LAST))
        return list(pc.if_else(fits, column, None).cast(pa.timestamp("ns"), safe=False).cast(pa.int64()).to_pylist())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return [None if x is None else _number(x) or None for x in column.to_pylist()]
    return list(column.to_pylist())


def _number(value: float) -> int:
    """Convert a time since the Unix epoch to ns, whether it is in s, ms, µs or ns. Return 0 for any other number.

    Examples
    --------
    >>> _number(1_700_000_000), _number(1_700_000_000_000), _number(400)
    (1700000000000000000, 1700000000000000000, 0)
    """
    for power in (9, 6, 3, 0):
        if _EARLIEST <= value / 10 ** (9 - power) < _LATEST:
            # A float near today's time is exact to a quarter of a microsecond only.
            return int(value) * 10**power + round(value % 1 * 1e6) * 10**power // 10**6
    return 0
