r"""Our own log: the fields of a message, its format and its file. It never contains a line of a task.

`CORTEX_LOG_FORMAT` is `plain` (default) or `json`: one object per message, as log collectors expect it from a pod.
`CORTEX_LOG_LEVEL` is `debug`, `info` (default of recorders), `warning` or `error`. Messages go to standard error. For a
recorder that was started on demand this is a file, which is renamed to `recorder.log.1` when it has grown large.

A message is always one line. The text of an error is written only if we or the operating system made it. Errors of other
libraries can quote the data that they failed on, so only their type and traceback are written. python-json-logger could replace
`Json`, 10 lines, but not that.

>>> record = logging.LogRecord("cortex_jupyter", logging.WARNING, "", 0, "%s\nis new", ("this",), None)
>>> record.created = 0.0
>>> with about(task="ml:job/a"):
...     print(Plain().format(record), Json().format(record), sep="\n")
1970-01-01T00:00:00.000Z WARNING this is new task=ml:job/a
{"time":"1970-01-01T00:00:00.000Z","level":"warning","message":"this is new","task":"ml:job/a"}
"""

from __future__ import annotations

import contextlib
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
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

#: The fields that a message may have beside its text, in this order; `code` is a `CortexError`'s code.
FIELDS: Final = ("task", "source", "recorder", "code", "seconds")
#: A log file is renamed when it is larger than this (bytes). One older file stays, so a log takes twice as much.
_MAX_FILE_BYTES: Final = 4 << 20
#: Characters that would end a line, or control the reader's terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LOGGER_NAME: Final = "cortex_jupyter"

