"""`TaskLog`: the log of one task, live and as data, in notebooks, IPython and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.model import TaskRef
from cortex_jupyter.notebook.analysis import Analysis
from cortex_jupyter.notebook.follow import has_several_containers
from cortex_jupyter.notebook.host import can_use_widgets, shows_html
from cortex_jupyter.notebook.query import parse_query, take_viewer_options
from cortex_jupyter.notebook.record import Marked, Record
from cortex_jupyter.notebook.runtime import Runtime, runtime
from cortex_jupyter.notebook.static_html import MAX_READ, static_html
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
    """Return the log of a task. As the value of a cell it shows the live viewer.

    Parameters
    ----------
    task : str
        `[NAMESPACE:][KIND/]NAME`, or `-l app=x`.
    namespace : str, optional
        Used if `task` names none. Default: `CORTEX_NAMESPACE`, else the kubeconfig's.
    kubeconfig, context : str, optional
        Default: `KUBECONFIG`, `~/.kube/config`, or the service account of the pod.
    **query
        Which records: `since` (`90s`, `10m`, RFC 3339 or `all`, the default in Python), `until`, `tail`, `pod`,
        `container`, `run` (of each container: 0 is the first, -1 the newest, -2 the one before; `POD/CONTAINER/0` of one
        container), `stream`, `level`, `grep`, `exclude`, `where` (`"status>=500"`; these three may be lists),
        `timestamps`, `pretty`.
        How the viewer looks: `time` (`local`, `utc`, `start`, `delta`, `off`), `wrap`, `columns`, `font_size`,
        `newest_first`, `fields` (of JSON lines, shown in rows), `fold` (equal lines: `exact`, or `masked` to ignore
        numbers), `chart` (of metrics, over `time` or `step`), `chart_log`, `height`.

    Raises
    ------
    TaskNotFound, AmbiguousTask, ContainerNotFound, NotAllowed, NoCluster, ClusterError
        Raised at once, not when the log is first read.
    BadQuery
        A parameter is wrong.
    """
    viewer_options = take_viewer_options(query)
    parsed = parse_query(query)
    engine = runtime()

    async def find() -> tuple[Session, Recording]:
        recordings = await engine.recordings(kubeconfig, context)
        recording = await recordings.find(TaskRef.parse(task, namespace or recordings.namespace))
        await check_names(recording, parsed)
        return recordings, recording

    log = TaskLog(engine, *engine.run(find()), query)
    log.looks |= viewer_options
    return log


class TaskLog(Waiting, Analysis):
    """The log of one task; made by `logs`.

    As the value of a cell it shows the live viewer. Reading (`to_pandas`, `len`, iteration, slices, `complete`) first
    waits until everything written so far is recorded.
    """

    def __init__(self, engine: Runtime, recordings: Session, recording: Recording, query: dict[str, Any]) -> None:
        super().__init__(engine, recordings, recording, {k: v for k, v in query.items() if v is not None})
        self._viewer: LogViewer | None = None
        #: The viewer's options, and its transport: `auto`, `sse` or `comm`. Set them before the viewer is shown. Later, set
        #: the traits of `viewer` with the same names.
        self.looks: dict[str, Any] = {}
        self.transport = "auto"
        #: The file of a log that was opened from a file, else "".
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
        """Whether the task has ended, by its recording or by its state in the cluster when it was found."""
        if self._engine.run(self._recording.info()).done:
            return True
        from cortex_jupyter.cluster.workloads import state_of

        workload = self._recording.workload
        # A bare pod is the workload itself. The state of a Job needs only the Job.
        return workload is None or state_of(workload, [workload.obj] if workload.ref.kind == "pod" else []).over

    @property
    def query(self) -> LogQuery:
        """The parsed parameters. Durations count from now."""
        return self._parsed()

    @property
    def several(self) -> bool:
        """Whether lines come, or may still come, from several containers."""
        return has_several_containers(self._recording)

    @property
    def runs(self) -> dict[tuple[str, str], list[int]]:
        """The recorded runs by pod and container, counted by restarts: 0 is the first."""
        runs: dict[tuple[str, str], set[int]] = {}
        for source, _ in self._recording.store.sources(self._recording.id).values():
            runs.setdefault((source.pod, source.container), set()).add(source.run)
        return {name: sorted(numbers) for name, numbers in runs.items()}

    def ended_runs(self) -> dict[tuple[str, str], list[int]]:
        """Return `runs` of the containers whose newest run has ended."""
        self._settle()
        sources = self._recording.store.sources(self._recording.id).values()
        running = {(source.pod, source.container) for source, anchor in sources if not anchor.ended}
        return {name: runs for name, runs in self.runs.items() if name not in running}

    @property
    def complete(self) -> Completeness:
        """The completeness statement of the whole recording: lines, time range, and gaps with their reasons."""
        self._settle()
        return self._statement()

    def filter(self, **query: Any) -> TaskLog:
        """Return the log of the same task with further parameters. A parameter that is given again is replaced.

        Parameters
        ----------
        **query
            As for `logs`.

        Raises
        ------
        BadQuery
            A parameter is wrong.
        """
        viewer_options = take_viewer_options(query)
        parse_query(merged := {**self._query, **query})
        log = TaskLog(self._engine, self._recordings, self._recording, merged)
        log.looks, log.transport, log.opened = self.looks | viewer_options, self.transport, self.opened
        return log

    # ----------------------------------------------------------------- display

    @property
    def viewer(self) -> LogViewer:
        """The widget that shows this log. All cells share it."""
        if self._viewer is None:
            from cortex_jupyter.notebook.widget import LogViewer, for_page  # loads ipywidgets

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
        """The log as the viewer shows it now: window, filter and pods. Its repr is code for the same log."""
        from cortex_jupyter.notebook.view import query_of

        return self.filter(**query_of(dict(self.viewer.view)))

    @property
    def marks(self) -> list[Marked]:
        """The bookmarked lines with their notes, in the order of recording."""
        notes = {m["seq"]: m["note"] for m in self.viewer.bookmarks if m["task"] == self.task}
        whole = TaskLog(self._engine, self._recordings, self._recording, {})
        return [Marked(record, note) for seq, note in sorted(notes.items()) for record in whole[seq : seq + 1]]

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
        page = newest(store, id_, limit=MAX_READ, since=query.since, until=query.until, keep=query.keep())
        records = [Record.of(r) for r in page.records]
        query_shown = {k: str(v) for k, v in self._query.items()}
        bundle["text/html"] = static_html(self.task, self.status, query_shown, records, str(self._statement()))
        return bundle | self.viewer.mimebundle() if can_use_widgets() else bundle

    def __iter__(self) -> Iterator[Record]:
        return self.records()
