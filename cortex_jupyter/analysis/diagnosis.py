"""Find what ended a task, from the ends of its containers, the cluster's events, and the errors in its log.

When one rank of a distributed task fails, the others fail because it is gone. So an error that a peer caused
(`parsing.failures`) is an effect, and the cause is the first failure that is none. "First" is by the nodes' clocks, each
corrected by how far it was ahead of the recorder's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from cortex_jupyter.analysis.errors import Error, errors
from cortex_jupyter.archive.bytefind import regex_mask
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import parse_rfc3339, rfc3339
from cortex_jupyter.parsing import failures as failure_texts
from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.parsing.progress import last_state
from cortex_jupyter.store.scan import read_notices
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.parsing.failures import Collective
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
_SECOND: Final = 1_000_000_000
#: Errors this long before the last line of a container may have ended it (ns).
_NEAR_END: Final = 60 * _SECOND
#: An error of its own this long before a lost connection is the reason for both (ns): the process closes its connections.
_TEARDOWN: Final = 5 * _SECOND
#: An effect this long before the first cause is no effect of it (ns): a process may report late, but not that late.
_LATE: Final = 10 * _SECOND
#: Ends are whole seconds, so an end may be earlier than a line that was written before it (ns).
_TICK: Final = 2 * _SECOND
#: Maximum number of other failures in the evidence.
_EVIDENCE: Final = 8


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
        Its last lines. A line that was redrawn, such as a progress bar, stands in its newest state.
    node, role, rank, attempt : str
    started : str or None
        RFC 3339.
    clock_s : float or None
        How far its node's clock was ahead of the recorder's (seconds); None if lines were not read as they came.
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
    node: str = ""
    role: str = ""
    rank: str = ""
    attempt: str = ""
    started: str | None = None
    clock_s: float | None = None

    @property
    def name(self) -> str:
        """Role and rank, `worker-3`, else the pod's name."""
        return f"{self.role}-{self.rank}" if self.role and self.rank else self.pod

    @property
    def is_stopped(self) -> bool:
        """Whether something else ended it: a signal that is no sign of a failure of its own."""
        return self.exit_code in _CONSEQUENCES and self.reason != "OOMKilled"

    @property
    def meaning(self) -> str:
        """The meaning of the exit code."""
        if self.reason == "OOMKilled":
            return "killed for using more memory than its limit (OOMKilled)"
        return _CODES.get(self.exit_code or 0, "")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A line, or the end of a container, that shows how a task failed.

    Parameters
    ----------
    seq : int or None
        Number of the line, `log.seq[seq]`; None for the end of a container.
    time : datetime
        By the recorder's clock, cut to microseconds.
    who : str
        Rank or pod.
    what : str
        `cause`, or the effect of another failure: see `parsing.failures`.
    text : str
    """

    seq: int | None
    time: datetime
    who: str
    what: str
    text: str


@dataclass(slots=True)
class Diagnosis:
    """The result of `diagnose`.

    Parameters
    ----------
    containers : list of Container
    events : list of dict
    errors : list of Error
    culprit : Container or None
    error : Error or None
    evidence : list of Evidence
        The cause, and the failures after it in their order; empty if only one container failed.
    story : str
        What the other containers did then, or how the culprit kept them waiting; may be empty.
    stood_still : bool
        Whether the culprit did not fail but kept the others waiting.
    process : str
        The rank of the process that failed first, if the error names it; several processes may run in a container.
    """

    containers: list[Container]
    events: list[dict[str, Any]]
    errors: list[Error]
    culprit: Container | None
    error: Error | None
    evidence: list[Evidence] = field(default_factory=list)
    story: str = ""
    stood_still: bool = False
    process: str = ""


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
        `culprit` is the container that failed first, and not because another one did. `error` is what it reported last, or
        else the last error of the task. If the task succeeded, only an error of a run that failed before counts.
    """
    containers, events = read_containers(store, recording)
    _last_lines(table, containers)
    result = errors(table)
    failed = [c for c in containers.values() if c.exit_code]
    failed = _last_attempt([c for c in failed if c.kind in ("main", "init")] or failed)
    if succeeded or not failed:
        failed.sort(key=lambda c: (c.is_stopped, c.ended or "~"))
        culprit = failed[0] if failed else None
        error = _error(result, culprit, table, succeeded=succeeded)
        return Diagnosis(list(containers.values()), events, result, culprit, error)
    chosen = set(map(id, failed))
    failures = [failure for failure in _failures(table, containers, result) if id(failure.container) in chosen]
    first, stood_still = _first(failures, containers, table)
    later_failures = [
        failure for failure in sorted(failures, key=lambda f: f.at) if failure.container is not first.container
    ]
    if all(f.effect == failure_texts.STOPPED and f.error is None for f in failures):
        later_failures = []  # something else stopped them all
    error = first.error or (None if stood_still else _error(result, first.container, table, succeeded=False))
    return Diagnosis(
        list(containers.values()),
        events,
        result,
        first.container,
        error,
        _evidence(first, later_failures) if later_failures else [],
        _waited(later_failures) if stood_still else _effects(first, later_failures),
        stood_still,
        _process(error),
    )


