"""Search the recordings of many tasks at once, for the HTTP handler, Python and the command line.

One process (`reader.searcher`) searches them one after the other, and ends with its reader.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.parsing.level import LEVELS, common_levels
from cortex_jupyter.query.language import SEVERAL, LogQuery
from cortex_jupyter.query.typed import typed_query
from cortex_jupyter.reader.process import event
from cortex_jupyter.reader.search import parse_search, raw_query, run_searcher
from cortex_jupyter.reader.task_list import list_with_recordings
from cortex_jupyter.reader.window import wait_caught_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.errors import ArchiveError
    from cortex_jupyter.reader.session import Recording, Session
    from cortex_jupyter.store import RecordingInfo

#: Lines of each task, unless the reader asks for another number.
LINES: Final = 100
#: Maximum number of lines of each task that a reader may ask for.
MAX_LINES: Final = 10_000
#: A task that is named is recorded first, for at most this time (seconds). Then what there is of it is searched.
_SETTLE_S: Final = 30.0


@dataclass
class SearchedTasks:
    """The tasks of one search.

    Parameters
    ----------
    targets : list of dict
        What `reader.searcher.search_tasks` needs of each recorded task.
    refs : list of TaskRef
        The same tasks, for checks of permissions.
    unrecorded : list of str
        Keys of tasks that have no recording.
    growing : list of str
        Keys of running tasks that no recorder follows: their newest lines may not be recorded.
    failed : list of (str, CortexError)
        Tasks that cannot be read, as they were named, with the reason.
    problem : CortexError or None
        Why the cluster could not be asked. Then only recorded tasks are known.
    archive_problem : CortexError or None
        Why the archive could not be listed. Then archived tasks are not searched.
    """

    targets: list[dict[str, Any]] = field(default_factory=list)
    refs: list[TaskRef] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    growing: list[str] = field(default_factory=list)
    failed: list[tuple[str, CortexError]] = field(default_factory=list)
    problem: CortexError | None = None
    archive_problem: CortexError | None = None

    @classmethod
    async def of_namespace(
        cls, session: Session, namespace: str, selector: str = "", person: Person | None = None
    ) -> Self:
        """Return the tasks of a namespace that a person may read, newest first. This starts no recording.

        Raises
        ------
        NotAllowed, NotFound, NoCluster, ClusterError, BadQuery
            As `task_list.list_tasks`.
        """
        failures: list[ArchiveError] = []
        rows, recordings, problem = await list_with_recordings(session, namespace, selector, person, failures)
        tasks = cls(problem=problem, archive_problem=next(iter(failures), None))
        for row in rows:
            info = recordings.get(row["task"])
            if info is not None:
                tasks._add(session, info)
            elif row["kind"] != "cronjob":  # the log of a CronJob is that of its newest Job
                tasks.unrecorded.append(row["task"])
        await tasks._note_growing(session, [recordings[target["task"]] for target in tasks.targets])
        return tasks

    @classmethod
    async def named(
        cls,
        session: Session,
        names: Sequence[str],
        find: Callable[[TaskRef], Awaitable[Recording]],
        namespace: str = "",
    ) -> Self:
        """Return tasks by name. A task without a recording is recorded first.

        Parameters
        ----------
        session : Session
        names : sequence of str
            `[NAMESPACE:][KIND/]NAME`. A task that cannot be read is one of `failed`.
        find : callable
            Finds a task and begins to record it, as `Session.find` does.
        namespace : str, optional
            Of tasks that name none. Default: the session's.

        Raises
        ------
        CortexError
            The only task cannot be read.
        """
        tasks = cls()

        async def settled(name: str) -> RecordingInfo | CortexError:
            try:
                recording = await find(TaskRef.parse(name, namespace or session.namespace))
                return await wait_caught_up(recording, _SETTLE_S)
            except CortexError as error:
                return error

        infos: list[RecordingInfo] = []
        for name, info in zip(names, await asyncio.gather(*map(settled, names)), strict=True):
            if isinstance(info, CortexError):
                if len(names) == 1:
                    raise info
                tasks.failed.append((name, info))
            elif all(target["recording"] != info.id for target in tasks.targets):  # two names of one task
                tasks._add(session, info)
                infos.append(info)
        await tasks._note_growing(session, infos)
        return tasks

    def _add(self, session: Session, info: RecordingInfo) -> None:
        archive = None if session.archive is None else session.archive.url
        place = {"store": session.store.url, "archive": archive, "recording": info.id}
        self.targets.append({"task": info.ref.key} | place)
        self.refs.append(info.ref)

    async def _note_growing(self, session: Session, infos: list[RecordingInfo]) -> None:
        unfinished = {info.id: info.ref.key for info in infos if not info.done}
        if unfinished:
            holders = await asyncio.to_thread(session.store.holders, unfinished)
            self.growing = [key for id_, key in unfinished.items() if not holders.get(id_)]


def parse_task_search(values: dict[str, Any]) -> tuple[LogQuery, int]:
    """Parse a search: the parameters of a query, and `search`, which is what a user types into the filter box.

    Returns
    -------
    LogQuery, int
        The query, and the maximum number of lines of each task (`lines`).

    Raises
    ------
    BadQuery
        A parameter is wrong, or there is no filter.

    Examples
    --------
    >>> query, lines = parse_task_search({"search": "out of memory -warmup", "exclude": "test", "lines": "3"})
    >>> query.grep, query.exclude, lines
    (('(?i)out of memory',), ('test', '(?i)warmup'), 3)
    """
    values = {name: value for name, value in values.items() if value is not None}
    lines = values.pop("lines", None) or LINES
    if not (str(lines).isdecimal() and len(str(lines)) < 6 and 1 <= int(lines) <= MAX_LINES):
        raise BadQuery(f"lines={str(lines)[:60]!r} is no number from 1 to {MAX_LINES}", f"leave it out for {LINES}")
    if "before" in values:
        raise BadQuery("a search across tasks takes no cursor", "narrow it with since and until")
    typed = typed_query(values.pop("search")) if "search" in values else {}
    for name in SEVERAL:
        if name in typed:
            given = values.get(name) or []
            values[name] = [*([given] if isinstance(given, str) else given), *typed[name]]
    if level := typed.get("level"):
        query = LogQuery.parse({"level": values.get("level")})
        values["level"] = common_levels(level, query.level or LEVELS[0])
        if values["level"] is None:
            raise BadQuery(f"level>={level} excludes all of level={query.level!r}", "leave one of the two out")
    return parse_search(values), int(lines)


async def task_matches(tasks: SearchedTasks, query: LogQuery, max_lines: int) -> AsyncGenerator[bytes]:
    """Yield the matches in several tasks as events, in pieces as they come.

    Parameters
    ----------
    tasks : SearchedTasks
    query : LogQuery
    max_lines : int
        Maximum number of lines of each task.

    Yields
    ------
    bytes
        First `tasks`: the number of tasks that are searched (`tasks`), and the keys of the `unrecorded` and the
        `growing` ones; `problem` and `archive_problem` if cluster or archive cannot be asked. Then for each task `lines` with some of its newest matches (`records`, as on a page; `marks` are the
        beginnings and ends of the matches in `text`, and `length` is that of a text that was cut), and a `task` event:
        the number of `matches`, and whether the task was searched to its end (`all`), else there may be more; or an
        `error`. Meanwhile `progress`: the current numbers of `searched` tasks and of `matches`. At the end `done`.
    """
    named = {"problem": tasks.problem, "archive_problem": tasks.archive_problem}
    problems = {name: problem.as_dict() for name, problem in named.items() if problem is not None}
    yield event("tasks", tasks=len(tasks.targets), unrecorded=tasks.unrecorded, growing=tasks.growing, **problems)
    for task, error in tasks.failed:
        yield event("task", task=task, matches=0, all=False, error=error.as_dict())
    if not tasks.targets:
        yield event("done", tasks=0, with_matches=0, matches=0, all=True)
        return
    request = {
        "targets": tasks.targets,
        "query": raw_query(query),
        "max_lines": max_lines,
        "bounds": asdict(query.bounds),
    }
    async with aclosing(run_searcher(request)) as pieces:
        async for piece in pieces:
            yield piece


def split_events(pieces: bytes) -> tuple[list[tuple[str, dict[str, Any]]], bytes]:
    """Return the whole events at the beginning of some bytes, and the rest.

    Examples
    --------
    >>> split_events(event("progress", searched=1) + b"event: do")
    ([('progress', {'searched': 1})], b'event: do')
    """
    *blocks, rest = pieces.split(b"\n\n")
    events = []
    for block in blocks:
        name, _, data = block.partition(b"\ndata: ")
        events.append((name.removeprefix(b"event: ").decode(), orjson.loads(data)))
    return events, rest
