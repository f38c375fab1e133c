"""Translate what the viewer shows into parameters of a query."""

from __future__ import annotations

from typing import Any, Final

from cortex_jupyter.query.typed import python_pattern

#: The parameters that select sources.
_SOURCES: Final = ("pod", "container", "role", "rank", "run", "attempt")


def query_of(view: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of `TaskLog.filter` for what a viewer shows.

    Parameters
    ----------
    view : dict
        The widget's trait `view`. `shown` has the parts of the filter (js/src/client/settings.ts), and the
        sources that are shown (js/src/text/sources.ts).

    Examples
    --------
    >>> shown = {"grep": ["loss"], "exclude": ["healthz", "GET"], "where": ["step>3"], "level": "warning", "pod": "a,b"}
    >>> query_of({"since": "10m", "shown": shown})
    {'since': '10m', 'level': 'warning', 'grep': '(?i)loss', 'exclude': ['(?i)healthz', 'GET'], 'where': 'step>3', 'pod': 'a,b'}
    """
    filters: dict[str, Any] = view.get("shown") or {}
    parameters: dict[str, Any] = {k: view[k] for k in ("since", "until", "stream") if view.get(k)}
    if filters.get("level"):
        parameters["level"] = filters["level"]
    for name in ("grep", "exclude", "where"):
        parts = [part if name == "where" else python_pattern(part) for part in filters.get(name) or ()]
        if parts:
            parameters[name] = parts[0] if len(parts) == 1 else parts
    return parameters | {name: filters[name] for name in _SOURCES if filters.get(name)}
