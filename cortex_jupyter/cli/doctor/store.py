"""Check the store: its contents, its limits and its disk, and its recorders."""

from __future__ import annotations

import shlex
import shutil
import time
from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from cortex_jupyter._version import __version__
from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding, failed
from cortex_jupyter.errors import CortexError, StoreFull
from cortex_jupyter.recorder.process.launch import log_path
from cortex_jupyter.recorder.writing.commit_retrier import STOPPED
from cortex_jupyter.store import is_shared, path_of, usual_path
from cortex_jupyter.store.budget import SERVER_FULL_HINT, Budget
from cortex_jupyter.store.liveness import HOST
from cortex_jupyter.store.local import local_place, shared_filesystem
from cortex_jupyter.store.masking import configure_masking
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.quotas import ANY, read_quotas
from cortex_jupyter.store.settings import NAMES, read_lock, read_origins, read_quotas_origin, read_settings
from cortex_jupyter.tables.statement import format_count
from cortex_jupyter.telemetry.logs import duration_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.store import LeaseStore, RecorderInfo, Store

PART: Final = "store"
RECORDER: Final = "recorder"
_LOG_LINES: Final = 5
#: A deletion that takes longer than this (seconds) was interrupted.
_DELETION_S: Final = 3600.0
#: Number of legal holds that are named.
_SHOWN_HOLDS: Final = 10
#: Share of the budget above which the store is nearly full.
_NEARLY_FULL: Final = 0.9
#: Share of its quota above which a namespace is reported.
_QUOTA_NEARLY_FULL: Final = 0.8
#: Share of its quota that a namespace reaches between two passes of a recorder at most, unless recordings cannot leave.
_QUOTA_EXCEEDED: Final = 1.2
#: With fewer free bytes on the disk than this, we warn.
_LOW: Final = 1 << 30
#: With fewer free bytes on the disk than this, recording would soon stop: it is an error.
_TOO_LOW: Final = 64 << 20
#: Age (seconds) above which a heartbeat is late; recorders send one every second.
_LATE_S: Final = 2.5


def judge(url: str, cluster: str | None, configured: Budget | None = None) -> Iterator[Finding]:
    """Check a store, and the recorders of a cluster.

    Parameters
    ----------
    url : str
    cluster : str or None
    configured : Budget, optional
        What a server sets in a store that is not shared when it is first used.
    """
    try:
        store = open_store(url)
    except CortexError as error:
        yield failed(PART, error)
        return
    try:
        yield from _contents(store, configured or Budget())
        yield from _location(store.url)
        yield from _disk(store.url)
        yield from _recorders(store, cluster)
        yield from _other_clusters(store, cluster)
    except CortexError as error:
        yield failed(PART, error)
    finally:
        store.close()
    path = log_path(store.url)
    if path.is_file() and (lines := path.read_text(errors="replace").splitlines()[-_LOG_LINES:]):
        yield Finding(RECORDER, TOLD, f"the log of recorders that were started on demand, {path}", details=tuple(lines))


