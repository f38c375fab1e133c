r"""Our own log: which fields a message has, how it is written, where it goes. No line of a task is ever in it.

`CORTEX_LOG_FORMAT` is `plain` (default) or `json`, one object for each message, as collectors of logs want it in a pod;
`CORTEX_LOG_LEVEL` is `debug`, `info` (default of recorders), `warning` or `error`. All goes to standard error. A recorder
that was started on demand has a file there, which is renamed to `recorder.log.1` when it has grown large.

A message is one line, whatever it is made of. An error's own text is written where we have made it, or the system; what
other libraries put into theirs could be a piece of the data at hand, so of their errors there are the type and the traceback.

>>> record = logging.LogRecord("cortex_jupyter", logging.WARNING, "", 0, "%s\nis new", ("this",), None)
>>> record.created = 0.0
>>> with about(task="ml:job/a"):
...     print(Plain().format(record), Json().format(record), sep="\n")
1970-01-01T00:00:00.000Z WARNING this is new task=ml:job/a
{"time":"1970-01-01T00:00:00.000Z","level":"warning","message":"this is new","task":"ml:job/a"}
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

#: What a message may say beside its text, in this order; `code` is that of an error of ours.
FIELDS: Final = ("task", "source", "recorder", "code", "seconds")
#: A file is renamed when it is larger, bytes; with the one before it, twice as much is kept.
_LARGE: Final = 4 << 20
#: Characters that would end a line, or talk to the terminal of who reads it.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_OURS: Final = "cortex_jupyter"

_about: ContextVar[Mapping[str, object]] = ContextVar("cortex_about", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Give the messages of a block, and of the asyncio tasks and threads that it starts with `to_thread`, these fields."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def begin(file: Path | None = None, *, alone: bool = True) -> None:
    """Have this process write its log.

    Parameters
    ----------
    file : Path, optional
        Where standard error is this file, it is kept from growing for ever.
    alone : bool, optional
        The process is ours: what other libraries warn of, and errors that nobody catches, are written in the same form.
    """
    ours = logging.getLogger(_OURS)
    if ours.handlers:
        return  # somebody has said where it goes
    handler = _Bounded(file)
    handler.setFormatter(Json() if os.environ.get("CORTEX_LOG_FORMAT") == "json" else Plain())
    ours.addHandler(handler)
    ours.propagate = False
    level = logging.getLevelName(os.environ.get("CORTEX_LOG_LEVEL", "info").upper())
    ours.setLevel(level if isinstance(level, int) else logging.INFO)
    if alone:
        logging.getLogger().addHandler(handler)  # at WARNING, as it is by default
        sys.excepthook = _uncaught
        threading.excepthook = lambda raised: _uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, tb: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(_OURS).critical("failed", exc_info=(kind, error or kind(), tb))


class Plain(logging.Formatter):
    """A line for people: time, level, text, fields; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {_text(record)}{fields}"
        trace = _traceback(record)
        return f"{line}\n{trace}" if trace else line


class Json(logging.Formatter):
    """An object in a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        doc = {"time": _time(record), "level": record.levelname.lower(), "message": _text(record)} | _fields(record)
        if trace := _traceback(record):
            doc["traceback"] = trace
        return json.dumps(doc, ensure_ascii=False, separators=(",", ":"), default=str)


def _time(record: logging.LogRecord) -> str:
    seconds, ms = divmod(int(record.created * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"


def _text(record: logging.LogRecord) -> str:
    return _CONTROL.sub(" ", record.getMessage()).strip()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    known = {**_about.get(), **{k: v for k, v in vars(record).items() if k in FIELDS}}
    if "code" not in known and (error := _error(record)) is not None:
        known["code"] = error.code if isinstance(error, CortexError) else "InternalError"
    if isinstance(seconds := known.get("seconds"), float):
        known["seconds"] = round(seconds, 3)
    return {name: known[name] for name in FIELDS if known.get(name) not in (None, "")}


def _error(record: logging.LogRecord) -> BaseException | None:
    """Give the error that a message is about: one that it quotes, else the one that is being handled."""
    quoted = record.args if isinstance(record.args, tuple) else ()
    return next(
        (arg for arg in quoted if isinstance(arg, CortexError)), record.exc_info[1] if record.exc_info else None
    )


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return trace(record.exc_info[1])


def trace(error: BaseException) -> str:
    """Write an error's traceback, and those that led to it, without what other libraries say in their messages.

    Examples
    --------
    >>> try:
    ...     int("a line of a task")
    ... except ValueError as error:
    ...     print(trace(error).splitlines()[-1])
    ValueError
    """
    parts: list[str] = []
    now: BaseException | None = error
    seen: set[int] = set()
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        frames = "".join(traceback.format_tb(now.__traceback__))
        parts.append(f"{frames}{type(now).__name__}{_said(now)}")
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)
    return "\nwhich came of:\n".join(parts)


def _said(error: BaseException) -> str:
    said: Any = error.message if isinstance(error, CortexError) else getattr(error, "strerror", None)
    return f": {_CONTROL.sub(' ', said)}" if isinstance(said, str) and said else ""


class _Bounded(logging.StreamHandler[Any]):
    """Writes to standard error; where that is a file which grows large, it goes on in a new one."""

    def __init__(self, file: Path | None) -> None:
        super().__init__(sys.stderr)
        self._file = file if file is not None and _is_stderr(file) else None

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self._file is not None:
            rotate(self._file, _LARGE)


def _is_stderr(file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), file.stat())
    except (OSError, ValueError):
        return False


def rotate(file: Path, large: int) -> None:
    """Put a new file in the place of our standard error, where that is this file and has grown too large.

    Others that write to it, other recorders of the same store for instance, go on in the old one until they write their
    next message; then they find the new one.

    Parameters
    ----------
    file : Path
    large : int
        Bytes.
    """
    ours = os.fstat(sys.stderr.fileno())
    if ours.st_size <= large:
        return
    try:
        if os.path.samestat(ours, file.stat()):
            file.replace(file.with_name(f"{file.name}.1"))
        new = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return  # its folder has gone, or is full: it goes on as it is
    for number in (1, 2):  # what goes to one goes to the other: see `launch.spawn`
        if os.path.samestat(os.fstat(number), ours):
            os.dup2(new, number)
    os.close(new)
