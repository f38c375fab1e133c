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
#: A day, a time of day, or both; in UTC.
_CALENDAR: Final = re.compile(
    r"(?=.)(today|yesterday|\d{4}-\d\d-\d\d)?(?:(?:^|[ T])(\d{1,2}):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?: ?(?:Z|UTC))?)?\Z",
    re.IGNORECASE,
)
_DAY: Final = _UNITS["d"]
_HINT: Final = (
    "write a duration such as 90s, 10m, 2h or 1h30m, a day or time of day in UTC such as yesterday, 10:00 or yesterday 10:00, "
    "or an RFC 3339 time such as 2026-01-31T12:00:00Z"
)


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


def calendar(name: str, text: str, now: int, since: int | None = None) -> int | None:
    """Parse a day (`today`, `yesterday`, `2026-01-31`), a time of day (`10:00`), or both, all in UTC.

    Parameters
    ----------
    name : str
        `since` or `until`. A day alone means its start for `since`, and its end for `until`.
    text : str
        The value.
    now : int
        ns since the Unix epoch. A time of day alone is the last one before now.
    since : int, optional
        With `until`, a time of day alone is the first one after this (ns).

    Returns
    -------
    int or None
        ns since the Unix epoch; None if the text is none of these.

    Examples
    --------
    >>> calendar("since", "yesterday", 100_000 * 1_000_000_000), calendar("since", "90s", 0)
    (0, None)
    """
    match = _CALENDAR.match(text.strip())
    if match is None:
        return None
    word, hour, minute, second, fraction = match.groups()
    if hour is not None and (int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59):
        return None
    time_of_day = (int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)) * _SECOND
    time_of_day += int((fraction or "").ljust(9, "0"))
    today = now - now % _DAY
    if word is None:
        start = today if name == "since" or since is None else since - since % _DAY
        if name == "until" and since is not None:
            return start + time_of_day + (_DAY if start + time_of_day < since else 0)
        return start + time_of_day - (_DAY if start + time_of_day > now else 0)
    days = {"today": today, "yesterday": today - _DAY}
    try:
        day = days[word.lower()] if word.lower() in days else parse_rfc3339(f"{word}T00:00:00Z")
    except ValueError:
        return None
    return day + (_DAY - 1 if hour is None and name == "until" else time_of_day)


def instant(name: str, value: object, now: int, since: int | None = None) -> int | None:
    """Return the time that a value of `since` or `until` means.

    Parameters
    ----------
    name : str
        The parameter's name, for the error.
    value : str, timedelta or datetime
        A duration back from now, a time (UTC if it has no zone), a day or a time of day (see `calendar`), or `all`.
    now : int
        ns since the Unix epoch.
    since : int, optional
        For `until`: where the window begins (ns).

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
    on_calendar = calendar(name, text, now, since)
    if on_calendar is not None:
        return on_calendar
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
