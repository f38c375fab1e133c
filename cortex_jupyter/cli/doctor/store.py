"""The store, what it holds and will hold, and who records into it."""

from __future__ import annotations

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
from cortex_jupyter.store import path_of, usual_path
from cortex_jupyter.store.liveness import HOST
from cortex_jupyter.store.local import local_place, shared_filesystem
from cortex_jupyter.store.masking import configure_masking
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.store import RecorderInfo, Store

PART: Final = "store"
WHO: Final = "recorder"
_LOG_LINES: Final = 5
#: Of the budget.
_NEARLY: Final = 0.9
#: Free bytes on the disk below which it is little, and too little.
_LITTLE: Final = 1 << 30
_NONE: Final = 64 << 20
#: A heartbeat comes each second.
_LATE_S: Final = 2.5


def judge(url: str, cluster: str | None) -> Iterator[Finding]:
    """Look at a store, and at the recorders of a cluster."""
    try:
        store = open_store(url)
    except CortexError as error:
        yield failed(PART, error)
        return
    try:
        yield from _kept(store)
        yield from _place(store.url)
        yield from _disk(store.url)
        yield from _recorders(store, cluster)
    except CortexError as error:
        yield failed(PART, error)
    finally:
        store.close()
    path = log_path(store.url)
    if path.is_file() and (said := path.read_text(errors="replace").splitlines()[-_LOG_LINES:]):
        yield Finding(WHO, TOLD, f"the log of those that were started on demand, {path}", details=tuple(said))


def _kept(store: Store) -> Iterator[Finding]:
    held = store.recordings()
    text = f"{store.url}, {len(held)} recordings, {store.size() / 1e6:.1f} MB, {store.describe()}"
    yield Finding(PART, OK, text)
    for warning in store.health_warnings():
        yield Finding(PART, BAD if warning.stops_recording else WARN, warning.message, warning.hint)
    budget, oldest, used = store.budget(), store.oldest_removable(), store.used_bytes()
    most, days = budget.max_bytes or 0, f"{(budget.max_age_s or 0) / 86400:g} days"
    kept = f"kept: up to {most / 1e6:.0f} MB, for {days} after a task's end"
    if budget.max_task_bytes is not None:
        kept += f", of a running task {budget.max_task_bytes / 1e6:.0f} MB"
    if oldest is not None:
        kept += f"; the next to leave ended {(time.time() - oldest[1]) / 86400:.1f} days ago"
    yield Finding(PART, TOLD, kept)
    if most and used > _NEARLY * most:
        text = f"recordings take {used / 1e6:.0f} MB of the {most / 1e6:.0f} MB that they may"
        todo = "raise CORTEX_STORE_MAX_BYTES or set CORTEX_ARCHIVE: the longest ended leave soon"
        yield Finding(PART, WARN, text, todo)
    if configure_masking(store):
        yield Finding(PART, OK, "secrets are masked before lines are stored")
    else:
        text = "lines are stored as they were written; CORTEX_MASK=1 masks their secrets before"
        yield Finding(PART, TOLD, text)
    for info in held:
        if info.message == STOPPED:
            yield Finding(PART, BAD, f"{info.ref.key}: {info.message}", StoreFull.default_hint)


def _place(url: str) -> Iterator[Finding]:
    """Judge whether the store is where it usually is."""
    path, usual = path_of(url), usual_path()
    type_ = shared_filesystem(usual.parent)
    if path is None or not type_ or path != local_place(usual):
        return
    text = f"recordings are kept in {path}, on this host alone: {usual.parent} is on a network file system ({type_})"
    yield Finding(PART, TOLD, text)
    if usual.exists():
        text = f"earlier recordings are in {usual}, where SQLite may damage them"
        yield Finding(PART, WARN, text, f"end all recorders and move that file to {path}, or delete it")


def _disk(url: str) -> Iterator[Finding]:
    if (path := path_of(url)) is not None:
        yield disk(str(path.parent), shutil.disk_usage(path.parent).free)


def disk(folder: str, free: int) -> Finding:
    """Judge the room on a store's disk.

    Parameters
    ----------
    folder : str
    free : int
        Bytes.

    Examples
    --------
    >>> [disk("/data", free).judged for free in (1 << 33, 1 << 28, 1 << 20)]
    ['ok', 'warn', 'bad']
    """
    text = f"{free / 1e9:.1f} GB are free on its disk, in {folder}"
    if free > _LITTLE:
        return Finding(PART, OK, text)
    return Finding(PART, WARN if free > _NONE else BAD, text, "make room, or set CORTEX_STORE to another disk")