_about: ContextVar[Mapping[str, object]] = ContextVar("cortex_about", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Add these fields to all messages of a block, and of the asyncio tasks and `to_thread` calls that it starts."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def duration_text(seconds: float) -> str:
    """Return a duration for people: about two digits, in the largest unit that fits.

    Examples
    --------
    >>> [duration_text(s) for s in (0.25, 1, 59.9, 90, 3600, 86400, 100_000)]
    ['0.25 s', '1 s', '60 s', '90 s', '1 h', '1 day', '28 h']
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        count = seconds / size
        if seconds >= 2 * size or seconds == size:
            return f"{count:.0f} {'day' if unit == 'days' and round(count) == 1 else unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def size_text(size: float) -> str:
    """Return a number of bytes for people: about three digits, in the largest unit that fits (a kB is 1000 bytes).

    Examples
    --------
    >>> [size_text(size) for size in (0, 999, 26_350, 999_999, 2_000_000, 20 << 30)]
    ['0 B', '999 B', '26.4 kB', '1 MB', '2 MB', '21.5 GB']
    """
    for unit, divisor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.9995 * divisor:  # what would be rounded to 1000 of a smaller unit
            return f"{size / divisor:.3g} {unit}"
    return f"{size:.0f} B"


class OutageLog:
    """Logs that something fails when that begins, and for how long it failed when it has ended; nothing in between.

    Several parts of a program notice the same outage, each with its own attempts. It has ended when all parts work that
    failed. Safe to use from any thread.

    Parameters
    ----------
    logger : Logger
    end : str
        What is logged when the outage has ended: "the store answers again".
    clock : callable, optional
        Returns the time in seconds.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> lines = []
    >>> logger = SimpleNamespace(log=lambda level, text, *args, **_: lines.append(text % args))
    >>> now = 0.0
    >>> outage = OutageLog(logger, "the store answers again", lambda: now)
    >>> for part in ("heartbeat", "commit", "heartbeat"):
    ...     outage.failed(part, CortexError("the store does not answer"))
    >>> now = 12.0
    >>> outage.worked("commit"), outage.worked("heartbeat"), outage.worked("heartbeat")
    (None, None, None)
    >>> lines
    ['the store does not answer', 'the store answers again, after 12 s']
    """

    def __init__(self, logger: logging.Logger, end: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._end, self._clock = logger, end, clock
        self._lock = threading.Lock()
        self._failing: set[str] = set()
        self._logged: set[str] = set()  # codes of errors in this outage
        self._since = 0.0

    def failed(self, part: str, error: BaseException, about: str = "", level: int = logging.WARNING) -> None:
        """Note that an attempt of a part has failed. Log each kind of error once, with `about` before it."""
        code = error.code if isinstance(error, CortexError) else type(error).__name__
        with self._lock:
            if not self._failing:
                self._since = self._clock()
            self._failing.add(part)
            is_new = code not in self._logged
            self._logged.add(code)
        if not is_new:
            return
        if isinstance(error, CortexError):
            self._logger.log(level, f"{about}: %s" if about else "%s", error)
        else:  # a bug: its traceback, without the text of the error
            self._logger.log(logging.ERROR, "%s", about or "failed", exc_info=error)

    def worked(self, part: str) -> None:
        """Note that an attempt of a part has succeeded."""
        if part not in self._failing:  # without the lock: each commit comes here
            return
        with self._lock:
            self._failing.discard(part)
            if self._failing:
                return
            self._logged.clear()
            seconds = self._clock() - self._since
        self._logger.log(logging.INFO, "%s, after %s", self._end, duration_text(seconds), extra={"seconds": seconds})


def begin(file: Path | None = None, *, alone: bool = True) -> None:
    """Set up the log of this process.

    Parameters
    ----------
    file : Path, optional
        If standard error is this file, it is rotated when it grows large.
    alone : bool, optional
        The whole process is ours, so warnings of other libraries, and uncaught errors, are written in the same format.
    """
    logger = logging.getLogger(_LOGGER_NAME)
    if logger.handlers:
        return  # the program that runs us has configured our log
    handler = _RotatingHandler(file)
    handler.setFormatter(Json() if os.environ.get("CORTEX_LOG_FORMAT") == "json" else Plain())
    logger.addHandler(handler)
    logger.propagate = False
    level = logging.getLevelName(os.environ.get("CORTEX_LOG_LEVEL", "info").upper())
    logger.setLevel(level if isinstance(level, int) else logging.INFO)
    if alone:
        logging.getLogger().addHandler(handler)  # at WARNING, the root logger's default
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, tb: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(_LOGGER_NAME).critical("failed", exc_info=(kind, error or kind(), tb))


class Plain(logging.Formatter):
    """Formats a message as a line to read: time, level, text, fields, and a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a message as text."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {_text(record)}{fields}"
        trace = _traceback(record)
        return f"{line}\n{trace}" if trace else line


class Json(logging.Formatter):
    """Formats a message as a JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a message as JSON."""
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
    fields = {**_about.get(), **{k: v for k, v in vars(record).items() if k in FIELDS}}
    if "code" not in fields and (error := _error(record)) is not None:
        fields["code"] = error.code if isinstance(error, CortexError) else "InternalError"
    if isinstance(seconds := fields.get("seconds"), float):
        fields["seconds"] = round(seconds, 3)
    return {name: fields[name] for name in FIELDS if fields.get(name) not in (None, "")}


def _error(record: logging.LogRecord) -> BaseException | None:
    """Return the error of a message: a `CortexError` among its arguments, else the one that is being handled."""
    args = record.args if isinstance(record.args, tuple) else ()
    return next((arg for arg in args if isinstance(arg, CortexError)), record.exc_info[1] if record.exc_info else None)


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return trace(record.exc_info[1])


def trace(error: BaseException) -> str:
    """Return the traceback of an error and of its causes, without the messages of other libraries' errors.

    Examples
    --------
    >>> try:
    ...     int("a line of a task")
    ... except ValueError as error:
    ...     print(trace(error).splitlines()[-1])
    ValueError
    """
    parts: list[str] = []
    current: BaseException | None = error
    visited: set[int] = set()
    while current is not None and id(current) not in visited:
        visited.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{frames}{type(current).__name__}{_safe_message(current)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\nwhich was caused by:\n".join(parts)


def _safe_message(error: BaseException) -> str:
    message: Any = error.message if isinstance(error, CortexError) else getattr(error, "strerror", None)
    return f": {_CONTROL.sub(' ', message)}" if isinstance(message, str) and message else ""


class _RotatingHandler(logging.StreamHandler[Any]):
    """Writes to standard error. If that is a file which grows large, a new file takes its place."""

    def __init__(self, file: Path | None) -> None:
        super().__init__(sys.stderr)
        self._file = file if file is not None and _is_stderr(file) else None

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self._file is not None:
            rotate(self._file, _MAX_FILE_BYTES)


def _is_stderr(file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), file.stat())
    except (OSError, ValueError):
        return False


def rotate(file: Path, max_bytes: int) -> None:
    """Redirect our standard error to a new file, if it is this file and larger than `max_bytes`.

    Other recorders of the same store may write to the same file. Each moves to the new file with its next message.
    """
    stderr = os.fstat(sys.stderr.fileno())
    if stderr.st_size <= max_bytes:
        return
    try:
        # It is missing while another recorder moves it, or if a user has deleted it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(stderr, file.stat()):
                file.replace(file.with_name(f"{file.name}.1"))
        new_fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return  # the folder was removed, or the disk is full: keep writing to the old file
    for fd in (1, 2):  # `launch.spawn` directs both to the same file
        if os.path.samestat(os.fstat(fd), stderr):
            os.dup2(new_fd, fd)
    os.close(new_fd)