Containers = dict[tuple[str, str, int], Container]


def read_containers(store: Readable, recording: int) -> tuple[Containers, list[dict[str, Any]]]:
    """Return each run of a container with its start and end, by pod, container and run; and the warnings and gaps."""
    containers: Containers = {}
    for source, _ in store.sources(recording).values():
        containers[source.pod, source.container, source.run] = Container(
            source.pod,
            source.container,
            source.kind,
            source.run,
            node=source.node,
            role=source.role,
            rank=source.rank,
            attempt=source.attempt,
        )
    return containers, _notices(store, recording, containers)


def clocks(containers: Containers) -> dict[str, int]:
    """Return how far the clock of each node was ahead of the recorder's (ns).

    A node without a known clock counts as having the usual difference.
    """
    known_clocks: dict[str, float] = {}
    for container in containers.values():
        if container.clock_s is not None:
            known_clocks[container.node] = max(known_clocks.get(container.node, container.clock_s), container.clock_s)
    usual = median(known_clocks.values()) if known_clocks else 0.0
    return {c.node: int(known_clocks.get(c.node, usual) * 1e9) for c in containers.values()}


def _notices(store: Readable, recording: int, containers: Containers) -> list[dict[str, Any]]:
    """Set how the containers started and ended, and return the warnings and gaps between the lines."""
    events = []
    for entry in read_notices(store, recording, store.index(recording)):
        doc = orjson.loads(entry.data)
        source = doc.get("source") or {}
        key = (source.get("pod"), source.get("container"), source.get("run", 0))
        when = rfc3339(int(doc.get("time") or entry.t_min))
        if doc.get("notice") == "started" and key in containers:
            containers[key].started = when
        elif doc.get("notice") == "ended" and key in containers:
            container = containers[key]
            container.exit_code, container.reason, container.ended = doc.get("exit_code"), doc.get("reason") or "", when
            container.clock_s = doc["clock_ms"] / 1000 if "clock_ms" in doc else None
            message = doc.get("termination_message") or ""  # may be the last lines of the log
            container.message = "\n".join(last_state(line) for line in message.split("\n"))
        elif doc.get("notice") == "event" and doc.get("level") == "warning":
            events.append({"time": when, "reason": doc.get("reason") or "", "message": doc["message"]})
        elif entry.event == "gap":
            events.append({"time": when, "reason": "Gap", "message": doc.get("message") or doc.get("reason") or ""})
    return events


def _last_attempt(failed: list[Container]) -> list[Container]:
    """Return the containers that failed together with the one that failed last: they had not ended before it started."""
    newest = max(failed, key=lambda c: c.ended or "", default=None)
    if newest is None or newest.started is None:
        return failed
    started = newest.started
    return [c for c in failed if c is newest or not c.ended or c.ended >= started]


# ------------------------------------------------------------- cause and effects


@dataclass(slots=True)
class _Failure:
    """How a container failed.

    Parameters
    ----------
    container : Container
    at : int
        When it failed, by the recorder's clock (ns).
    effect : str
        What it says about another process; empty for a failure of its own.
    error : Error or None
    seq : int or None
        Number of the error's first line in this container.
    text : str
    waits : Collective or None
        The operation that timed out while it waited.
    last : tuple of (int, int) or None
        Time by the recorder's clock (ns) and number of its last line.
    """

    container: Container
    at: int
    effect: str
    error: Error | None
    seq: int | None
    text: str
    waits: Collective | None
    last: tuple[int, int] | None


