"""What is read out of a line: its level, its message, its fields.

Whole columns at a time; Python looks only at lines that look like JSON or logfmt, and most logs have few or none.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from cortex_jupyter.frames.extras import library
from cortex_jupyter.frames.levels import levels

#: Where structured loggers put what a person reads: zap, zerolog, logrus, slog, pino; python-json-logger; structlog.
_MESSAGE: Final = ("msg", "message", "event", "log", "text")
#: logfmt (https://brandur.org/logfmt): nothing but pairs, and at least two of them.
_PAIR: Final = r'[A-Za-z_][\w.@/-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)'
_LOGFMT: Final = re.compile(rf"{_PAIR}(?:\s+{_PAIR})+\s*\Z")
_FIRST: Final = r"^[A-Za-z_][0-9A-Za-z_.@/-]*="
_PAIRS: Final = re.compile(r'([A-Za-z_][\w.@/-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)')
_ANSI: Final = r"\x1b\[[0-?]*[ -/]*[@-~]"


def derived(text: Any) -> dict[str, Any]:
    """Give the columns `level`, `message` and `fields` of a column of lines.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string

    Returns
    -------
    dict
        `message` is what a structured line says, of others the line without colours. `fields` is JSON: of a JSON
        line the line itself, of logfmt an object of strings, of others null.

    Examples
    --------
    >>> import pyarrow as pa
    >>> lines = ['{"level": "warn", "msg": "hot", "t": 84}', 'level=info msg="step done" loss=0.5', "plain"]
    >>> found = derived(pa.chunked_array([pa.array(lines, pa.large_string())]))
    >>> [found[name].to_pylist() for name in ("level", "message")]
    [['warning', 'info', None], ['hot', 'step done', 'plain']]
    >>> found["fields"].to_pylist()[1:]
    ['{"level":"info","msg":"step done","loss":"0.5"}', None]
    """
    pa = library("pyarrow")
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-derive") as pool:  # Arrow releases the interpreter
        parts = list(pool.map(_structured, text.chunks))
    kind = pa.large_string()
    return {
        "level": levels(text),
        "message": pa.chunked_array([message for message, _ in parts], kind),
        "fields": pa.chunked_array([fields for _, fields in parts], kind),
    }


def _structured(text: Any) -> tuple[Any, Any]:
    """Give message and fields of one chunk."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    kind = pa.large_string()
    message, fields = text, pa.nulls(len(text), kind)
    # One look through the bytes is a tenth of what a search line by line costs.
    if len(text) and re.search(rb"\x1b", text.buffers()[2]):
        message = pc.replace_substring_regex(text, _ANSI, "")
    indented = pc.or_(pc.starts_with(text, " "), pc.starts_with(text, "\t"))
    json = pc.or_(pc.starts_with(text, "{"), indented)
    for looks, read in ((json, _json), (pc.match_substring_regex(text, _FIRST), _logfmt)):
        if not pc.any(looks).as_py():
            continue
        lines = pc.filter(text, looks).to_pylist()
        found = [read(line) for line in lines]
        plain = pc.filter(message, looks).to_pylist()
        said = [line if one is None or one[0] is None else one[0] for line, one in zip(plain, found, strict=True)]
        held = [None if one is None else one[1] for one in found]
        message = pc.replace_with_mask(message, looks, pa.array(said, kind))
        fields = pc.replace_with_mask(fields, looks, pa.array(held, kind))
    return message, fields


def _json(line: str) -> tuple[str | None, str] | None:
    if line.lstrip()[:1] != "{":
        return None
    try:
        doc = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return _said(doc), line


def _logfmt(line: str) -> tuple[str | None, str] | None:
    if not _LOGFMT.match(line):
        return None
    pairs = {key: _value(value) for key, value in _PAIRS.findall(line)}
    return _said(pairs), orjson.dumps(pairs).decode()


def _value(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(orjson.loads(text))
    except orjson.JSONDecodeError:
        return text[1:-1]


def _said(doc: dict[str, Any]) -> str | None:
    return next((doc[key] for key in _MESSAGE if isinstance(doc.get(key), str)), None)
