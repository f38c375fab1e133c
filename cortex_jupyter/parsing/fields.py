"""Fields and message of a line. The text itself is never changed."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from cortex_jupyter.parsing.header_forms import header_end

#: Structured loggers write the message under one of these keys: zap, zerolog, logrus, slog, pino; python-json-logger; structlog.
MESSAGE: Final = ("msg", "message", "event", "log", "text")

#: ECMA-48 5.4: control sequences, colours among them; 5.6: control strings, titles and links among them.
ESCAPES: Final = r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?)"
_ESCAPES: Final = re.compile(ESCAPES)
_PAIR: Final = re.compile(r'([A-Za-z_][\w.@/-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)')
#: Maximum number of attempts to parse a JSON object in a line, one at each opening brace.
_TRIES: Final = 4


def plain(text: str) -> str:
    r"""Return a line without colours, links and other control sequences.

    Examples
    --------
    >>> plain("\x1b[31mred\x1b[0m \x1b]8;;file:///a.py\x1b\\a.py\x1b]8;;\x1b\\")
    'red a.py'
    """
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def fields(text: str) -> dict[str, Any] | None:
    """Return the fields of a line.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict or None
        The fields of a JSON object, which may follow a text; or of logfmt (https://brandur.org/logfmt: at least two pairs
        and nothing else) with strings as values; else None.

    Examples
    --------
    >>> fields('worker 3: {"loss": 0.5}'), fields('level=info msg="step done"'), fields("x = {1}")
    ({'loss': 0.5}, {'level': 'info', 'msg': 'step done'}, None)
    """
    line = plain(text)
    return _json(line) or _logfmt(line)


def fields_text(text: str) -> str | None:
    """Return the fields of a line as JSON. An object is copied as written, because it may be too deep to encode again.

    Examples
    --------
    >>> fields_text('worker 3: {"loss": 0.50}'), fields_text('level=info msg="step done"'), fields_text("x = {1}")
    ('{"loss": 0.50}', '{"level":"info","msg":"step done"}', None)
    """
    line = plain(text)
    if (position_and_object := trailing_object(line)) is not None:
        return line[position_and_object[0] :].rstrip()
    pairs = _logfmt(line)
    return None if pairs is None else orjson.dumps(pairs).decode()


def trailing_object(line: str) -> tuple[int, dict[str, Any]] | None:
    """Return the JSON object that a line is or ends with, after the position where it begins.

    Parameters
    ----------
    line : str
        Without control sequences (`plain`).

    Returns
    -------
    tuple of (int, dict) or None
        None if the line ends with no object, or with an empty one.

    Examples
    --------
    >>> trailing_object('worker 3: {"loss": 0.5}'), trailing_object("x = {1}")
    ((10, {'loss': 0.5}), None)
    """
    if not line.rstrip().endswith("}"):
        return None
    at = -1
    for _ in range(_TRIES):
        at = line.find("{", at + 1)
        if at < 0:
            return None
        try:
            doc = orjson.loads(line[at:])
        except orjson.JSONDecodeError:
            continue
        return (at, doc) if isinstance(doc, dict) and doc else None
    return None


def message(text: str) -> str:
    """Return the message of a line: that of a structured line, else the text without its header.

    Time, level, thread, process and component are removed only at the very beginning and in the forms of common loggers,
    and only if some text is left. See `header_forms`.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> message('{"level":"warn","msg":"hot"}'), message("2026-01-31 12:00:00,123 WARNING disk is full")
    ('hot', 'disk is full')
    >>> message("WARNING lights are on"), message("2026-01-31 is a Saturday")
    ('lights are on', '2026-01-31 is a Saturday')
    """
    line = plain(text)
    values = (_json(line) if line.lstrip()[:1] == "{" else None) or _logfmt(line)
    if values is not None:
        return next((values[key] for key in MESSAGE if isinstance(values.get(key), str)), line)
    return line[header_end(line) :] or line


def _json(line: str) -> dict[str, Any] | None:
    position_and_object = trailing_object(line)
    return None if position_and_object is None else position_and_object[1]


def _logfmt(line: str) -> dict[str, Any] | None:
    """Parse pairs one after another, because one regular expression for all could take exponential time on some lines."""
    pairs: dict[str, Any] = {}
    at, end = 0, len(line.rstrip())
    while at < end:
        pair = _PAIR.match(line, at)
        if pair is None:
            return None
        pairs[pair[1]] = _value(pair[2])
        at = pair.end()
        if at < end and not line[at].isspace():
            return None
        while at < end and line[at].isspace():
            at += 1
    return pairs if len(pairs) > 1 else None


def _value(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(orjson.loads(text))
    except orjson.JSONDecodeError:
        return text[1:-1]
