"""The parameters of a log in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.language import NAMES as EVERYWHERE
from cortex_jupyter.query.language import LogQuery

if TYPE_CHECKING:
    from collections.abc import Callable

#: The parameters of a query that mean something here.
NAMES: Final = frozenset(EVERYWHERE) - {"follow", "limit", "before", "after"}
#: How times are shown, and what columns there are; `LogViewer` says what each means.
TIMES: Final = ("local", "utc", "start", "delta", "off")
COLUMNS: Final = ("pod", "container", "level")
FOLDS: Final = ("", "exact", "masked")
CHARTS: Final = ("", "time", "step")
#: What sets how the viewer looks, and what it has to be.
LOOKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "time": (lambda v: v in TIMES, f"one of {', '.join(TIMES)}"),
    "wrap": (lambda v: isinstance(v, bool), "True or False"),
    "columns": (lambda v: isinstance(v, list | tuple) and set(v) <= set(COLUMNS), f"a list of {', '.join(COLUMNS)}"),
    "font_size": (lambda v: isinstance(v, int) and 9 <= v <= 20, "a number of pixels from 9 to 20"),  # noqa: PLR2004
    "newest_first": (lambda v: isinstance(v, bool), "True or False"),
    "fields": (lambda v: isinstance(v, list | tuple) and all(isinstance(f, str) for f in v), "a list of fields' names"),
    "fold": (lambda v: v in FOLDS, f"one of {', '.join(map(repr, FOLDS))}"),
    "chart": (lambda v: v in CHARTS, f"one of {', '.join(map(repr, CHARTS))}"),
    "chart_log": (lambda v: isinstance(v, bool), "True or False"),
    "height": (lambda v: isinstance(v, int) and v >= 200, "a number of pixels, at least 200"),  # noqa: PLR2004
}
_ELSEWHERE: Final = {
    "follow": "call .follow() on the log",
    "limit": "use tail, which gives the newest",
    "before": "use until",
    "after": "use since, or slice the log by seq: log[100:200]",
}


def looks(given: dict[str, Any]) -> dict[str, Any]:
    """Take out of what was given how the viewer is to look.

    Raises
    ------
    BadQuery
        A value is none of those there are.

    Examples
    --------
    >>> given = {"since": "5m", "wrap": True, "time": "utc"}
    >>> looks(given), given
    ({'time': 'utc', 'wrap': True}, {'since': '5m'})
    """
    found = {name: value for name in LOOKS if (value := given.pop(name, None)) is not None}
    for name, value in found.items():
        is_good, what = LOOKS[name]
        if not is_good(value):
            raise BadQuery(f"{name}={str(value)[:60]!r} is nothing a viewer knows", f"{name} is {what}")
    return found


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
