"""`TaskLog`: the log of one task, live and as data, the same in a notebook, in IPython and in a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.model import TaskRef
from cortex_jupyter.notebook.analysis import Analysis
from cortex_jupyter.notebook.follow import several
from cortex_jupyter.notebook.host import answers, shows_html
from cortex_jupyter.notebook.query import check, looks
from cortex_jupyter.notebook.record import Marked, Record
from cortex_jupyter.notebook.runtime import Runtime, runtime
from cortex_jupyter.notebook.tail import LOOKED_AT, static
from cortex_jupyter.notebook.tasktable import tasks
from cortex_jupyter.notebook.waiting import Waiting
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.pages import newest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.notebook.widget import LogViewer
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording, Session
    from cortex_jupyter.tables.statement import Completeness

__all__ = ["TaskLog", "logs", "tasks"]


def logs(
    task: str,
    *,
    namespace: str | None = None,
    kubeconfig: str | None = None,
    context: str | None = None,
    **query: Any,
) -> TaskLog:
    """Give the log of a task; as a cell's value it shows the live viewer.

    Parameters
    ----------
    task : str
        `[NAMESPACE:][KIND/]NAME`, or `-l app=x`.
    namespace : str, optional
        Where `task` names none; else `CORTEX_NAMESPACE`, else the kubeconfig's.
    kubeconfig, context : str, optional
        Else `KUBECONFIG`, `~/.kube/config`, or the pod we run in.
    **query
        `since` (`90s`, `10m`, RFC 3339, `all`; in Python `all` unless given), `until`, `tail`, `pod`, `container`,
        `run` (of each container: 0 is the first, -1 the newest, -2 the one before it; `POD/CONTAINER/0` is of one), `stream`, `level`, `grep`, `exclude`, `where` (`"status>=500"`; these three also as lists), `timestamps`, `pretty`; and
        how the viewer looks: `time` (`local`, `utc`, `start`, `delta`, `off`), `wrap`, `columns`, `font_size`, `newest_first`,
        `fields` (those of JSON lines that rows show), `fold` (equal lines: `exact`, or `masked` for whatever their numbers),
        `chart` (of the metrics, beside the lines: over `time` or `step`), `chart_log`, `height`.

    Raises
    ------
    TaskNotFound, AmbiguousTask, ContainerNotFound, NotAllowed, NoCluster, ClusterError
        At once, not when it is first read.
    BadQuery
        A parameter cannot be understood.
    """
    shown = looks(query)
    parsed = check(query)
    engine = runtime()

    async def find() -> tuple[Session, Recording]:
        recordings = await engine.recordings(kubeconfig, context)
        recording = await recordings.find(TaskRef.parse(task, namespace or recordings.namespace))
        await check_names(recording, parsed)
        return recordings, recording

    log = TaskLog(engine, *engine.run(find()), query)
    log.looks |= shown
    return log


class TaskLog(Waiting, Analysis):
    """The log of one task; made by `logs`.

    As a cell's value it shows the live viewer. What reads a snapshot (`to_pandas`, `len`, iteration, slices,
    `complete`) first waits until what had been written is recorded.
    """

    def __init__(self, engine: Runtime, recordings: Session, recording: Recording, query: dict[str, Any]) -> None:
        super().__init__(engine, recordings, recording, {k: v for k, v in query.items() if v is not None})
        self._viewer: LogViewer | None = None
        #: How the viewer is to look, and how its page gets the lines: `auto`, `sse` or `comm`. To be set before it is shown;
        #: afterwards the same are traits of `viewer`.
        self.looks: dict[str, Any] = {}
        self.transport = "auto"
        #: The file it was opened from; "" for a task's.
        self.opened = ""

    # ------------------------------------------------------------------- what

    @property
    def task(self) -> str:
        """The task's key, `namespace:kind/name`."""
        return self._recording.ref.key

    @property
    def state(self) -> str:
        """`pending`, `running`, `succeeded`, `failed` or `gone`."""
        return self.status.state

    @property
    def exit_code(self) -> int | None:
        """The exit code of a task that has ended."""
        return self.status.exit_code

    @property
    def over(self) -> bool:
        """Whether the task has ended, by what is recorded or by what the cluster said when it was found."""
        if self._engine.run(self._recording.info()).done:
            return True
        from cortex_jupyter.cluster.workloads import state_of  # noqa: PLC0415

        workload = self._recording.workload
        # A bare pod is its own object; of a Job the object alone says that it is over.
        return workload is None or state_of(workload, [workload.obj] if workload.ref.kind == "pod" else []).over

    @property
    def query(self) -> LogQuery:
        """The parameters as they are understood now."""
        return self._parsed()

    @property
    def several(self) -> bool:
        """Whether lines come, or may yet come, from several containers."""
        return several(self._recording)

    @property
    def runs(self) -> dict[tuple[str, str], list[int]]:
        """The runs that are recorded of each container, by pod and container, counted by restarts: 0 is the first."""
        found: dict[tuple[str, str], set[int]] = {}
        for source, _ in self._recording.store.sources(self._recording.id).values():
            found.setdefault((source.pod, source.container), set()).add(source.run)
        return {name: sorted(runs) for name, runs in found.items()}

    def ended_runs(self) -> dict[tuple[str, str], list[int]]:
        """Return `runs` of the containers that do not run now: the newest one has ended."""
        self._settle()
        known = self._recording.store.sources(self._recording.id).values()
        open_ = {(source.pod, source.container) for source, anchor in known if not anchor.ended}
        return {name: runs for name, runs in self.runs.items() if name not in open_}

    @property
    def complete(self) -> Completeness:
        """The completeness statement of the whole recording: lines, time range, gaps with their reasons."""
        self._settle()
        return self._statement()

    def filter(self, **query: Any) -> TaskLog:
        """Give the log of the same task with further parameters; one that is given again replaces what was.

        Parameters
        ----------
        **query
            As for `logs`.

        Raises
        ------
        BadQuery
            A parameter cannot be understood.
        """
        shown = looks(query)
        check(merged := {**self._query, **query})
        log = TaskLog(self._engine, self._recordings, self._recording, merged)
        log.looks, log.transport, log.opened = self.looks | shown, self.transport, self.opened
        return log

    # ----------------------------------------------------------------- display

    @property
    def viewer(self) -> LogViewer:
        """The widget that shows this log; the same for all cells that do."""
        if self._viewer is None:
            from cortex_jupyter.notebook.widget import LogViewer, for_page  # noqa: PLC0415 - loads ipywidgets

            self._viewer = LogViewer(
                self._engine,
                self._recordings,
                tasks=[self.task],
                query=for_page(self._query),
                transport=self.transport,
                **({"time": "off"} if self._query.get("timestamps") is False else {}) | self.looks,
            )
        return self._viewer

    @property
    def view(self) -> TaskLog:
        """The log that the viewer shows now: its window, filter and pods. Its repr is the code that gives the same."""
        from cortex_jupyter.notebook.view import query_of  # noqa: PLC0415

        return self.filter(**query_of(dict(self.viewer.view)))

    @property
    def marks(self) -> list[Marked]:
        """The lines that were bookmarked in the viewer, with their notes, in the order of recording."""
        noted = {m["seq"]: m["note"] for m in self.viewer.bookmarks if m["task"] == self.task}
        whole = TaskLog(self._engine, self._recordings, self._recording, {})
        return [Marked(record, note) for seq, note in sorted(noted.items()) for record in whole[seq : seq + 1]]

    def __repr__(self) -> str:
        query = "".join(f", {k}={v!r}" for k, v in self._query.items())
        call = f"open({self.opened!r}" if self.opened else f"logs({self.task!r}"
        return f"cortex_jupyter.{call}{query})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if not shows_html():
            return bundle
        query = self._parsed()
        store, id_ = self._recording.store, self._recording.id
        page = newest(store, id_, limit=LOOKED_AT, since=query.since, until=query.until, keep=query.keep())
        records = [Record.of(r) for r in page.records]
        query_shown = {k: str(v) for k, v in self._query.items()}
        bundle["text/html"] = static(self.task, self.status, query_shown, records, str(self._statement()))
        return bundle | self.viewer.mimebundle() if answers() else bundle

    def __iter__(self) -> Iterator[Record]:
        return self.records()
