"""Find what ended a task, from the ends of its containers, the cluster's events, and the errors in its log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.analysis.errors import Error, errors
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import rfc3339
from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.parsing.progress import last_state
from cortex_jupyter.store.scan import read_notices
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.store import Readable

#: Number of last lines that are kept of each container.
LAST: Final = 10
#: Maximum number of characters that are kept of each line.
_WIDTH: Final = 1000
#: https://tldp.org/LDP/abs/html/exitcodes.html and signal(7): above 128 it is a signal.
_CODES: Final = {
    125: "the container runtime failed",
    126: "the command cannot be executed",
    127: "the command was not found",
    130: "interrupted (SIGINT)",
    132: "illegal instruction (SIGILL)",
    134: "aborted (SIGABRT)",
    135: "bus error (SIGBUS)",
    136: "arithmetic error (SIGFPE)",
    137: "killed (SIGKILL)",
    139: "segmentation fault (SIGSEGV)",
    141: "broken pipe (SIGPIPE)",
    143: "terminated (SIGTERM)",
}
#: Exit codes of containers that were ended because another one failed.
_CONSEQUENCES: Final = frozenset({137, 143})


@dataclass(slots=True)
class Container:
    """How one run of a container ended.

    Parameters
    ----------
    pod, container, kind : str
    run : int
    exit_code : int or None
        None if it runs, or if its end was not seen.
    reason : str
        `OOMKilled`, `Error`, `Completed`.
    message : str
        The termination message, from the kubelet or the container.
    ended : str or None
        RFC 3339.
    last : list of str
        Its last lines; of a line that was redrawn, such as a progress bar, the newest state.
    """

    pod: str
    container: str
    kind: str
    run: int
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    ended: str | None = None
    last: list[str] = field(default_factory=list)

    @property
    def meaning(self) -> str:
        """The meaning of the exit code."""
        if self.reason == "OOMKilled":
            return "killed for using more memory than its limit (OOMKilled)"
        return _CODES.get(self.exit_code or 0, "")


@dataclass(slots=True)
class Diagnosis:
    """The result of `diagnose`."""

    containers: list[Container]
    events: list[dict[str, Any]]
    errors: list[Error]
    culprit: Container | None
    error: Error | None


def diagnose(store: Readable, recording: int, table: pa.Table, *, succeeded: bool) -> Diagnosis:
    """Find what ended a task.

    Parameters
    ----------
    store : Readable
    recording : int
    table : pyarrow.Table
        The task's records.
    succeeded : bool
        Whether the task succeeded. It may have handled errors, which ended nothing.

    Returns
    -------
    Diagnosis
        `culprit` is the container that failed first; a killed one only if no other failed. `error` is the last error of
        that container, or else of the task. If the task succeeded, only an error of a run that failed before counts.
    """
    containers = _containers(store, recording)
    events = _notices(store, recording, containers)
    _last_lines(table, containers)
    result = errors(table)
    failed = [c for c in containers.values() if c.exit_code]
    failed.sort(key=lambda c: (c.exit_code in _CONSEQUENCES and c.reason != "OOMKilled", c.ended or "~"))
    culprit = failed[0] if failed else None
    return Diagnosis(
        list(containers.values()), events, result, culprit, _error(result, culprit, table, succeeded=succeeded)
    )


def _containers(store: Readable, recording: int) -> dict[tuple[str, str, int], Container]:
    result = {}
    for source, _ in store.sources(recording).values():
        result[source.pod, source.container, source.run] = Container(
            source.pod, source.container, source.kind, source.run
        )
    return result


def _notices(
    store: Readable, recording: int, containers: dict[tuple[str, str, int], Container]
) -> list[dict[str, Any]]:
    """Set how the containers ended, and return the warnings and gaps between the lines."""
    events = []
    for entry in read_notices(store, recording, store.index(recording)):
        doc = orjson.loads(entry.data)
        source = doc.get("source") or {}
        key = (source.get("pod"), source.get("container"), source.get("run", 0))
        when = rfc3339(int(doc.get("time") or entry.t_min))
        if doc.get("notice") == "ended" and key in containers:
            container = containers[key]
            container.exit_code, container.reason, container.ended = doc.get("exit_code"), doc.get("reason") or "", when
            message = doc.get("termination_message") or ""  # may be the last lines of the log
            container.message = "\n".join(last_state(line) for line in message.split("\n"))
        elif doc.get("notice") == "event" and doc.get("level") == "warning":
            events.append({"time": when, "reason": doc.get("reason") or "", "message": doc["message"]})
        elif entry.event == "gap":
            events.append({"time": when, "reason": "Gap", "message": doc.get("message") or doc.get("reason") or ""})
    return events


def _last_lines(table: pa.Table, containers: dict[tuple[str, str, int], Container]) -> None:
    np = import_optional("numpy")
    pods, pod_names = coded(table["pod"])
    names, container_names = coded(table["container"])
    runs = table["run"].to_numpy()
    for (pod, name, run), container in containers.items():
        if pod in pod_names and name in container_names:
            in_container = (pods == pod_names.index(pod)) & (names == container_names.index(name)) & (runs == run)
            rows = np.flatnonzero(in_container)[-LAST:]
            container.last = [plain(last_state(table["text"][int(row)].as_py())[:_WIDTH]) for row in rows]


def _error(result: list[Error], culprit: Container | None, table: pa.Table, *, succeeded: bool) -> Error | None:
    """Return the error nearest to the end of the culprit; a traceback is preferred to a line."""
    near = [e for e in result if culprit and _belongs_to(e, culprit, table)]
    if succeeded and culprit:  # the next run of the same container may have handled errors too
        near = [e for e in near if table["run"][e.row].as_py() == culprit.run]
    near = near if succeeded else near or result
    traced = [e for e in near if e.kind != "line"]
    best = traced or near
    return best[-1] if best else None


def _belongs_to(error: Error, container: Container, table: pa.Table) -> bool:
    return container.pod in error.pods and table["container"][error.row].as_py() == container.container
