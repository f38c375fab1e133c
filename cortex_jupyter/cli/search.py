"""`cortex-jupyter search`: search the logs of many tasks, as grep does in many files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.cli.command_line import report_error
from cortex_jupyter.cli.terminal import prefix, print_status, safe, wants_colour
from cortex_jupyter.errors import CortexError
from cortex_jupyter.notebook.search import MAX_LINES, Match, SearchResult, TaskMatches, run_search
from cortex_jupyter.query.language import NAMES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

#: The filters of a query that the command line has.
_FILTERS: Final = tuple(
    name for name in NAMES if name not in ("follow", "tail", "limit", "before", "after", "timestamps", "pretty")
)
#: Exit codes, as grep's: no line matches; a task could not be searched.
_NOTHING: Final = 1
_FAILED: Final = 2


def run(options: argparse.Namespace) -> int:
    """Search, and write the lines of each task as soon as it is searched. An error has another exit code than elsewhere."""
    try:
        return _search(options)
    except CortexError as error:
        report_error(error)
        return _FAILED


def _search(options: argparse.Namespace) -> int:
    writer = _Writer(options)
    result = run_search(
        options.text,
        options.tasks or None,
        namespace=options.namespace,
        selector=options.selector,
        lines=1 if options.count else min(options.max_count or MAX_LINES, MAX_LINES),
        kubeconfig=options.kubeconfig,
        context=options.context,
        query={name: value for name in _FILTERS if (value := getattr(options, name)) is not None},
        on_change=writer.write,
    )
    writer.end(result)
    for note in (result.summary(), *result.notes()):
        print_status(note)
    if result.has_failures:
        return _FAILED
    return 0 if result.matches else _NOTHING


class _Writer:
    """Writes the matches of each task once.

    Parameters
    ----------
    options : argparse.Namespace
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._colour, self._written = options, wants_colour(sys.stdout), 0

    def write(self, result: SearchResult) -> None:
        """Write the tasks that were searched since the last call."""
        if self._options.output == "json":
            return
        new = result.tasks[self._written :]
        self._written += len(new)  # another thread may add tasks meanwhile
        for task in new:
            for line in self._lines(task):
                print(line)
        if new:
            sys.stdout.flush()

    def end(self, result: SearchResult) -> None:
        """Write what is written as a whole."""
        if self._options.output == "json":
            print(orjson.dumps(_document(result, has_records=not self._options.count)).decode())

    def _lines(self, task: TaskMatches) -> Iterator[str]:
        if self._options.count and self._options.output == "text":
            yield f"{self._name(task.task)}{task.matches}{'' if task.is_exact else '+'}"
        elif self._options.count:
            yield orjson.dumps(_counted(task)).decode()
        elif self._options.output == "ndjson":
            yield from (orjson.dumps(_record(line)).decode() for line in task.lines)
        else:
            is_one = len({(line.pod, line.container) for line in task.lines}) < 2
            has_prefix = {"always": True, "never": False}.get(self._options.prefix, sys.stdout.isatty() and not is_one)
            yield from (self._name(task.task) + self._text(line, has_prefix=has_prefix) for line in task.lines)
            if len(task.lines) < task.matches:
                print_status(f"{task.task}: {task.count}; these are the newest {len(task.lines)}")

    def _name(self, task: str) -> str:
        return f"\x1b[35m{task}\x1b[36m:\x1b[0m" if self._colour else f"{task}:"

    def _text(self, line: Match, *, has_prefix: bool) -> str:
        parts, at = [], 0
        for begin, end in line.marks if self._colour else ():
            if begin >= at:
                parts += [safe(line.text[at:begin]), "\x1b[1;31m", safe(line.text[begin:end]), "\x1b[0m"]
                at = end
        rest = line.text[at:]
        text = "".join([*parts, safe(rest) if sys.stdout.isatty() else rest])
        time = f"{line.time} " if self._options.timestamps else ""
        source = prefix(line.pod, line.container, colour=self._colour) if has_prefix else ""
        return f"{time}{source}{text}"


def _document(result: SearchResult, *, has_records: bool) -> dict[str, Any]:
    """Return the whole result for `-o json`."""
    tasks = [
        _counted(task) | ({"records": [_record(line) for line in task.lines]} if has_records else {})
        for task in result.tasks
    ]
    return {
        "tasks": tasks,
        "matches": result.matches,
        "all": result.is_exact,
        "searched": result.searched,
        "failed": [{"task": task, "message": message} for task, message in result.failed.items()],
        "unrecorded": result.unrecorded,
        "growing": result.growing,
    }


def _counted(task: TaskMatches) -> dict[str, Any]:
    return {"task": task.task, "matches": task.matches, "all": task.is_exact}


def _record(line: Match) -> dict[str, Any]:
    names = ("task", "seq", "time", "pod", "container", "kind", "run", "stream", "level", "text")
    return {name: getattr(line, name) for name in names}
