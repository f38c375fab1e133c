"""`cortex-jupyter logs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.cli.query import log_of
from cortex_jupyter.cli.terminal import colourful, prefix, safe, say
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import Batch
from cortex_jupyter.notebook.record import Record
from cortex_jupyter.reader.text import line
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cortex_jupyter.notebook.tasklog import TaskLog
    from cortex_jupyter.query.language import LogQuery

#: What is shown while a task runs, where `since` is not given (DESIGN section 4.1).
_WINDOW: Final = "1m"
#: Exit code of `--strict` where lines are missing.
_GAPS: Final = 4


def run(options: argparse.Namespace) -> int:
    """Write the log of a task, as it is now or to the task's end."""
    if options.follow and options.output == "json":
        raise BadQuery("-o json is one document and has no end yet", "with -f use -o ndjson")
    log = log_of(options)
    if options.since is None and options.run is None and not options.previous and not log.over:
        log = log.filter(since=_WINDOW)
    writer = Writer(log.query, options.output, options.prefix, several=log.several)
    code = _follow(log, writer) if options.follow else _now(log, writer, options)
    return code or (_GAPS if options.strict and log.complete.gaps else 0)


def _now(log: TaskLog, writer: Writer, options: argparse.Namespace) -> int:
    count = 0
    if options.output == "json":
        records = [r.as_dict() for r in log.records()]
        print(orjson.dumps({"task": log.task, "records": records, "complete": log.complete.as_dict()}).decode())
        return 0
    for record in log.records():
        writer.write([record])
        count += 1
    writer.flush()
    statement = log.complete
    status = log.status
    if not count:
        say(f"{status.message}: no lines to show{_elsewhere(log, statement.records)}")
    elif status.state == "failed" or not status.message.startswith(("Running", "Job complete", "Pod complete")):
        say(status.message)
    say(str(statement))
    return 0


def _elsewhere(log: TaskLog, count: int) -> str:
    """Return where the lines of a task are, of which a query shows none."""
    if log.query.run is not None:
        runs = [f"{pod}/{container} {', '.join(map(str, numbers))}" for (pod, container), numbers in log.runs.items()]
        return f"; recorded are the runs {'; '.join(runs[:5])}" if runs else ""
    return f"; it has {format_count(count, 'line')}, --since all shows them" if count else ""


def _follow(log: TaskLog, writer: Writer) -> int:
    said, code = "", 0
    status = log.status
    # What was said of that may be older than the window.
    if status.state == "pending" or log.problem is not None:
        said = status.message
        say(said)
    events = log.frames()
    try:
        for frame in events:
            if frame.event == "log":
                writer.batch(Batch.decode(frame.entry.data))
                continue
            doc: dict[str, Any] = orjson.loads(frame.entry.data)
            source = doc.get("source") or {}
            message = doc.get("message", "")
            if source.get("pod") and not message.startswith(f"{source['pod']} · {source['container']}"):
                message = f"{source['pod']}/{source['container']}: {message}"
            if message != said:
                say(message)
                said = message
            if frame.event == "end":
                code = doc.get("exit_code") or (doc.get("state") == "failed")
    finally:
        events.close()
    say(str(log.complete))
    return int(code)


class Writer:
    """Writes records to standard output.

    Parameters
    ----------
    query : LogQuery
        `timestamps` and `pretty` hold.
    output : str
        `text` or `ndjson`.
    prefixes : str
        `auto`, `always` or `never`.
    several : bool
        The log comes from several containers.
    """

    def __init__(self, query: LogQuery, output: str, prefixes: str, *, several: bool) -> None:
        self._query, self._json = query, output == "ndjson"
        self._tty, self._colour = sys.stdout.isatty(), colourful(sys.stdout)
        self._prefixed = prefixes == "always" or (prefixes == "auto" and several and self._tty)
        self._plain = not (self._json or self._tty or self._prefixed or query.timestamps or query.pretty)
        # A buffer of our own: with PYTHONUNBUFFERED `sys.stdout` has none, and a large write may be done by halves.
        self._out = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115

    def batch(self, batch: Batch) -> None:
        """Write a batch, at once."""
        if self._plain:
            self._out.write("".join(f"{text}\n" for text in batch.texts).encode("utf-8", "replace"))
        else:
            self.write(Record.each(batch))
        self.flush()

    def write(self, records: Iterable[Record]) -> None:
        """Write records."""
        for record in records:
            if self._json:
                self._out.write(orjson.dumps(record.as_dict(), option=orjson.OPT_APPEND_NEWLINE))
            else:
                self._out.write(f"{self._text(record)}\n".encode("utf-8", "replace"))

    def _text(self, record: Record) -> str:
        text = safe(record.text) if self._tty else record.text
        text = line(record.ns, text, timestamps=self._query.timestamps, pretty=self._query.pretty)
        return prefix(record.pod, record.container, colour=self._colour) + text if self._prefixed else text

    def flush(self) -> None:
        """Hand over what is written."""
        self._out.flush()
