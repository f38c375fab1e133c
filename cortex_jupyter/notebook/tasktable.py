"""The tasks of a namespace, as a list and as a table."""

from __future__ import annotations

import asyncio
import json
import os
import time
import warnings
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from jupyter_core.paths import jupyter_config_path, jupyter_runtime_dir

from cortex_jupyter.analysis.progress import latest_progress
from cortex_jupyter.analysis.progress_table import progress_text
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ReadingWarning
from cortex_jupyter.model import TaskRef
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.reader.state import unasked_list
from cortex_jupyter.reader.task_list import list_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas import DataFrame

    from cortex_jupyter.errors import CortexError
    from cortex_jupyter.reader.session import Session

#: Time limit of looking back beyond the last lines, for all tasks together (seconds).
_LOOK_BACK_S: Final = 2.0
_COLUMNS: Final = ("task", "state", "status", "restarts", "started", "finished", "exit_code", "pods")


class TaskTable(list[dict[str, Any]]):
    """Tasks, newest first, each a dict as in `GET cortex/tasks`. It is displayed as a table.

    Examples
    --------
    >>> row = {"task": "ml:pod/a", "state": "running", "status": "CrashLoopBackOff", "restarts": 4, "pods": 1}
    >>> TaskTable([row | {"started": "2026-01-01T00:00:00Z"}])
    TASK      STATE    STATUS            RESTARTS  STARTED               FINISHED  EXIT_CODE  PODS
    ml:pod/a  running  CrashLoopBackOff  4         2026-01-01T00:00:00Z                       1
    """

    def __init__(self, tasks: Iterable[dict[str, Any]] = (), origin: str = "") -> None:
        super().__init__(tasks)
        self._origin = origin  # identifies cluster and store, for the links

    def to_pandas(self) -> DataFrame:
        """Return a `pandas.DataFrame`; `started` and `finished` are UTC times.

        Raises
        ------
        MissingExtra
            pandas is not installed.
        """
        pd = import_optional("pandas")
        names = (
            "task",
            "kind",
            "namespace",
            "name",
            "state",
            "status",
            "message",
            "restarts",
            "started",
            "finished",
            "exit_code",
            "pods",
        )
        frame: DataFrame = pd.DataFrame(list(self), columns=list(names))
        for name in ("started", "finished"):
            frame[name] = pd.to_datetime(frame[name], utc=True)
        return frame.astype({"restarts": "Int64", "exit_code": "Int64", "pods": "Int64"})

    @property
    def _visible_columns(self) -> tuple[str, ...]:
        """The columns, with `progress` if a task reports it."""
        return (*_COLUMNS, "progress") if any(task.get("progress") for task in self) else _COLUMNS

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, without its header."""
        columns = self._visible_columns
        return [tuple("" if task.get(c) is None else str(task[c]) for c in columns) for task in self]

    def __repr__(self) -> str:
        if not self:
            return "no tasks"
        rows = [tuple(c.upper() for c in self._visible_columns), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self._visible_columns))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        if not self:
            return "<i>no tasks</i>"
        head = "".join(f"<th>{c.replace('_', ' ')}</th>" for c in self._visible_columns)
        body = "".join(
            f"<tr><td>{_link(row[0], self._origin)}</td>{''.join(f'<td>{escape(c)}</td>' for c in row[1:])}</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _link(task: str, origin: str) -> str:
    page = page_of(task, origin)
    return f'<a href="{escape(page)}" target="_blank" rel="noopener">{escape(task)}</a>' if page else escape(task)


def tasks(
    namespace: str | None = None, selector: str = "", *, kubeconfig: str | None = None, context: str | None = None
) -> TaskTable:
    """List the tasks of a namespace, newest first. Includes deleted tasks that are still recorded or archived.

    Parameters
    ----------
    namespace : str, optional
        Default: `CORTEX_NAMESPACE`, else the kubeconfig's.
    selector : str, optional
        A label selector for pods, such as `app=x,tier!=y`: tasks with such pods, or whose pod template has such labels.
    kubeconfig, context : str, optional
        As for `logs`.

    Raises
    ------
    NotFound
        The cluster has no such namespace.
    NotAllowed, NoCluster, ClusterError, BadQuery
    """
    engine = runtime()

    async def listed() -> tuple[list[dict[str, Any]], CortexError | None, str]:
        recordings: Session = await engine.recordings(kubeconfig, context)
        rows, problem = await list_tasks(recordings, namespace or recordings.namespace, selector)
        await asyncio.to_thread(_add_progress, recordings, rows)
        return rows, problem, recordings.origin

    rows, problem, origin = engine.run(listed())
    if problem is not None:
        warnings.warn(unasked_list(problem), ReadingWarning, stacklevel=2)
    return TaskTable(rows, origin)


def _add_progress(recordings: Session, tasks: list[dict[str, Any]]) -> None:
    """Add the progress of running tasks that are recorded, from their last lines."""
    cluster = recordings.cluster.id if recordings.cluster else None
    end = time.monotonic() + _LOOK_BACK_S
    for task in tasks:
        if task["state"] == "running" and task["recorded"]:
            info = recordings.store.find(TaskRef.parse(task["task"]), cluster)
            if info is None or info.done:
                continue
            look_back = time.monotonic() < end
            bar = latest_progress(recordings.store, info.id, info.last_seq, look_back=look_back)
            if bar is not None:
                task["progress"] = progress_text(bar)


def page_of(task: str, origin: str = "", line: tuple[str, int] | None = None) -> str | None:
    """Return the address of a task's page on this kernel's Jupyter server, without the host, which only the browser knows.

    Parameters
    ----------
    task : str
    origin : str, optional
        Identifies the task's cluster and store (`Connection.origin`). A server that reads others shows an error.
    line : tuple of str and int, optional
        Time (RFC 3339) and number of the line that the page opens at.

    Returns
    -------
    str or None
        None if no Jupyter server started this kernel, or if the server does not have the extension.
    """
    enabled = (Path(p) / "jupyter_server_config.d" / "cortex_jupyter.json" for p in jupyter_config_path())
    # The file that each running server writes for `jupyter server list`. jupyter_client sets JPY_PARENT_PID for kernels.
    file = Path(jupyter_runtime_dir()) / f"jpserver-{os.environ.get('JPY_PARENT_PID', '')}.json"
    if not file.is_file() or not any(path.is_file() for path in enabled):
        return None
    base: str = json.loads(file.read_text())["base_url"]
    parameters = "" if line is None else f"&since=all&at={quote(line[0], safe='')}&line={line[1]}"
    return f"{base}cortex/view?task={quote(task, safe='')}" + (f"&origin={origin}" if origin else "") + parameters
