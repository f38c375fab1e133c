"""RFC 3339 times as Kubernetes writes them, with nanoseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final


def rfc3339(ns: int) -> str:
    """Return a time (ns since the Unix epoch) as Kubernetes writes it, with nine digits after the second.

    Examples
    --------
    >>> rfc3339(1_700_000_000_000_000_005)
    '2023-11-14T22:13:20.000000005Z'
    """
    second, fraction = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9})\d*)?\s*([Zz]|[+-]\d\d:?\d\d)?\Z"
)


def parse_rfc3339(text: str) -> int:
    """Parse an RFC 3339 time to ns since the Unix epoch, with all nine digits.

    Raises
    ------
    ValueError
        `text` is not an RFC 3339 time.

    Examples
    --------
    >>> parse_rfc3339("2023-11-14T23:13:20.5+01:00")
    1700000000500000000
    """
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    date, time_of_day, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone
    second = int(datetime.fromisoformat(f"{date}T{time_of_day}{zone}").timestamp())
    return second * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
