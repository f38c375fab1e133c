"""What a store must do, and how to open one from its URL."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from cortex_jupyter.errors import MissingExtra, StoreError
from cortex_jupyter.recording.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cortex_jupyter.records import Entry, Source, TaskRef


@dataclass(frozen=True, slots=True)
class Info:
    """What a store knows of one recording as a whole.

    Parameters
    ----------
    id : int
    ref : TaskRef
    uid : str
        The workload's own, so that a task of the same name started anew is another recording.
    cluster : str
        The API server's URL.
    state, message, reason : str
        As `cluster.workloads.State` has them.
    exit_code : int or None
    started, finished : str or None
        RFC 3339, as Kubernetes says.
    done : bool
        The end notice is in; nothing will follow.
    caught_up : bool
        What had been written when recording began has been read.
    last_seq : int
    clock_ms : int
        How far the cluster's clock is ahead of the recorder's.
    masked : dict or None
        How many secrets were masked before they were stored, by kind; None where they were not looked for.
    """

    id: int
    ref: TaskRef
    uid: str
    cluster: str
    state: str
    message: str
    reason: str
    exit_code: int | None
    started: str | None
    finished: str | None
    done: bool
    caught_up: bool
    last_seq: int
    clock_ms: int = 0
    masked: dict[str, int] | None = None


@dataclass(slots=True)
class Anchor:
    """Where a source is taken up again (DESIGN section 5, rule 1).

    Parameters
    ----------
    second : int
        A whole second at least 2 s before the last line, ns since the epoch; 0 before the first line.
    seq : int
        Number of the source's first record with a time not before `second`; 0 for its first of all.
    last : int
        Time of the last line, ns.
    ended : bool
        The source has been read to its end.
    top : int
        The latest whole second any of its lines had, ns: after a clock was set back it lies ahead of `last`.
    """

    second: int = 0
    seq: int = 0
    last: int = 0
    ended: bool = False
    top: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one recording; a commit under an older epoch is refused."""

    recording: int
    owner: str
    epoch: int


@dataclass(slots=True)
class Commit:
    """What is written in one transaction.

    Parameters
    ----------
    entries : list of Entry
        Consecutive, from the recording's next number on.
    anchors : dict
        Source id to where it is now.
    update : dict
        Columns of the recording that change: `state`, `message`, `reason`, `exit_code`, `started`, `finished`,
        `done`, `caught_up`, `clock_ms`, `masked`.
    """

    entries: list[Entry] = field(default_factory=list)
    anchors: dict[int, Anchor] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorder:
    """A recorder process as it presents itself."""

    id: str
    cluster: str
    host: str
    pid: int
    heartbeat: float


@dataclass(frozen=True, slots=True)
class Complete:
    """The completeness statement: computed from what was committed, not assumed.

    Parameters
    ----------
    records : int
    first, last : int or None
        Earliest and latest time of a record, ns.
    gaps : list of dict
        The data of each gap notice.
    sources : int
    masked : dict
        How many secrets were masked before they were stored, by kind.
    """

    records: int
    first: int | None
    last: int | None
    gaps: list[dict[str, Any]]
    sources: int
    masked: dict[str, int] = field(default_factory=dict)


