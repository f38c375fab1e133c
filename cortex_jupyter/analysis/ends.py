"""What ended a task: its containers' ends, the cluster's events, and the errors in its log, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.analysis.errors import Error, errors
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import rfc3339
from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    from cortex_jupyter.store import Readable

#: Lines of each container that are given, and characters of each.
LAST: Final = 10
_WIDTH: Final = 1000
#: https://tldp.org/LDP/abs/html/exitcodes.html and signal(7): above 128 a signal.
_CODES: Final = {
    125: "the container runtime failed", 126: "the command cannot be executed", 127: "the command was not found",
    130: "interrupted (SIGINT)", 132: "illegal instruction (SIGILL)", 134: "aborted (SIGABRT)", 135: "bus error (SIGBUS)",
    136: "arithmetic error (SIGFPE)", 137: "killed (SIGKILL)", 139: "segmentation fault (SIGSEGV)",
    141: "broken pipe (SIGPIPE)", 143: "terminated (SIGTERM)",
}  # fmt: skip
#: Ends that follow from another container's.
_LED: Final = frozenset({137, 143})


@dataclass(slots=True)
class Container:
    """How one run of a container ended.

    Parameters
    ----------
    pod, container, kind : str
    run : int
    exit_code : int or None
        None where it runs, or was not seen to end.
    reason : str
        `OOMKilled`, `Error`, `Completed`.
    message : str
        What the kubelet or the container said of its end: the termination message.
    ended : str or None
        RFC 3339.
    last : list of str
        Its last lines.
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
        """What the exit code says."""
        if self.reason == "OOMKilled":
            return "killed for using more memory than its limit (OOMKilled)"
        return _CODES.get(self.exit_code or 0, "")


@dataclass(slots=True)
class Ending:
    """What was found; see `ending`."""

    containers: list[Container]
    events: list[dict[str, Any]]
    errors: list[Error]
    culprit: Container | None
    error: Error | None


def ending(store: Readable, recording: int, table: Any) -> Ending:
    """Put together what ended a task.

    Parameters
    ----------
    store : Readable
    recording : int
    table : pyarrow.Table
        Its records.

    Returns
    -------
    Ending
        `culprit` is the container that failed first, one that was killed only where no other failed; `error` the last
        error of that container, else the last of all.
    """
    containers = _containers(store, recording)
    events = _notices(store, recording, containers)
    _last_lines(table, containers)
    found = errors(table)
    failed = [c for c in containers.values() if c.exit_code]
    failed.sort(key=lambda c: (c.exit_code in _LED and c.reason != "OOMKilled", c.ended or "~"))
    culprit = failed[0] if failed else None
    return Ending(list(containers.values()), events, found, culprit, _error(found, culprit, table))


def _containers(store: Readable, recording: int) -> dict[tuple[str, str, int], Container]:
    found = {}
    for source, _ in store.sources(recording).values():
        found[source.pod, source.container, source.run] = Container(
            source.pod, source.container, source.kind, source.run
        )
    return found


def _notices(
    store: Readable, recording: int, containers: dict[tuple[str, str, int], Container]
) -> list[dict[str, Any]]:
    """Read how containers ended, and give the warnings and gaps between the lines."""
    events = []
    for seq, _, event, at, _ in store.index(recording):
        if event == "log" or (entry := store.entry(recording, seq)) is None:
            continue
        doc = orjson.loads(entry.data)
        source = doc.get("source") or {}
        key = (source.get("pod"), source.get("container"), source.get("run", 0))
        when = rfc3339(int(doc.get("time") or at))
        if doc.get("notice") == "ended" and key in containers:
            one = containers[key]
            one.exit_code, one.reason, one.ended = doc.get("exit_code"), doc.get("reason") or "", when
            one.message = doc.get("termination_message") or ""
        elif doc.get("notice") == "event" and doc.get("level") == "warning":
            events.append({"time": when, "reason": doc.get("reason") or "", "message": doc["message"]})
        elif event == "gap":
            events.append({"time": when, "reason": "Gap", "message": doc.get("message") or doc.get("reason") or ""})
    return events


def _last_lines(table: Any, containers: dict[tuple[str, str, int], Container]) -> None:
    np = import_optional("numpy")
    pods, pod_names = coded(table["pod"])
    names, container_names = coded(table["container"])
    runs = table["run"].to_numpy()
    for (pod, name, run), one in containers.items():
        if pod in pod_names and name in container_names:
            own = (pods == pod_names.index(pod)) & (names == container_names.index(name)) & (runs == run)
            rows = np.flatnonzero(own)[-LAST:]
            one.last = [plain(table["text"][int(row)].as_py()[:_WIDTH]) for row in rows]


def _error(found: list[Error], culprit: Container | None, table: Any) -> Error | None:
    """Give the error that is nearest to the end of who failed; a traceback rather than a line."""
    near = [e for e in found if culprit and _from(e, culprit, table)] or found
    traced = [e for e in near if e.kind != "line"]
    best = traced or near
    return best[-1] if best else None


def _from(error: Error, one: Container, table: Any) -> bool:
    return one.pod in error.pods and table["container"][error.row].as_py() == one.container
