"""Durations and times as users write them in `since` and `until`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import parse_rfc3339

_SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "ms": _SECOND // 1000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
    "d": 86400 * _SECOND,
    "w": 7 * 86400 * _SECOND,
}
_PART: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|[smhdw])")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+\Z")
_HINT: Final = "write a duration such as 90s, 10m, 2h, 1d or 1h30m, or an RFC 3339 time such as 2026-01-31T12:00:00Z"


def duration(text: str) -> int | None:
    """Parse a duration and return it in ns; None if the text is not a duration.

    Units are `ms`, `s`, `m` and `h` as in Go (kubectl's `--since`), and `d` and `w` for days and weeks.

    Examples
    --------
    >>> duration("1h30m") // 1_000_000_000, duration("0.5s"), duration("90")
    (5400, 500000000, None)
    """
    if not _WHOLE.match(text):
        return None
    return sum(round(float(n) * _UNITS[u]) for n, u in _PART.findall(text))


def instant(name: str, value: object, now: int) -> int | None:
    """Return the time that a value of `since` or `until` means.

    Parameters
    ----------
    name : str
        The parameter's name, for the error.
    value : str, timedelta or datetime
        A duration back from now, a time (UTC if it has no zone), or `all`.
    now : int
        ns since the Unix epoch.

    Returns
    -------
    int or None
        ns since the Unix epoch; None for `all`.

    Raises
    ------
    BadQuery
        The value is none of these.

    Examples
    --------
    >>> instant("since", "90s", 100_000_000_000), instant("since", "all", 0)
    (10000000000, None)
    """
    if isinstance(value, timedelta):
        return max(0, now - _exact(value))
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return _exact(aware - datetime(1970, 1, 1, tzinfo=UTC))
    text = value.strip() if isinstance(value, str) else ""
    if text.lower() == "all" and name == "since":
        return None
    elapsed = duration(text)
    if elapsed is not None:
        return max(0, now - elapsed)
    try:
        return parse_rfc3339(text)
    except ValueError:
        pass
    or_all = ", or all" if name == "since" else ""
    suggestion = f"did you mean {text}s? " if text.isdecimal() else ""
    raise BadQuery(f"{name}={str(value)[:60]!r} is no duration and no time", f"{suggestion}{_HINT}{or_all}")


def _exact(delta: timedelta) -> int:
    """Return a duration in ns, without the rounding of `total_seconds`."""
    return (delta.days * 86400 + delta.seconds) * _SECOND + delta.microseconds * 1000
