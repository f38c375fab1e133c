"""`cortex-jupyter logs`: write a log to the terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.cli.query import log_of
from cortex_jupyter.cli.terminal import prefix, print_status, safe, wants_colour
from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.model import Batch
from cortex_jupyter.notebook.record import Record
from cortex_jupyter.query.bounds import Bound
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.pages import newest
from cortex_jupyter.reader.text import line
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from cortex_jupyter.notebook.tasklog import TaskLog
    from cortex_jupyter.tables.statement import Completeness

#: Default of `since` while a task runs (docs/reference/tasks-and-queries.md).
_WINDOW: Final = "1m"
#: Time limit of the search for a hint after an empty result (seconds).
_HINT_S: Final = 1.0
#: Number of records that are written at once.
_CHUNK: Final = 1000
#: Exit code of `--strict` if lines are missing.
_GAPS: Final = 4


def run(options: argparse.Namespace) -> int:
    """Write the log of a task, as it is now or, with `--follow`, until the task ends."""
    if options.follow and options.output == "json":
        raise BadQuery("-o json does not work with -f: its one document has no end yet", "use -o ndjson")
    # What keeps the reader from a task ends the command, whose error says it; without this its log would say it too.
    reader_log = logging.getLogger("cortex_jupyter.reader")
    level = reader_log.level
    reader_log.setLevel(logging.ERROR)
    try:
        return _run(options)
    finally:
        reader_log.setLevel(level)


def _run(options: argparse.Namespace) -> int:
    log = log_of(options)
    has_window = options.previous or any(value is not None for value in (options.since, options.run, options.attempt))
    if not has_window and not log.over:
        log = log.filter(since=_WINDOW)
    writer = RecordWriter(log.query, options.output, options.prefix, several=log.several)
    lines = log
    if options.around:
        writer.around = Around(log.query, options.around)
        lines = log.filter(**dict.fromkeys(Around.PARAMETERS))
    code = _follow(lines, writer) if options.follow else _write_now(log, lines, writer, options)
    return code or (_GAPS if options.strict and log.complete.gaps else 0)


def _write_now(log: TaskLog, lines: TaskLog, writer: RecordWriter, options: argparse.Namespace) -> int:
    """Write the lines of a log; `lines` is the same log, perhaps with those around its matches."""
    if options.output == "json":
        documents = writer.documents(lines.records())
        print(orjson.dumps({"task": log.task, "records": documents, "complete": log.complete.as_dict()}).decode())
        return 0
    records = lines.records()
    count = 0
    while some := list(islice(records, _CHUNK)):
        count += writer.write(some)
    writer.flush()
    statement = log.complete
    status = log.status
    if not count:
        print_status(f"{status.message}: no lines to show{_hint_about_others(log, statement)}")
    elif status.state == "failed" or not status.message.startswith(("Running", "Job complete", "Pod complete")):
        print_status(status.message)
    print_status(str(statement))
    return 0


def _hint_about_others(log: TaskLog, statement: Completeness) -> str:
    """Return why the query leaves out all lines, or how to see them."""
    if missing := _missing_name(log):
        return f"; {missing}"
    if log.query.run is not None:
        runs = [f"{pod}/{container} {', '.join(map(str, numbers))}" for (pod, container), numbers in log.runs.items()]
        return f"; recorded are the runs {'; '.join(runs[:5])}" if runs else ""
    if not statement.records or log.query.tail == 0:
        return ""
    with suppress(CortexError):  # the command itself has succeeded
        return _hint_about_window(log, statement)
    return ""


def _hint_about_window(log: TaskLog, statement: Completeness) -> str:
    """Return whether there are matches before the window."""
    query, lines = log.query, format_count(statement.records, "line")
    # If the window has no start, all lines have just been read.
    has_earlier = query.since is not None and _has_match(log, query)
    if has_earlier is None:
        return f"; it has {lines}, --since all searches them"
    if has_earlier:
        return f"; {'earlier lines match' if query.keep() else f'it has {lines}'}, --since all shows them"
    if query.keep():
        return f"; none of its {lines} matches"
    return f"; the first of its {lines} is of {(statement.from_ or '')[:19]}Z"  # later than `until`


def _has_match(log: TaskLog, query: LogQuery) -> bool | None:
    """Return whether a query matches without the start of its window; None if the search takes too long."""
    recording = log._reader.recording  # noqa: SLF001 - its pages have a time limit
    bound = Bound(end=time.monotonic() + _HINT_S)
    page = newest(recording.store, recording.id, limit=1, until=query.until, keep=query.keep(), bound=bound)
    return True if page.records else None if page.stopped else False


def _missing_name(log: TaskLog) -> str:
    """Return a message about the first name in the query that the task lacks, with the existing names; empty if it has all."""
    error = log.missing_name()
    return f"{error.message} so far: {error.hint}" if error is not None else ""


def _follow(log: TaskLog, writer: RecordWriter) -> int:
    last_message, code = "", 0
    status = log.status
    # The notice about this state may be older than the window.
    if status.state == "pending" or log.problem is not None:
        last_message = status.message
        print_status(last_message)
    if missing := _missing_name(log):
        print_status(missing)
    events = log.frames()
    try:
        for event in events:
            if event.event == "log":
                writer.batch(Batch.decode(event.entry.data))
                continue
            doc: dict[str, Any] = orjson.loads(event.entry.data)
            source = doc.get("source") or {}
            message = doc.get("message", "")
            if source.get("pod") and not message.startswith(f"{source['pod']} · {source['container']}"):
                message = f"{source['pod']}/{source['container']}: {message}"
            if message != last_message:
                print_status(message)
                last_message = message
            if event.event == "end":
                # As for `wait(raise_on_failure=True)`: a script must not take a deleted task for a success.
                code = doc.get("exit_code") or doc.get("state") in ("failed", "gone")
    finally:
        events.close()
    print_status(str(log.complete))
    return int(code)


class Around:
    """Selects matches and the lines around them, as `grep -C` does.

    Parameters
    ----------
    query : LogQuery
        What matches: its `PARAMETERS`.
    lines : int
        Number of lines before and after each match.

    Raises
    ------
    BadQuery
        The query has none of the parameters, or a `tail`.
    """

    PARAMETERS: Final = ("grep", "exclude", "where", "level")

    def __init__(self, query: LogQuery, lines: int) -> None:
        keep = LogQuery.parse({name: query.raw.get(name) for name in self.PARAMETERS}).keep()
        if keep is None:
            raise BadQuery(
                "-C without a filter", "it shows the lines around matches: add --grep, --exclude, --where or --level"
            )
        if query.tail is not None:
            raise BadQuery("-C does not work with --tail", "use --since, or `| tail`")
        if lines < 0:
            raise BadQuery(f"-C {lines} is negative", "give the number of lines before and after each match")
        self._keep, self._lines, self._left = keep, lines, 0
        self._before: deque[Record] = deque(maxlen=lines)
        self._skipped = False
        self._has_written = False

    def select(self, records: Sequence[Record]) -> Iterator[tuple[Record, bool, bool]]:
        """Yield the records to show: the record, whether it matches, and whether records are left out before it."""
        texts = [record.text for record in records]
        zeros = [0] * len(texts)
        matches = set(self._keep(Batch("", [r.seq for r in records], [r.ns for r in records], zeros, zeros, texts, {})))
        for i, record in enumerate(records):
            if i in matches:
                yield from ((before, False, self._take_skipped()) for before in self._before)
                self._before.clear()
                yield record, True, self._take_skipped()
                self._left = self._lines
            elif self._left > 0:
                self._left -= 1
                yield record, False, False
            else:
                self._skipped |= len(self._before) == self._lines
                self._before.append(record)

    def _take_skipped(self) -> bool:
        skipped, self._skipped = self._skipped and self._has_written, False
        self._has_written = True
        return skipped


class RecordWriter:
    """Writes records to standard output.

    Parameters
    ----------
    query : LogQuery
        Its `timestamps` and `pretty` apply.
    output : str
        `text` or `ndjson`.
    prefixes : str
        `auto`, `always` or `never`.
    several : bool
        Whether the log comes from several containers.
    """

    def __init__(self, query: LogQuery, output: str, prefixes: str, *, several: bool) -> None:
        self._query, self._json = query, output == "ndjson"
        self._tty, self._colour = sys.stdout.isatty(), wants_colour(sys.stdout)
        self._has_prefix = prefixes == "always" or (prefixes == "auto" and several and self._tty)
        self._plain = not (self._json or self._tty or self._has_prefix or query.timestamps or query.pretty)
        # Our own buffer: with PYTHONUNBUFFERED, `sys.stdout` has none and may write only a part of a large text.
        self.around: Around | None = None
        self._out = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115 - as long as the process

    def batch(self, batch: Batch) -> None:
        """Write a batch and flush."""
        if self._plain and self.around is None:
            self._out.write("".join(f"{text}\n" for text in batch.texts).encode("utf-8", "replace"))
        else:
            self.write(Record.each(batch))
        self.flush()

    def write(self, records: Iterable[Record]) -> int:
        """Write records, and return how many were written."""
        if self._json:
            documents = self.documents(records)
            self._out.writelines(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents)
            return len(documents)
        count = 0
        for record, _, is_apart in self._selected(records):
            separator = "--\n" if is_apart else ""
            self._out.write(f"{separator}{self._text(record)}\n".encode("utf-8", "replace"))
            count += 1
        return count

    def documents(self, records: Iterable[Record]) -> list[dict[str, Any]]:
        """Return records as objects. With lines around matches, `match` tells which record matches."""
        if self.around is None:
            return [record.as_dict() for record in records]
        return [{**record.as_dict(), "match": is_match} for record, is_match, _ in self._selected(records)]

    def _selected(self, records: Iterable[Record]) -> Iterable[tuple[Record, bool, bool]]:
        """Return each record to write, whether it matches, and whether records are left out before it."""
        return ((r, True, False) for r in records) if self.around is None else self.around.select(list(records))

    def _text(self, record: Record) -> str:
        text = safe(record.text) if self._tty else record.text
        text = line(record.ns, text, timestamps=self._query.timestamps, pretty=self._query.pretty)
        return prefix(record.pod, record.container, colour=self._colour) + text if self._has_prefix else text

    def flush(self) -> None:
        """Flush the buffer."""
        self._out.flush()
