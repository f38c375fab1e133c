"""The parameters of a log in Python."""

from __future__ import annotations

from typing import Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.parsing.query import NAMES as EVERYWHERE
from cortex_jupyter.parsing.query import LogQuery

#: The parameters of a query that mean something here.
NAMES: Final = frozenset(EVERYWHERE) - {"follow", "limit", "before", "after"}
_ELSEWHERE: Final = {
    "follow": "call .follow() on the log",
    "limit": "use tail, which gives the newest",
    "before": "use until",
    "after": "use since, or slice the log by seq: log[100:200]",
}


def check(query: dict[str, Any]) -> LogQuery:
    """Read the parameters of a query, `since` being `all` where it is not given.

    Raises
    ------
    BadQuery
        One is unknown or cannot be understood.
    """
    for name in query:
        if name in _ELSEWHERE:
            raise BadQuery(f"{name!r} is no parameter of a log in Python", _ELSEWHERE[name])
    given = {k: v for k, v in query.items() if v is not None}
    return LogQuery.parse({"since": "all", **given}, allowed=NAMES)