def _recorders(store: Store, cluster: str | None) -> Iterator[Finding]:
    if cluster is None:
        return
    taken = _taken(store, cluster, [one for one in store.recorders(cluster) if one.version != __version__])
    found = store.recorders(cluster)
    unfinished = [info.id for info in store.unfinished(cluster)]
    holders = store.holders(unfinished)
    held = Counter(owner for owner in holders.values() if owner)
    now = time.time()
    for one in sorted(found, key=lambda r: r.since):
        yield recorder(one, held[one.id], now, taken=one.id in taken)
        if one.port:
            yield _endpoint(one)
    if not found:
        yield Finding(WHO, TOLD, "none runs now; the first reader of a task starts one")
    left = [info.ref.key for info in store.wanted(cluster) if not holders.get(info.id)]
    if left:
        some = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")  # noqa: PLR2004
        text = f"nobody records what is wanted: {some}"
        yield Finding(WHO, WARN, text, "look again in some seconds; if it stays so, the recorder's log says why")


def _taken(store: Store, cluster: str, others: list[RecorderInfo]) -> set[str]:
    """Give which of them write into the store in the form that it has now; we may have brought it up to date ourselves.

    Each heartbeat is refused where the form is too new for who sends it, so the next one shows it.
    """
    before = {one.id: one.heartbeat for one in others}
    taken: set[str] = set()
    end = time.monotonic() + _LATE_S
    while len(taken) < len(before) and time.monotonic() < end:
        time.sleep(0.1)
        taken |= {one.id for one in store.recorders(cluster) if one.heartbeat > before.get(one.id, one.heartbeat)}
    return taken


def _endpoint(one: RecorderInfo) -> Finding:
    if one.host != HOST:
        return Finding(
            WHO, TOLD, f"process {one.pid} on {one.host} serves /metrics and /readyz at port {one.port} there"
        )
    url = f"http://127.0.0.1:{one.port}"
    try:
        with urlopen(f"{url}/metrics", timeout=1) as answer:  # noqa: S310 - of this machine
            counted = b"cortex_lines_total" in answer.read()
        with urlopen(f"{url}/readyz", timeout=1):  # noqa: S310 - the same
            pass
    except HTTPError as error:
        said = error.read(200).decode(errors="replace").strip()
        return Finding(WHO, BAD, f"process {one.pid} is not ready: {said}", "its log says more")
    except OSError as error:
        return Finding(WHO, WARN, f"{url}/metrics does not answer: {error}", "another program has its port, or it hangs: look at its log")  # fmt: skip
    if not counted:
        return Finding(WHO, WARN, f"{url}/metrics is not that of a recorder", "give the recorder another --port")
    return Finding(WHO, OK, f"process {one.pid} is ready, its metrics are in {url}/metrics")


def recorder(one: RecorderInfo, tasks: int, now: float, *, taken: bool = True) -> Finding:
    """Judge a recorder that lives.

    Parameters
    ----------
    one : RecorderInfo
    tasks : int
        Whose leases it holds.
    now : float
        Epoch seconds.
    taken : bool, optional
        Whether a heartbeat has come since we look; of those of another version it is waited for.

    Examples
    --------
    >>> from cortex_jupyter.store import RecorderInfo
    >>> one = RecorderInfo("9f3c52aa", "https://cluster", "node-1", 17, heartbeat=999.5, version=__version__, since=400.0)
    >>> recorder(one, 3, now=1000.0).judged
    'ok'
    """
    text = f"process {one.pid} on {one.host}, version {one.version or 'unknown'}, records {tasks} tasks"
    if one.since:
        text += f", since {(now - one.since) / 60:.0f} min"
    late = now - one.heartbeat
    text += f"; heartbeat {max(late, 0.0):.1f} s ago"
    if one.version != __version__ and not taken:
        todo = f"none comes any more: its version may be too old for the form of this store; update it to {__version__}"
        return Finding(WHO, WARN, text, todo)
    if late > _LATE_S:
        todo = "others take over its tasks in a moment; if it is often so, it lacks CPU time or its store is slow"
        return Finding(WHO, WARN, text, todo)
    if one.version != __version__:
        todo = f"that is no harm: here is {__version__}, and the store takes what it writes in the form that it has now"
        return Finding(WHO, TOLD, text, todo)
    return Finding(WHO, OK, text)