class _Sign(NamedTuple):
    """A sign of a failure: the first line of an error, or a line that reports the failure of another process."""

    at: int
    row: int
    error: Error | None
    effect: str


def _failures(table: pa.Table, containers: Containers, result: list[Error]) -> list[_Failure]:
    """Return how each container that failed did so."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    clock_offsets = clocks(containers)
    time, seqs, runs = table["time"].cast(pa.int64()).to_numpy(), table["seq"].to_numpy(), table["run"].to_numpy()
    (pods, pod_names), (names, container_names) = coded(table["pod"]), coded(table["container"])
    error_at = {row: error for error in result for row in error.rows}
    effect_of = {id(error): _effect_of(error) for error in result}
    reports = np.flatnonzero(regex_mask(table["text"], failure_texts.ANY).to_numpy(zero_copy_only=False))
    rows = np.union1d(np.array(sorted(error_at), np.int64), reports)
    failures = []
    for container in containers.values():
        if not container.exit_code or container.pod not in pod_names or container.container not in container_names:
            lines = np.zeros(0, np.int64)
        else:
            pod, name = pod_names.index(container.pod), container_names.index(container.container)
            lines = np.flatnonzero((pods == pod) & (names == name) & (runs == container.run))
        clock = clock_offsets[container.node]
        last = (int(time[lines[-1]]) - clock, int(seqs[lines[-1]])) if len(lines) else None
        signs = []
        for row in np.intersect1d(rows, lines, assume_unique=True).tolist():
            at, error = int(time[row]) - clock, error_at.get(row)
            if last is None or at >= last[0] - _NEAR_END:
                effect = effect_of[id(error)] if error else failure_texts.effect(table["text"][row].as_py())
                signs.append(_Sign(at, row, error, effect))
        if container.exit_code:
            failures.append(_failure(container, signs, clock, last, table))
    return failures


def _effect_of(error: Error) -> str:
    """Return what an error says about another process. Only its own words count, not the code in its frames."""
    return failure_texts.effect("\n".join([error.title, *error.text.splitlines()[-6:]]))


def _failure(
    container: Container, signs: list[_Sign], clock: int, last: tuple[int, int] | None, table: pa.Table
) -> _Failure:
    ended = parse_rfc3339(container.ended) - clock if container.ended else None
    traced = [sign for sign in signs if sign.error and sign.error.kind != "line"] or signs
    chosen = traced[-1] if traced else None
    if chosen is not None and chosen.effect:
        # A launcher reports after its process, and a process that fails loses its connections.
        is_launcher = chosen.effect == failure_texts.LAUNCHER
        own_signs = [sign for sign in traced if not sign.effect and (is_launcher or chosen.at - sign.at <= _TEARDOWN)]
        chosen = (
            own_signs[-1]
            if own_signs
            else next((s for s in traced if s.effect not in ("", failure_texts.LAUNCHER)), chosen)
        )
    waits = next((w for sign in signs if (w := failure_texts.collective(table["text"][sign.row].as_py()))), None)
    if chosen is None:
        effect = failure_texts.STOPPED if container.is_stopped else ""
        at = ended if ended is not None else last[0] if last else 0
        text = f"exit {container.exit_code}" + (f", {container.meaning}" if container.meaning else "")
        return _Failure(container, at, effect, None, None, text, waits, last)
    text = chosen.error.title if chosen.error else plain(table["text"][chosen.row].as_py()[:_WIDTH])
    effect = "" if container.reason == "OOMKilled" else chosen.effect
    return _Failure(
        container, chosen.at, effect, chosen.error, int(table["seq"][chosen.row].as_py()), text, waits, last
    )


def _first(failures: list[_Failure], containers: Containers, table: pa.Table) -> tuple[_Failure, bool]:
    """Return the failure that caused the others, and whether it was that its container stood still."""
    by_time = sorted(failures, key=lambda f: f.at)
    effects = [f for f in by_time if f.effect]
    # A container that ended without a word after others had lost their peer is one of those others.
    causes = [
        f
        for f in by_time
        if not f.effect and (f.error or not effects or f.at <= effects[0].at + _TICK or _is_killed(f))
    ]
    if causes and (not effects or causes[0].at <= effects[0].at + _LATE):
        return causes[0], False
    if effects and effects[0].effect == failure_texts.TIMEOUT:
        suspect = _absent(failures, containers, table)
        if suspect is not None:
            return suspect, True
    killed = [f for f in effects if f.effect == failure_texts.STOPPED and f.error is None]
    lost = [f for f in effects if f.effect == failure_texts.PEER]
    if killed and lost and killed[0].at <= lost[0].at + _TICK:
        return killed[0], False  # a connection is lost when a process ends
    return by_time[0], False


def _is_killed(failure: _Failure) -> bool:
    return failure.container.reason == "OOMKilled"


def _absent(failures: list[_Failure], containers: Containers, table: pa.Table) -> _Failure | None:
    """Return the container that kept the others waiting: it did not wait itself, or waited in an earlier operation."""
    waiting = {id(f.container): f for f in failures if f.effect == failure_texts.TIMEOUT}
    clock_offsets, roles = clocks(containers), {f.container.role for f in waiting.values()}
    newest: dict[tuple[str, str], Container] = {}
    for container in containers.values():
        if container.kind == "main" and container.role in roles:
            newest[container.pod, container.container] = container
    absent = [c for c in newest.values() if id(c) not in waiting]
    numbers = sorted(f.waits.number for f in waiting.values() if f.waits)
    if not absent and numbers and numbers[0] < numbers[-1]:
        absent = [f.container for f in waiting.values() if f.waits and f.waits.number == numbers[0]]
    if not absent or 2 * len(absent) > len(newest):
        return None
    candidates = [
        _failure(c, [], clock_offsets[c.node], _last_line(c, clock_offsets[c.node], table), table) for c in absent
    ]
    return min(candidates, key=lambda f: f.last or (0, 0))


def _last_line(container: Container, clock: int, table: pa.Table) -> tuple[int, int] | None:
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    mask = pc.and_(
        pc.and_(pc.equal(table["pod"], container.pod), pc.equal(table["container"], container.container)),
        pc.equal(table["run"], container.run),
    )
    rows = table.select(["time", "seq"]).filter(mask)
    return (rows["time"].cast(pa.int64())[-1].as_py() - clock, rows["seq"][-1].as_py()) if len(rows) else None


def _evidence(first: _Failure, later_failures: list[_Failure]) -> list[Evidence]:
    evidence = [Evidence(first.seq, _moment(first.at), first.container.name, "cause", first.text)]
    if first.seq is None and first.last is not None:
        evidence = [Evidence(first.last[1], _moment(first.last[0]), first.container.name, "its last line", "")]
    evidence += [
        Evidence(f.seq, _moment(f.at), f.container.name, f.effect or "failed too", f.text) for f in later_failures
    ]
    return evidence[: _EVIDENCE + 1]


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1000 / 1e6, UTC)


def _effects(first: _Failure, later_failures: list[_Failure]) -> str:
    """Return in words what the others did after the first failure: `then, within 2.1 s, 12 others lost a peer`."""
    if not later_failures:
        return ""
    counts = Counter(f.effect or "failed too" for f in later_failures).most_common()
    parts = [f"{n} {text.replace('was ', 'were ', 1) if n > 1 else text}" for text, n in counts]
    parts[0] = parts[0].replace(" ", " others " if counts[0][1] > 1 else " other ", 1)
    within_s = max(0.0, (later_failures[-1].at - first.at) / 1e9)
    return f"then, within {within_s:.1f} s, {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}"


def _waited(later_failures: list[_Failure]) -> str:
    """Return in words that the others waited: `15 others waited 600 s for it in ALLREDUCE, and gave up`."""
    waiting = [f for f in later_failures if f.effect == failure_texts.TIMEOUT]
    waits = next((f.waits for f in waiting if f.waits), None)
    how_long = f" {waits.waited_s:.0f} s" if waits and waits.waited_s else ""
    where = f" in {waits.name}" if waits else ""
    who = "1 other" if len(waiting) == 1 else f"{len(waiting)} others"
    return f"{who} waited{how_long} for it{where}, and gave up"


def _process(error: Error | None) -> str:
    if error is None:
        return ""
    return failure_texts.root_rank(error.text.splitlines()) or failure_texts.named_rank(error.text)


def _last_lines(table: pa.Table, containers: Containers) -> None:
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
