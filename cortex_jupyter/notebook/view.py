"""What the page shows now, in Python's own parameters."""

from __future__ import annotations

import re
from typing import Any, Final

# `-word` and `-"two words"` in the page's search box leave lines out (js/src/store/filter.ts, splitExcludes).
_EXCLUDED: Final = re.compile(r'(?:^|(?<=\s))-(?:"([^"]+)"|([^\s"\d-]\S*))')
_FLAGGED: Final = re.compile(r"\(\?[aimsux]+\)")
_SLASHED: Final = re.compile(r"/(.+)/([ims]*)\Z", re.DOTALL)


def query_of(view: dict[str, Any]) -> dict[str, Any]:
    """Give the parameters of `TaskLog.filter` for what a viewer shows.

    Parameters
    ----------
    view : dict
        The widget's trait `view`.

    Examples
    --------
    >>> query_of({"since": "10m", "grep": "loss -healthz", "regex": False, "level": "warning", "pods": ["a", "b"]})
    {'since': '10m', 'level': 'warning', 'grep': '(?i)loss', 'exclude': '(?i)healthz', 'pod': 'a,b'}
    """
    found: dict[str, Any] = {k: view[k] for k in ("since", "level", "stream") if view.get(k)}
    grep, exclude = str(view.get("grep") or ""), str(view.get("exclude") or "")
    unwanted = [_pattern(exclude, regex=False)] if exclude else []
    if view.get("regex") or _SLASHED.match(grep):
        found["grep"] = _pattern(grep, regex=True)
    elif grep:
        words = [quoted or word for quoted, word in _EXCLUDED.findall(grep)]
        unwanted += [_pattern(word, regex=False) for word in words]
        text = _EXCLUDED.sub("", grep).strip() if words else grep
        if text:
            found["grep"] = _pattern(text, regex=False)
    if unwanted:
        found["exclude"] = unwanted[0] if len(unwanted) == 1 else "|".join(_scoped(p) for p in unwanted)
    for name in ("pod", "container"):
        if view.get(f"{name}s"):
            found[name] = ",".join(view[f"{name}s"])
    return found


def _pattern(text: str, *, regex: bool) -> str:
    """Write what was typed as a Python pattern; case counts when a capital was typed, as in the page."""
    slashed = _SLASHED.match(text)
    if slashed:
        text, flags = slashed.groups()
        source = text
    else:
        flags, source = "", text if regex else re.sub(r"([\\^$.*+?()\[\]{}|])", r"\\\1", text)
    if _FLAGGED.match(source):
        return source
    if not flags and not re.search(r"[A-Z]", re.sub(r"\\.", "", source)):
        flags = "i"
    return f"(?{flags}){source}" if flags else source


def _scoped(pattern: str) -> str:
    """Give a pattern whose flags hold for itself only, so that it can stand among others."""
    flags = re.match(r"\(\?([ims]+)\)", pattern)
    return f"(?{flags[1]}:{pattern[flags.end() :]})" if flags else f"(?:{pattern})"
