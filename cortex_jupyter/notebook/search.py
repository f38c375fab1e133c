"""`cortex.search`: the lines of many tasks that match."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final, overload

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import BadQuery, SearchFailed
from cortex_jupyter.model import check_namespace, parse_rfc3339, rfc3339
from cortex_jupyter.notebook.query import NAMES
from cortex_jupyter.notebook.recording_reader import progress
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.notebook.static_html import printable
from cortex_jupyter.notebook.tasklog import TaskLog
from cortex_jupyter.notebook.tasktable import page_of
from cortex_jupyter.reader.task_search import (
    LINES,
    MAX_LINES,
    SearchedTasks,
    parse_task_search,
    split_events,
    task_matches,
)
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pandas import DataFrame

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Session

__all__ = ["MAX_LINES", "Match", "SearchResult", "TaskMatches", "run_search", "search"]

_COLUMNS: Final = ("task", "time", "seq", "pod", "container", "kind", "run", "stream", "level", "text")
#: Lines of a task and tasks that are displayed. The others are in the table.
_LINES_SHOWN: Final = 5
_TASKS_SHOWN: Final = 20
#: Characters of a line that are displayed, and those before its first match.
_WIDTH: Final = 240
_BEFORE: Final = 60
_CODE: Final = "font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere"


@dataclass(frozen=True, slots=True)
class Match:
    """A line that matches.

    Parameters
    ----------
    task : str
        The task's key.
    seq : int
        Its number in the task's recording: `cortex.logs(match.task).seq[match.seq]`.
    ns : int
        Time in ns since the Unix epoch (UTC).
    pod, container, kind : str
    run : int
    stream : str
    level : str or None
    text : str
        The line as written; at most 32 768 characters of it.
    marks : list
        Beginnings and ends of the matches in the text.
    """

    task: str
    seq: int
    ns: int
    pod: str
    container: str
    kind: str
    run: int
    stream: str
    level: str | None
    text: str
    marks: list[list[int]]

    @property
    def time(self) -> str:
        """The time as RFC 3339, UTC."""
        return rfc3339(self.ns)

    def __repr__(self) -> str:
        return f"{self.time[:19].replace('T', ' ')} {self.pod} {''.join(text for _, text in self.excerpt())}"

    def excerpt(self) -> list[tuple[bool, str]]:
        """Return the part of the line around its first match, as (is a match, printable text)."""
        start = max(0, self.marks[0][0] - _BEFORE) if self.marks and self.marks[0][1] > _WIDTH else 0
        stop, parts = start + _WIDTH, [(False, "…")] if start else []
        at = start
        for begin, end in self.marks:
            if at <= begin < stop:
                parts += [(False, self.text[at:begin]), (True, self.text[begin : min(end, stop)])]
                at = min(end, stop)
        parts += [(False, self.text[at:stop]), (False, "…" if stop < len(self.text) else "")]
        return [(is_match, printable(text)) for is_match, text in parts if text]


@dataclass(frozen=True, slots=True)
class TaskMatches:
    """The matches in one task.

    Parameters
    ----------
    task : str
        The task's key.
    lines : list of Match
        The newest of them, in the order of time.
    matches : int
        Number of lines that match.
    is_exact : bool
        Whether that is all of them. Otherwise the number is a lower bound.
    """

    task: str
    lines: list[Match]
    matches: int
    is_exact: bool

    @property
    def count(self) -> str:
        """The number of matches in words."""
        return f"{'' if self.is_exact else 'at least '}{format_count(self.matches, 'line')}"


class SearchResult(Sequence[Match]):
    """What `search` found: a sequence of the lines, task by task, newest tasks first. It displays itself as a table.

    Attributes
    ----------
    tasks : list of TaskMatches
        The tasks with matches.
    searched : int
        Number of tasks that were searched.
    total : int
        Number of tasks that are to be searched.
    failed : dict of str to str
        The tasks that could not be read, with the reason.
    unrecorded : list of str
        Tasks without a recording, so they were not searched. `logs` begins one.
    growing : list of str
        Running tasks that are not being recorded now: lines after the last recorded one were not searched.
    """

    def __init__(self, text: str, origin: str = "") -> None:
        self._text = text
        #: Identifies cluster and store, for the links.
        self.origin = origin
        self.tasks: list[TaskMatches] = []
        self.searched = self.total = 0
        self.failed: dict[str, str] = {}
        self.unrecorded: list[str] = []
        self.growing: list[str] = []
        self._lines: dict[str, list[Match]] = {}
        self._order: list[Match] = []
        self._problem: dict[str, str] = {}
        self._archive_problem: dict[str, str] = {}

    @property
    def matches(self) -> int:
        """The number of matching lines in all tasks, including lines that are not in the result."""
        return sum(task.matches for task in self.tasks)

    @property
    def is_exact(self) -> bool:
        """Whether `matches` counts every line. Otherwise it is a lower bound."""
        return not self.has_failures and all(task.is_exact for task in self.tasks)

    @property
    def has_failures(self) -> bool:
        """Whether tasks, or the archive with its tasks, could not be read."""
        return bool(self.failed or self._archive_problem)

    def receive(self, name: str, doc: dict[str, Any]) -> None:
        """Take an event of `reader.task_search.task_matches`."""
        match name:
            case "tasks":
                self.total = doc["tasks"]
                self.unrecorded, self.growing = doc["unrecorded"], doc["growing"]
                self._problem, self._archive_problem = doc.get("problem", {}), doc.get("archive_problem", {})
            case "lines":
                self._lines.setdefault(doc["task"], []).extend(_match(doc["task"], row) for row in doc["records"])
            case "task" if "error" in doc:
                self.failed[doc["task"]] = doc["error"]["message"]
                self._add(doc)
            case "task":
                self.searched += 1
                self._add(doc)
            case "error":
                raise SearchFailed(doc["message"], doc["hint"])

    def _add(self, doc: dict[str, Any]) -> None:
        if doc["matches"]:
            lines = sorted(self._lines.pop(doc["task"], []), key=lambda line: (line.ns, line.seq))
            self.tasks.append(TaskMatches(doc["task"], lines, doc["matches"], doc["all"]))
            self._order += lines

    def notes(self) -> list[str]:
        """Return what was not searched, in words."""
        notes = [f"{task} could not be searched: {reason}" for task, reason in self.failed.items()]
        if self._problem:
            notes.append(f"The cluster cannot be asked: {self._problem['message']}; only recorded tasks were searched")
        if self._archive_problem:
            notes.append(f"Archived tasks were not searched: {self._archive_problem['message']}")
        if self.unrecorded:
            notes.append(f"Not recorded, so not searched: {_some(self.unrecorded)}")
        if self.growing:
            notes.append(f"Not being recorded now, so their newest lines may be missing: {_some(self.growing)}")
        return notes

    def summary(self) -> str:
        """Return the numbers of lines and tasks in words."""
        lines = f"{'' if self.is_exact else 'at least '}{format_count(self.matches, 'line')}"
        return f"{lines} in {len(self.tasks)} of {format_count(self.searched, 'task')}"

    def to_pandas(self) -> DataFrame:
        """Return a `pandas.DataFrame` of the lines, with a column `task`; `time` is in UTC.

        Raises
        ------
        MissingExtra
            pandas is not installed.
        """
        pd = import_optional("pandas")
        rows = [[line.ns if name == "time" else getattr(line, name) for name in _COLUMNS] for line in self]
        frame: DataFrame = pd.DataFrame(rows, columns=list(_COLUMNS))
        frame["time"] = pd.to_datetime(frame["time"].astype("int64"), unit="ns", utc=True)
        text = pd.Series(["a text"]).dtype  # an empty frame has the same types
        return frame.astype(
            dict.fromkeys(_COLUMNS, text) | {"time": frame["time"].dtype, "seq": "int64", "run": "int64"}
        )

    @overload
    def __getitem__(self, index: int) -> Match: ...
    @overload
    def __getitem__(self, index: slice) -> list[Match]: ...
    def __getitem__(self, index: int | slice) -> Match | list[Match]:
        """Return a line, or the lines of a slice."""
        return self._order[index]

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        parts = [f"{self._text!r}: {self.summary()}"]
        for task in self.tasks[:_TASKS_SHOWN]:
            parts.append(f"\n{task.task}: {task.count}")
            parts += [f"  {line!r}" for line in task.lines[-_LINES_SHOWN:]]
        if (more := len(self.tasks) - _TASKS_SHOWN) > 0:
            parts.append(f"\n… and {format_count(more, 'task')} more: .tasks has them all")
        return "\n".join([*parts, *(["", *notes] if (notes := self.notes()) else [])])

    def _repr_html_(self) -> str:
        tasks = "".join(
            f'<details{" open" if i < _LINES_SHOWN else ""} style="margin:.3em 0"><summary style="cursor:pointer">'
            f'{self._link(task.task, escape(task.task))} <span style="opacity:.65">{escape(task.count)}</span></summary>'
            f"{self._rows(task)}</details>"
            for i, task in enumerate(self.tasks[:_TASKS_SHOWN])
        )
        more = len(self.tasks) - _TASKS_SHOWN
        notes = [f"… and {format_count(more, 'task')} more: .tasks has them all"] if more > 0 else []
        foot = "".join(f'<div style="opacity:.65">{escape(note)}</div>' for note in (*notes, *self.notes()))
        head = f"<b>{escape(self._text)}</b> · {escape(self.summary())}"
        return f'<div class="cortex-search" style="margin:.2em 0"><div>{head}</div>{tasks}{foot}</div>'

    def _rows(self, task: TaskMatches) -> str:
        """Return the newest lines of a task. Each is a link to its place in the viewer."""
        rows = []
        for line in task.lines[-_LINES_SHOWN:]:
            text = "".join(f"<mark>{escape(part)}</mark>" if hit else escape(part) for hit, part in line.excerpt())
            time = self._link(task.task, escape(line.time[:19].replace("T", " ")), line)
            rows.append(f'<div style="{_CODE}">{time} <span style="opacity:.65">{escape(line.pod)}</span> {text}</div>')
        return f'<div style="padding-left:1.2em">{"".join(rows)}</div>'

    def _link(self, task: str, html: str, line: Match | None = None) -> str:
        page = page_of(task, self.origin, None if line is None else (line.time, line.seq))
        return f'<a href="{escape(page)}" target="_blank" rel="noopener">{html}</a>' if page else html


def search(
    text: str = "",
    tasks: Iterable[str | TaskLog] | str | TaskLog | None = None,
    *,
    namespace: str | None = None,
    selector: str = "",
    lines: int = LINES,
    kubeconfig: str | None = None,
    context: str | None = None,
    **query: Any,
) -> SearchResult:
    """Search the logs of all tasks of a namespace, or of the tasks in `tasks`.

    All recordings are searched, including recordings of deleted and archived tasks. An interrupt ends the search.

    Parameters
    ----------
    text : str, optional
        What lines must contain, as it is typed into the viewer's filter box: `CUDA out of memory`,
        `loss=nan OR loss=inf`, `-warmup`, `level>=warning`, `step>100`, `/regex/`.
    tasks : iterable of str or TaskLog, optional
        Tasks as for `logs`. A task without a recording is recorded first. Default: all tasks of the namespace that are
        recorded or archived.
    namespace : str, optional
        Default: `CORTEX_NAMESPACE`, else the kubeconfig's.
    selector : str, optional
        A label selector of pods: only tasks of the cluster with such pods.
    lines : int, optional
        Maximum number of lines of each task, the newest. Further ones are counted.
    kubeconfig, context : str, optional
        As for `logs`.
    **query
        Further filters, as for `logs`: `since`, `until`, `level`, `grep`, `exclude`, `where`, `pod`, ...

    Raises
    ------
    BadQuery
        A parameter is wrong, or there is no filter.
    NotAllowed, NotFound, NoCluster, ClusterError
        The namespace, or the only task, cannot be read. Otherwise such tasks are in `failed`.
    SearchFailed
        The process that searches ended early.

    Examples
    --------
    >>> search("CUDA out of memory", ["ml:train-1", "ml:train-2"])  # doctest: +SKIP
    'CUDA out of memory': 2 lines in 1 of 2 tasks
    <BLANKLINE>
    ml:job/train-2: 2 lines
      2026-01-31 12:00:00 train-2-x7k2p CUDA out of memory. Tried to allocate 2.00 GiB
      2026-01-31 12:04:10 train-2-9f2lq CUDA out of memory. Tried to allocate 2.00 GiB
    """
    with progress("searching", unit=" tasks") as bar:

        def show(result: SearchResult) -> None:
            bar.total = result.total
            bar.set_postfix_str(format_count(result.matches, "line"), refresh=False)
            bar.update(result.searched - bar.n)

        return run_search(
            text,
            tasks,
            namespace=namespace,
            selector=selector,
            lines=lines,
            kubeconfig=kubeconfig,
            context=context,
            query=query,
            on_change=show,
        )


def run_search(
    text: str,
    tasks: Iterable[str | TaskLog] | str | TaskLog | None,
    *,
    namespace: str | None,
    selector: str,
    lines: int,
    kubeconfig: str | None,
    context: str | None,
    query: dict[str, Any],
    on_change: Callable[[SearchResult], object],
) -> SearchResult:
    """Search as `search` does, and call `on_change` with the current result, a few times per second and at the end."""
    for name in query:
        if name not in NAMES:
            raise BadQuery(f"there is no parameter {name[:60]!r}", "filters are those of cortex.logs")
    parsed, max_lines = parse_task_search({"search": text or None, "lines": lines, **query})
    names = (
        None if tasks is None else [_name(task) for task in ([tasks] if isinstance(tasks, str | TaskLog) else tasks)]
    )
    if names is not None and selector:
        raise BadQuery("both tasks and a selector are given", "give one of them")
    engine, result = runtime(), SearchResult(text or " ".join(f"{k}={v}" for k, v in query.items()))

    async def find() -> None:
        session = await engine.recordings(kubeconfig, context)
        result.origin = session.origin
        searched = await _tasks(session, names, namespace or session.namespace, selector)
        await _read(searched, parsed, max_lines, result)

    engine.run(find(), tick=lambda: on_change(result))
    on_change(result)
    return result


async def _tasks(session: Session, names: list[str] | None, namespace: str, selector: str) -> SearchedTasks:
    if names is None:
        return await SearchedTasks.of_namespace(session, check_namespace(namespace), selector)
    return await SearchedTasks.named(session, names, session.find, namespace)


async def _read(tasks: SearchedTasks, query: LogQuery, max_lines: int, result: SearchResult) -> None:
    rest = b""
    async with aclosing(task_matches(tasks, query, max_lines)) as pieces:
        async for piece in pieces:
            events, rest = split_events(rest + piece)
            for name, doc in events:
                result.receive(name, doc)


def _name(task: str | TaskLog) -> str:
    if isinstance(task, TaskLog):
        if task.opened:
            raise BadQuery(f"{task.opened} is a file", "search it with log.filter(grep=...)")
        return task.task
    return task


def _match(task: str, row: dict[str, Any]) -> Match:
    names = ("seq", "pod", "container", "kind", "run", "stream", "level", "text", "marks")
    return Match(task=task, ns=parse_rfc3339(row["time"]), **{name: row[name] for name in names})


def _some(names: list[str]) -> str:
    """Return the first of some names, and how many others there are."""
    more = f" and {len(names) - _LINES_SHOWN} more" if len(names) > _LINES_SHOWN else ""
    return ", ".join(names[:_LINES_SHOWN]) + more