def _contents(store: Store, configured: Budget) -> Iterator[Finding]:
    recordings = store.recordings()
    text = f"{store.url}, {format_count(len(recordings), 'recording')}, {size_text(store.size())}, {store.describe()}"
    yield Finding(PART, OK, text)
    if store.is_reader():
        text = (
            "this user of the store may only read recordings and wish for them: collectors record, none is started here"
        )
        yield Finding(PART, TOLD, text)
    for warning in store.health_warnings():
        yield Finding(PART, BAD if warning.stops_recording else WARN, warning.message, warning.hint)
    budget = store.budget() if is_shared(store.url) else configured.with_defaults(store.budget())
    oldest, used = store.oldest_removable(), store.used_bytes()
    max_bytes, age = budget.max_bytes or 0, duration_text(budget.max_age_s or 0)
    limits = f"limits: {size_text(max_bytes)}, and {age} after a task's end"
    if budget.max_task_bytes is not None:
        limits += f"; a running task {size_text(budget.max_task_bytes)}"
    if oldest is not None:
        limits += f"; the next recording to leave ended {duration_text(time.time() - oldest[1])} ago"
    yield Finding(PART, TOLD, limits)
    if max_bytes and used > _NEARLY_FULL * max_bytes:
        text = f"recordings take {size_text(used)} of at most {size_text(max_bytes)}"
        todo = "raise CORTEX_STORE_MAX_BYTES or set CORTEX_ARCHIVE: the recordings that ended first will leave soon"
        yield Finding(PART, WARN, text, todo)
    yield from quota_findings(store)
    yield from settings_findings(store)
    holds = list(store.holds().values())
    if holds:
        details = (
            *map(str, holds[:_SHOWN_HOLDS]),
            *[f"and {len(holds) - _SHOWN_HOLDS} more"] * (len(holds) > _SHOWN_HOLDS),
        )
        yield Finding(PART, TOLD, f"recordings under a legal hold: {len(holds)}", details=details)
    begun = [each for each in store.deletions() if each.is_open and time.time() - each.at > _DELETION_S]
    if begun:
        text = f"the deletion of {format_count(len(begun), 'recording')}, of {begun[0].ref.key} for one, was begun by {begun[0].by} and is not complete"
        yield Finding(PART, WARN, text, "run the same `cortex-jupyter delete` again, which completes it")
    if configure_masking(store):
        yield Finding(PART, OK, "secrets are masked before lines are stored")
    else:
        text = "lines are stored as written; CORTEX_MASK=1 masks secrets before lines are stored"
        yield Finding(PART, TOLD, text)
    for info in recordings:
        if info.message == STOPPED:
            hint = SERVER_FULL_HINT if is_shared(store.url) else StoreFull.default_hint
            yield Finding(PART, BAD, f"{info.ref.key}: {info.message}", hint)


def quota_findings(store: Store) -> Iterator[Finding]:
    """Report how much of its quota each namespace uses.

    Namespaces that no quota names are reported if they use most of what they may.
    """
    quotas = read_quotas(store)
    if not quotas:
        return
    used = Counter[str]()
    for row in store.usage():
        used[row.namespace] += row.bytes
    others = sorted(namespace for namespace in used if namespace not in quotas.named)
    for namespace in [*sorted(name for name in quotas.named if name != ANY), *others]:
        limit = quotas.of(namespace).max_bytes
        text = f"namespace {namespace}: recordings take {size_text(used[namespace])}"
        todo = f"raise it (`cortex-jupyter store set --namespace {namespace} max-bytes=...`), or make its tasks write less: "
        if limit is None or used[namespace] <= _QUOTA_NEARLY_FULL * limit:
            if namespace in quotas.named:
                yield Finding(PART, TOLD, f"{text}; its limits: {quotas.of(namespace)}")
        elif used[namespace] <= _QUOTA_EXCEEDED * limit:
            todo += "the recordings that ended first leave, then the oldest lines of running tasks"
            yield Finding(PART, WARN, f"{text} of at most {size_text(limit)}", todo)
        else:
            todo += "what is over cannot leave, because it is being read, not archived yet or under a legal hold"
            yield Finding(PART, WARN, f"{text} of at most {size_text(limit)}", todo)
    if ANY in quotas.named:
        yield Finding(PART, TOLD, f"the limits of each other namespace: {quotas.of(ANY)}")
    if origin := read_quotas_origin(store):
        yield Finding(PART, TOLD, f"the quotas of namespaces were changed {origin}")


def settings_findings(store: Store) -> Iterator[Finding]:
    """Report who set what in a store, and when."""
    values = read_settings(store)
    origins = read_origins(store)
    stored = store.settings(NAMES.values())
    for name, origin in origins.items():
        value = f"{name}={values[name]}"
        if stored.get(NAMES[name], "") == origin.value:
            yield Finding(PART, TOLD, f"{value} was set {origin}")
        elif is_shared(store.url):
            text = f"{value} was set by a program that is no administrator; before, {name} was set {origin}"
            todo = f"`cortex-jupyter store set {name}=...`; update the programs of older versions that use this store"
            yield Finding(PART, WARN, text, todo)
    if lock := read_lock(store):
        yield Finding(PART, TOLD, f"the settings are locked {lock}")


