"""The level of a line, from the forms of the common loggers; None rather than a guess."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.parsing.fields import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The levels, lowest first.
LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical")

#: Loggers' names of the levels, in lower case. `fatal`, `panic`, `emerg` and `alert` end or endanger the program: critical.
ALIASES: Final[Mapping[str, str]] = {name: name for name in LEVELS} | {
    "trc": "trace",
    "finest": "trace",
    "finer": "trace",
    "verbose": "trace",
    "dbg": "debug",
    "dbug": "debug",
    "fine": "debug",
    "config": "debug",
    "inf": "info",
    "information": "info",
    "informational": "info",
    "notice": "info",
    "warn": "warning",
    "wrn": "warning",
    "err": "error",
    "eror": "error",
    "severe": "error",
    "exception": "error",
    "crit": "critical",
    "fatal": "critical",
    "ftl": "critical",
    "panic": "critical",
    "emerg": "critical",
    "emergency": "critical",
    "alert": "critical",
    "dpanic": "critical",
}

#: The keys of structured loggers: zap, zerolog, logrus, slog, bunyan, pino, structlog, python-json-logger, Stackdriver.
KEYS: Final = ("level", "severity", "lvl", "levelname", "log.level", "loglevel", "level_name")

_HEAD: Final = 96

_WORD = "trace|debug|info(?:rmation)?|notice|warn(?:ing)?|err(?:or)?|severe|crit(?:ical)?|fatal|panic|emerg|alert|verbose|fine(?:st|r)?"
# This needs one pass over the head of a line. A word in capitals counts anywhere in it. A lower-case word counts only in
# brackets, after `level=`, or as the first word before a colon: "no error found" and "warning lights" are prose.
_PATTERN: Final = re.compile(
    rf"""
    \A\[?(?P<klog>[IWEFDC])(?:\d{{4}}\ \d\d:\d\d:\d\d\.\d|\ \d{{4}}-\d\d-\d\d\ \d)
    | \A(?P<trace>[\s╭─]*(?:\+\ Exception\ Group\ )?Traceback\ \(most\ recent\ call\ last\)|Exception\ in\ thread\ |Caused\ by:\ |goroutine\ \d+\ \[
        |\s+File\ "[^"]+(?:"?,?\ ?\Z|",\ l)|\s+at\ (?:[\w$.<>/@]+\([^)]*(?:\)\s*)?|[\w$.<>/@]{{80,}}|.*[A-Za-z/>]\S*:\d+:\d+\)?(?:\ \{{)?\s*)\Z
        |thread\ '[^']*'\ (?:\(\d+\)\ )?panicked\ at
        |(?-i:(?:[\w$]+\.)*[A-Z][\w$]*(?:Error|Exception))(?::|\s*$)|(?-i:E)\ {{3,}}\S)
    | \A(?P<warn>(?-i:(?:\s*\S+:\d+:\ |\(node:\d+\)\ (?:\[\w+\]\ )?)(?:\w+\.)*\w*Warning:\ ))
    | \A\d+:[A-Z]\ \d\d\ \w{{3}}\ \d{{4}}\ [\d:.]+\ (?P<sign>[-.*\#])[ ]
    | (?<![\w.])(?:level|lvl|severity|loglevel|levelname)["']?\s*[=:]\s*["']?(?P<key>[A-Za-z]{{3,13}}|\d\d)\b
    | [\[(|]\s*(?P<box>{_WORD}|(?-i:TRC|DBG|INF|WRN|ERR|FTL|[TDIWEF]))\s*[\])|]
    | \A(?:\d[\dTZ:.,+-]*\t)?(?P<first>{_WORD})(?:\ error)?\s*[:\t]
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CAPITAL: Final = re.compile(
    r"(?<![\w./=-])(TRACE|DEBUG|DBG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|SEVERE|CRIT(?:ICAL)?|FATAL|PANIC)(?![\w./=-])"
)
# A search costs ten times as much as a match or a search for plain words. So only lines with one of these are searched.
_SIGNS: Final = ("[", "(", "|", "level", "lvl", "severity")
_ANY_CAPITAL: Final = re.compile("TRACE|DEBUG|DBG|INFO|NOTICE|WARN|ERR|SEVERE|CRIT|FATAL|PANIC")
_LETTERS: Final = {
    "t": "trace",
    "d": "debug",
    "i": "info",
    "w": "warning",
    "e": "error",
    "f": "critical",
    "c": "critical",
    ".": "debug",
    "-": "debug",
    "*": "info",
    "#": "warning",
}


def parse_levels(text: str) -> str | None:
    """Return the levels that a filter wants in one form: `warning` for it and higher ones, `=info` or `info,error` for exactly these.

    None if a name is no level.

    Examples
    --------
    >>> [parse_levels(text) for text in ("warn", "=INFO", "err, info", "warning,error,critical", "loud")]
    ['warning', '=info', 'info,error', 'warning', None]
    """
    names = [ALIASES.get(name.strip()) for name in text.lower().removeprefix("=").split(",")]
    if None in names:
        return None
    is_exact = len(names) > 1 or text.startswith("=")
    return _written({*names}) if is_exact else names[0]


def _written(names: set[str | None]) -> str:
    chosen = [name for name in LEVELS if name in names]
    if chosen == [*LEVELS[-len(chosen) :]]:
        return chosen[0]
    return ",".join(chosen) if len(chosen) > 1 else f"={chosen[0]}"


def common_levels(first: str, second: str) -> str | None:
    """Return the levels that both filters want, in the form of `parse_levels`; None if they have no level in common.

    Examples
    --------
    >>> common_levels("warning", "info"), common_levels("info", "debug,info,error"), common_levels("error", "=info")
    ('warning', 'info,error', None)
    """
    names = {name for name in levels_of(first) if name in levels_of(second)} - {""}
    return _written({*names}) if names else None


def higher_level(first: str | None, second: str | None) -> str | None:
    """Return the more severe of two levels.

    Examples
    --------
    >>> higher_level("info", "error"), higher_level(None, "warning"), higher_level("critical", "error")
    ('error', 'warning', 'critical')
    """
    return max(first, second, key=lambda name: LEVELS.index(name) if name else -1)


def levels_of(level_filter: str) -> tuple[str, ...]:
    """Return the names of the levels that a filter wants; "" stands for lines without a level, which count as `info`.

    Examples
    --------
    >>> levels_of("error"), levels_of("info"), levels_of("debug,error")
    (('error', 'critical'), ('info', 'warning', 'error', 'critical', ''), ('debug', 'error'))
    """
    is_exact = "," in level_filter or level_filter.startswith("=")
    names = tuple(level_filter.removeprefix("=").split(",")) if is_exact else LEVELS[LEVELS.index(level_filter) :]
    return (*names, "") if "info" in names else names


def level(text: str) -> str | None:
    """Return the level of a line.

    Parameters
    ----------
    text : str

    Returns
    -------
    str or None
        One of `LEVELS`; None if the line names no level, or two.

    Notes
    -----
    Forms: klog (https://github.com/kubernetes/klog): `Lmmdd hh:mm:ss.uuuuuu`. Tornado and Jupyter: `[I yyyy-mm-dd`. bunyan and
    pino: numbers from 10 to 60 (https://getpino.io/#/docs/api?id=logger-level). Python's `logging`: names; its `warnings`: a
    category. pytest: `E` before the lines of an exception. Valkey and Redis: `.-*#` (`serverLogRaw` in server.c).

    Examples
    --------
    >>> level("I0102 10:00:00.000000 1 main.go:3] up"), level('{"level":"warn","msg":"x"}'), level("[error] no")
    ('info', 'warning', 'error')
    >>> level("no error was found") is None
    True
    """
    head = text[:_HEAD]
    if "\x1b" in head:
        head = plain(text[: 3 * _HEAD])[:_HEAD]
    if head.lstrip()[:1] == "{":
        doc = _json(text)
        if doc is not None:
            return _of_json(doc)
    match = _PATTERN.match(head)
    if match is None:
        low = head.lower()
        if any(sign in low for sign in _SIGNS):
            match = _PATTERN.search(head, 1)
    if match is not None:
        kind, word = match.lastgroup, match[match.lastgroup or 0]
        if kind in ("trace", "warn"):
            return "error" if kind == "trace" else "warning"
        if kind == "key" and word.isdecimal():
            return of(int(word))
        return _LETTERS.get(word.lower()) or ALIASES.get(word.lower())
    first = _ANY_CAPITAL.search(head)
    if first is None:
        return None
    words = {ALIASES[w.lower()] for w in _CAPITAL.findall(head, first.start())}
    return words.pop() if len(words) == 1 else None


def of(value: object) -> str | None:
    """Return the level that a logger's own value means.

    Parameters
    ----------
    value : object
        A name, or a number from 10 to 60 as bunyan and pino use it.

    Examples
    --------
    >>> of("WARN"), of(30), of(50), of("loud")
    ('warning', 'info', 'error', None)
    """
    if isinstance(value, str):
        word = value.strip().lower()
        return ALIASES.get(word) or (of(int(word)) if word.isdecimal() and len(word) < 4 else None)
    if isinstance(value, int) and not isinstance(value, bool) and 10 <= value <= 60 and value % 10 == 0:
        return LEVELS[value // 10 - 1]
    return None


def _json(text: str) -> dict[str, object] | None:
    try:
        doc = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return doc if isinstance(doc, dict) else None


def _of_json(doc: dict[str, object]) -> str | None:
    """Return the level of a JSON line. If it has no key for the level, its message may still name one."""
    for key in KEYS:
        if key in doc:
            return of(doc[key])
    message = doc.get("msg", doc.get("message"))
    return level(message) if isinstance(message, str) and message.lstrip()[:1] != "{" else None
