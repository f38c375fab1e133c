"""The parameters of a log in Python: the query, and how the viewer looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.language import NAMES as EVERYWHERE
from cortex_jupyter.query.language import LogQuery

if TYPE_CHECKING:
    from collections.abc import Callable

#: The parameters of a query that Python takes.
NAMES: Final = frozenset(EVERYWHERE) - {"follow", "limit", "before", "after"}
#: Values of the viewer's options; `LogViewer` explains them.
TIMES: Final = ("local", "utc", "start", "delta", "off")
COLUMNS: Final = ("pod", "container", "level")
FOLDS: Final = ("", "exact", "masked")
SPLITS: Final = ("", "level", "pod")
CHARTS: Final = ("", "time", "step")
PANELS: Final = ("", "patterns", "fields", "ranks")
#: The viewer's options: a check of the value, and its description.
VIEWER_OPTIONS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "time": (lambda v: v in TIMES, f"one of {', '.join(TIMES)}"),
    "wrap": (lambda v: isinstance(v, bool), "True or False"),
    "trim": (lambda v: isinstance(v, bool), "True or False"),
    "columns": (lambda v: isinstance(v, list | tuple) and set(v) <= set(COLUMNS), f"a list of {', '.join(COLUMNS)}"),
    "font_size": (lambda v: isinstance(v, int) and 9 <= v <= 20, "a number of pixels from 9 to 20"),
    "newest_first": (lambda v: isinstance(v, bool), "True or False"),
    "fields": (lambda v: isinstance(v, list | tuple) and all(isinstance(f, str) for f in v), "a list of field names"),
    "fold": (lambda v: v in FOLDS, f"one of {', '.join(map(repr, FOLDS))}"),
    "around": (lambda v: type(v) is int and 0 <= v <= 100, "a number of lines from 0 to 100"),
    "split": (lambda v: v in SPLITS, f"one of {', '.join(map(repr, SPLITS))}"),
    "chart": (lambda v: v in CHARTS, f"one of {', '.join(map(repr, CHARTS))}"),
    "chart_log": (lambda v: isinstance(v, bool), "True or False"),
    "chart_smooth": (lambda v: type(v) is int and 0 <= v <= 1000, "a number of points from 0 to 1000"),
    "panel": (lambda v: v in PANELS, f"one of {', '.join(map(repr, PANELS))}"),
    "height": (lambda v: isinstance(v, int) and v >= 200, "a number of pixels, at least 200"),
}
_ELSEWHERE: Final = {
    "follow": "call .follow() on the log",
    "limit": "use tail, which returns the newest lines",
    "before": "use until",
    "after": "use since, or the numbers of lines: log.seq[100:200]",
}


def take_viewer_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """Remove the viewer's options from the parameters, and return them.

    Raises
    ------
    BadQuery
        A value is not allowed.

    Examples
    --------
    >>> given = {"since": "5m", "wrap": True, "time": "utc"}
    >>> take_viewer_options(given), given
    ({'time': 'utc', 'wrap': True}, {'since': '5m'})
    """
    options = {name: value for name in VIEWER_OPTIONS if (value := parameters.pop(name, None)) is not None}
    for name, value in options.items():
        is_good, description = VIEWER_OPTIONS[name]
        if not is_good(value):
            raise BadQuery(f"the viewer does not know {name}={str(value)[:60]!r}", f"{name} is {description}")
    return options


def with_fixed_days(query: dict[str, Any]) -> dict[str, Any]:
    """Return a query whose days and times of day are times: `yesterday` means the same day tomorrow. Durations stay.

    Raises
    ------
    BadQuery
        A parameter is unknown or wrong.
    """
    raw = parse_query(query).raw
    return query | {name: raw[name] for name in ("since", "until") if query.get(name) is not None}


def parse_query(query: dict[str, Any]) -> LogQuery:
    """Parse the parameters of a query. The default of `since` is `all`.

    Raises
    ------
    BadQuery
        A parameter is unknown or wrong.
    """
    for name in query:
        if name in _ELSEWHERE:
            raise BadQuery(f"{name!r} is not a parameter of a log in Python", _ELSEWHERE[name])
    parameters = {k: v for k, v in query.items() if v is not None}
    return LogQuery.parse({"since": "all", **parameters}, allowed=NAMES)