def _location(url: str) -> Iterator[Finding]:
    """Report a store that is not in its usual place, because that is on a network file system."""
    path, usual = path_of(url), usual_path()
    type_ = shared_filesystem(usual.parent)
    if path is None or not type_ or path != local_place(usual):
        return
    text = f"recordings are kept in {path}, on this host only, because {usual.parent} is on a network file system ({type_})"
    yield Finding(PART, TOLD, text)
    if usual.exists():
        text = f"earlier recordings are in {usual}, where SQLite may damage them"
        yield Finding(PART, WARN, text, f"stop all recorders and move that file to {path}, or delete it")


def _disk(url: str) -> Iterator[Finding]:
    if (path := path_of(url)) is not None:
        yield disk(str(path.parent), shutil.disk_usage(path.parent).free)


def disk(folder: str, free: int) -> Finding:
    """Judge the free space on a store's disk.

    Parameters
    ----------
    folder : str
    free : int
        Free bytes.

    Examples
    --------
    >>> [disk("/data", free).judged for free in (1 << 33, 1 << 28, 1 << 20)]
    ['ok', 'warn', 'bad']
    """
    text = f"its disk has {size_text(free)} free, in {folder}"
    if free > _LOW:
        return Finding(PART, OK, text)
    return Finding(PART, WARN if free > _TOO_LOW else BAD, text, "free some space, or set CORTEX_STORE to another disk")


def _recorders(store: Store, cluster: str | None) -> Iterator[Finding]:
    if cluster is None:
        return
    other_versions = [recorder for recorder in store.recorders(cluster) if recorder.version != __version__]
    writing = _still_writing(store, cluster, other_versions)
    recorders = store.recorders(cluster)
    unfinished = [info.id for info in store.unfinished(cluster)]
    holders = store.holders(unfinished)
    leases = Counter(owner for owner in holders.values() if owner)
    now = time.time()
    for recorder in sorted(recorders, key=lambda r: r.since):
        yield judge_recorder(recorder, leases[recorder.id], now, is_writing=recorder.id in writing)
        if recorder.port:
            yield _endpoint(recorder)
    if not recorders:
        yield Finding(RECORDER, TOLD, "no recorder runs now; the first reader of a task starts one")
    unrecorded = [info.ref.key for info in store.wanted(cluster) if not holders.get(info.id)]
    if unrecorded:
        names = ", ".join(unrecorded[:3]) + (f" and {len(unrecorded) - 3} more" if len(unrecorded) > 3 else "")
        text = f"no recorder records these tasks, although readers want them: {names}"
        yield Finding(
            RECORDER, WARN, text, "run the doctor again in some seconds; if it still says so, see the recorder's log"
        )


def _other_clusters(store: Store, cluster: str | None) -> Iterator[Finding]:
    """Report unfinished recordings of other cluster names without a recorder, such as a name that was changed.

    No recorder ends or archives them, and they count for quotas. In a store that is not shared, a recorder only lives
    while a task is read, so this is usual there.
    """
    unfinished = Counter(info.cluster for info in store.recordings() if not info.done and info.cluster != cluster)
    for name, count in sorted(unfinished.items()):
        if store.recorders(name):
            continue
        recordings, verb = ("recording", "runs") if count == 1 else ("recordings", "run")
        text = (
            f"{count} {recordings} of cluster {name}, which no recorder serves, still {verb} as far as the store knows"
        )
        todo = (
            "if the cluster exists, start its collector; if the name is no longer in use, delete them: "
            f"CORTEX_CLUSTER={shlex.quote(name)} cortex-jupyter delete --before 0s --archive --dry-run; "
            'docs/how-to/delete.md, "Which cluster", also says how to keep them'
        )
        yield Finding(RECORDER, WARN if is_shared(store.url) else TOLD, text, todo)