class Readable(Protocol):
    """What readers need of a store, be it recordings or an archive. Every method blocks and may be called from any thread."""

    url: str

    def find(self, ref: TaskRef, cluster: str | None = None) -> Info | None:
        """Give the newest recording of that name (of any kind where the reference has none)."""

    def info(self, recording: int) -> Info | None:
        """Give one recording, None where it is no longer held."""

    def recordings(self, namespace: str = "") -> list[Info]:
        """Give all, or those of one namespace, newest first."""

    def want(self, recording: int, seconds: float) -> None:
        """Say that somebody reads it for that long from now on."""

    def sources(self, recording: int) -> dict[int, tuple[Source, Anchor]]:
        """Give the sources by id."""

    def entries(self, recording: int, after: int, most: int) -> list[Entry]:
        """Give the entries that hold numbers above `after`, in order, about `most` bytes of them (at least one)."""

    def index(self, recording: int, after: int = 0) -> list[tuple[int, int, str, int, int]]:
        """Give (seq, n, event, t_min, t_max) of every entry that begins above a number, in order."""

    def entry(self, recording: int, seq: int) -> Entry | None:
        """Give the entry that holds this number."""

    def complete(self, recording: int) -> Complete:
        """Count what is there."""

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:
        """Call back, from a thread, after each change of a recording by anyone, else after each new wish.

        It may call more often: once when it begins, and after it could not look for a while.

        Returns
        -------
        callable
            Ends it.
        """


class Store(Readable, Protocol):
    """Where recordings are kept. Every method blocks and may be called from any thread."""

    def open(self, cluster: str, ref: TaskRef, uid: str) -> int:
        """Give the id of a task's recording, begun where there is none."""

    def wanted(self, cluster: str) -> list[Info]:
        """Give what is wanted now and not done."""

    def unfinished(self, cluster: str) -> list[Info]:
        """Give what is not done, wanted or not."""

    def holders(self, recordings: Iterable[int]) -> dict[int, str]:
        """Give of those that are not done who records them: the id of a living recorder, else ""."""

    def lease(self, recording: int, owner: str) -> Lease | None:
        """Take the lease, or None where a living recorder has it."""

    def release(self, lease: Lease) -> None:
        """Give it up, where it is still held."""

    def beat(self, recorder: Recorder) -> None:
        """Say that a recorder lives; one that has not for `HEARTBEAT_S` is dead."""

    def leave(self, owner: str) -> None:
        """Give up all leases of a recorder that ends."""

    def recorder(self, cluster: str) -> Recorder | None:
        """Give a living recorder of that cluster, the one that was last heard of."""
        return max(self.recorders(cluster), key=lambda r: r.heartbeat, default=None)

    def recorders(self, cluster: str) -> list[Recorder]:
        """Give all living recorders of that cluster."""

    def add_source(self, lease: Lease, source: Source) -> int:
        """Add one, giving its id."""

    def commit(self, lease: Lease, commit: Commit) -> None:
        """Write, all or nothing.

        Where it is not known whether a commit was written (the way to the store broke), the same may be committed again.

        Raises
        ------
        LeaseLost
            Another recorder has taken over, or the store has lost what was committed before.
        StoreFull, StoreBusy
            It passes.
        """

    def batches(self, recording: int, first: int, last: int) -> Iterator[Entry]:
        """Give the batches that may hold lines between two times, ns, both inclusive; one at a time in memory."""

    def merge(self, lease: Lease, old: Iterable[int], new: Entry) -> None:
        """Put one entry in the place of several that it holds; nothing happens where they are no longer those."""

    def size(self) -> int:
        """Give the bytes on disk."""

    def doubts(self) -> list[tuple[str, str]]:
        """Say what it cannot promise as it is set up, and what to do about it."""

    def budget(self) -> Budget:
        """Give what holds, both parts of it: what is set, else the default."""

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        """Set those parts that are given; where `weak`, only those that nobody has set."""

    def setting(self, name: str) -> str:
        """Give what is set for all who use this store, "" where nothing is."""

    def set_setting(self, name: str, value: str) -> None:
        """Set it."""

    def unarchived(self, url: str) -> list[int]:
        """Give the complete recordings that are not in this archive yet, the longest ended first."""

    def archived(self, recording: int, url: str) -> None:
        """Note that one is there. While an archive is set, no other may leave."""

    def used(self) -> int:
        """Give the bytes that recordings take, room within the file apart."""

    def bytes_of(self, recording: int) -> int:
        """Give about how many of them are one recording's."""

    def oldest(self) -> tuple[int, float] | None:
        """Give the complete recording that ended first and that nobody reads, and when it ended (epoch seconds)."""

    def forget(self, recording: int) -> bool:
        """Make a complete recording that nobody reads unknown; its lines go with `sweep`."""

    def sweep(self) -> bool:
        """Delete some lines of what is forgotten, or give some room back to the disk; False where nothing is left."""

    def keep_reserve(self) -> bool:
        """Have a little room set aside for a full disk; False where there is none, or not as much again besides."""

    def release_reserve(self) -> None:
        """Use that room."""

    def close(self) -> None:
        """Release everything."""


_SERVERS: Final = ("valkey:", "valkeys:")
#: A recorder that has not said so for this long, seconds, is dead and its tasks are taken over.
HEARTBEAT_S = 3.0


def default_url() -> str:
    """Give `CORTEX_STORE`, else a SQLite file below the user's Jupyter data directory."""
    if url := os.environ.get("CORTEX_STORE"):
        return url
    from jupyter_core.paths import jupyter_data_dir  # noqa: PLC0415

    return url_of(Path(jupyter_data_dir()).absolute() / "cortex" / "recordings.sqlite")


def is_store(url: str) -> bool:
    """Tell whether a URL names a store; else it may name an archive."""
    return url.startswith(("sqlite:", *_SERVERS))


def url_of(path: Path) -> str:
    """Give the URL of a SQLite store.

    Examples
    --------
    >>> url_of(Path("/data/my tasks.sqlite"))
    'sqlite:///data/my%20tasks.sqlite'
    """
    return f"sqlite://{quote(str(path))}"


def path_of(url: str) -> Path | None:
    """Give the file a URL names, None where it is of another kind.

    Examples
    --------
    >>> path_of("sqlite:///data/tasks.sqlite"), path_of("sqlite:////data/tasks.sqlite")
    (PosixPath('/data/tasks.sqlite'), PosixPath('/data/tasks.sqlite'))
    """
    parts = urlsplit(url)
    # Some write an absolute path with a fourth slash, as SQLAlchemy has it.
    return Path("/" + unquote(parts.path).lstrip("/")) if parts.scheme == "sqlite" and parts.path else None


def open_store(url: str | None = None, budget: Budget | None = None, *, weak: bool = False) -> Store:
    """Open the store a URL names.

    Parameters
    ----------
    url : str, optional
        `sqlite:///absolute/path` or `valkey://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?replicas=1]` (`valkeys://` for
        TLS); else `default_url`.
    budget : Budget, optional
        What it may take from now on; parts that are not set are taken from the environment, else left as they are.
    weak : bool, optional
        Leave what others have set.

    Raises
    ------
    StoreError
        No such kind of store, or it cannot be opened.
    MissingExtra
    """
    store = _opened(url or default_url())
    with contextlib.suppress(StoreError):  # where nothing can be written, reading goes on
        store.set_budget((budget or Budget()).over(Budget.from_environment()), weak=weak)
    return store


def _opened(url: str) -> Store:
    if (path := path_of(url)) is not None:
        from cortex_jupyter.recording.sqlite import SqliteStore  # noqa: PLC0415

        return SqliteStore(path)
    if not url.startswith(_SERVERS):
        shown = re.sub(r"//.*@", "//", url)  # a password is for the server alone
        raise StoreError(f"{shown!r} is no store", "set CORTEX_STORE to sqlite:///absolute/path or valkey://host")
    try:
        from cortex_jupyter.recording.valkey.address import Address  # noqa: PLC0415
        from cortex_jupyter.recording.valkey.store import ValkeyStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "recordings on a server need valkey, which is not installed", 'pip install "cortex-jupyter[valkey]"'
        ) from error
    address = Address.parse(url)
    if address.password:
        # For the recorder and the other processes that we start: everybody may read their command lines.
        os.environ["CORTEX_STORE_PASSWORD"] = address.password
    return ValkeyStore(address)