def _still_writing(store: LeaseStore, cluster: str, recorders: list[RecorderInfo]) -> set[str]:
    """Return the IDs of recorders that can still write to the store, after we may have updated its form.

    The store refuses every heartbeat of a recorder that is too old for the form. So wait for each recorder's next heartbeat.
    """
    before = {recorder.id: recorder.heartbeat for recorder in recorders}
    writing: set[str] = set()
    end = time.monotonic() + _LATE_S
    while len(writing) < len(before) and time.monotonic() < end:
        time.sleep(0.1)
        writing |= {r.id for r in store.recorders(cluster) if r.heartbeat > before.get(r.id, r.heartbeat)}
    return writing


def _endpoint(recorder: RecorderInfo) -> Finding:
    if recorder.host != HOST:
        text = f"process {recorder.pid} on {recorder.host} serves /metrics and /readyz on port {recorder.port} there"
        return Finding(RECORDER, TOLD, text)
    url = f"http://127.0.0.1:{recorder.port}"
    try:
        with urlopen(f"{url}/metrics", timeout=1) as answer:  # noqa: S310 - on this machine
            is_recorder = b"cortex_jupyter_lines_total" in answer.read()
        with urlopen(f"{url}/readyz", timeout=1):  # noqa: S310 - the same
            pass
    except HTTPError as error:
        reason = error.read(200).decode(errors="replace").strip()
        return Finding(RECORDER, BAD, f"process {recorder.pid} is not ready: {reason}", "see its log")
    except OSError as error:
        todo = "see the recorder's log: it hangs, or another program has its port"
        return Finding(RECORDER, WARN, f"{url}/metrics does not answer: {error}", todo)
    if not is_recorder:
        return Finding(RECORDER, WARN, f"{url}/metrics belongs to another program", "give the recorder another --port")
    return Finding(RECORDER, OK, f"process {recorder.pid} is ready; its metrics are at {url}/metrics")


def judge_recorder(recorder: RecorderInfo, tasks: int, now: float, *, is_writing: bool = True) -> Finding:
    """Judge a recorder that is alive.

    Parameters
    ----------
    recorder : RecorderInfo
    tasks : int
        Number of leases that it holds.
    now : float
        Seconds since the Unix epoch.
    is_writing : bool, optional
        For a recorder of another version: whether the store has accepted a new heartbeat.

    Examples
    --------
    >>> from cortex_jupyter.store import RecorderInfo
    >>> alive = RecorderInfo("9f3c52aa", "https://cluster", "node-1", 17, heartbeat=999.5, version=__version__, since=400.0)
    >>> judge_recorder(alive, 3, now=1000.0).judged
    'ok'
    """
    text = f"process {recorder.pid} on {recorder.host}, version {recorder.version or 'unknown'}, records {format_count(tasks, 'task')}"
    if recorder.since:
        text += f", since {(now - recorder.since) / 60:.0f} min"
    delay = now - recorder.heartbeat
    text += f"; heartbeat {max(delay, 0.0):.1f} s ago"
    if recorder.version != __version__ and not is_writing:
        todo = f"its heartbeats have stopped: its version may be too old for this store; update it to {__version__}"
        return Finding(RECORDER, WARN, text, todo)
    if delay > _LATE_S:
        todo = (
            "other recorders will take over its tasks; if this happens often, it needs more CPU time or a faster store"
        )
        return Finding(RECORDER, WARN, text, todo)
    if recorder.selection and recorder.refused:
        text += f"; it may not read the tasks of these namespaces: {', '.join(recorder.refused)}"
        todo = "bind the collector's Role there again (a RoleBinding goes with a deleted namespace), or leave the namespace out of -n"
        return Finding(RECORDER, BAD, text, todo)
    if recorder.version != __version__:
        todo = f"this is fine: version {__version__} is installed here, and the store accepts what the other version writes"
        return Finding(RECORDER, TOLD, text, todo)
    return Finding(RECORDER, OK, text)
