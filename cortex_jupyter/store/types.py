"""Types of what a store keeps about recordings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from cortex_jupyter.model import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cortex_jupyter.model import Entry, Epochs, TaskRef


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """What a store knows about one recording as a whole.

    Parameters
    ----------
    id : int
    ref : TaskRef
    uid : str
        UID of the workload. A task of the same name that is started again has another UID, so it is another recording.
    cluster : str
        The API server's URL.
    state, message, reason : str
        As in `cluster.workloads.State`.
    exit_code : int or None
    started, finished : str or None
        RFC 3339, as Kubernetes reports them.
    done : bool
        The end notice is written; nothing will follow.
    caught_up : bool
        Everything that had been written when recording began has been read.
    last_seq : int
    clock_ms : int
        How many milliseconds the cluster's clock is ahead of the recorder's.
    masked : dict or None
        Number of secrets that were masked before they were stored, by kind; None if masking was off.
    epochs : tuple
        First number and epoch of each of its newest writers, see `Cursor`.
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
    epochs: Epochs = ()

    def cursor(self, seq: int, before: tuple[int, int] | None = None) -> Cursor:
        """Return the cursor for a number of this recording."""
        return Cursor.at(self.id, seq, self.epochs, before)

    def check(self, cursor: Cursor) -> Cursor:
        """Return the cursor if its place is still in this recording.

        Raises
        ------
        CursorNotHeld
        """
        return cursor.check(self.id, self.epochs, self.last_seq)


@dataclass(slots=True)
class Anchor:
    """Where reading a source resumes (architecture.md, "The rules", rule 1).

    Parameters
    ----------
    second : int
        A whole second at least 2 s before the last line, in ns since the Unix epoch; 0 before the first line.
    seq : int
        Number of the source's first record with a time not before `second`; 0 means from the beginning.
    last : int
        Time of the last line, in ns.
    ended : bool
        The source has been read to its end.
    top : int
        The latest whole second of any of its lines, in ns. After a clock was set back it is later than `last`.
    unaudited : bool
        The source has ended, but its rotated files have not been audited for skipped lines yet.
    """

    second: int = 0
    seq: int = 0
    last: int = 0
    ended: bool = False
    top: int = 0
    unaudited: bool = False

    @property
    def row(self) -> tuple[int, int, int, int, int]:
        """The columns that a store keeps. Versions without `unaudited` read the 2 in `ended` as true."""
        return self.second, self.seq, self.last, self.ended + self.unaudited, self.top

    @classmethod
    def of(cls, second: int, seq: int, last: int, ended: int, top: int) -> Anchor:
        """Build an anchor from the columns that a store keeps."""
        return cls(second, seq, last, ended > 0, top, ended > 1)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one recording. A commit under an older epoch is refused.

    Parameters
    ----------
    recording : int
    owner : str
    epoch : int
    previous : str
        The recorder that had the lease until it died; "" if the recording was free.
    """

    recording: int
    owner: str
    epoch: int
    previous: str = field(default="", compare=False)


@dataclass(slots=True)
class Commit:
    """Everything that one transaction writes.

    Parameters
    ----------
    entries : list of Entry
        Consecutive, beginning with the recording's next number.
    anchors : dict
        Source id to its current anchor.
    update : dict
        Columns of the recording that change: `state`, `message`, `reason`, `exit_code`, `started`, `finished`, `done`,
        `caught_up`, `clock_ms`, `masked`.
    """

    entries: list[Entry] = field(default_factory=list)
    anchors: dict[int, Anchor] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)


class RecordingUsage(NamedTuple):
    """What one recording takes.

    Parameters
    ----------
    id : int
    namespace : str
    bytes : int
        Roughly.
    ended : float or None
        When it was complete (epoch seconds); None while its task runs.
    """

    id: int
    namespace: str
    bytes: int
    ended: float | None


class HealthWarning(NamedTuple):
    """A promise that a store cannot keep with its present setup.

    Parameters
    ----------
    message : str
    hint : str
        What to do about it.
    stops_recording : bool
        Whether nothing can be recorded until it is fixed.
    """

    message: str
    hint: str
    stops_recording: bool = False


@dataclass(frozen=True, slots=True)
class RecordingRequest:
    """A request of a user who may only read the store, to create a recording.

    Parameters
    ----------
    ref : TaskRef
    uid : str
        The UID of the recording, as the user claims it.
    text : bytes
        As the user wrote it.
    """

    ref: TaskRef
    uid: str
    text: bytes


@dataclass(frozen=True, slots=True)
class RecorderInfo:
    """What a recorder process reports about itself.

    Parameters
    ----------
    id, cluster, host : str
    pid : int
    heartbeat : float
        Time of its last heartbeat, in epoch seconds.
    version : str
        Version of this package.
    since : float
        When it started, in epoch seconds; 0 if unknown (older versions do not report it).
    port : int
        Port on which it serves `/metrics`; 0 if it does not.
    namespaces : tuple of str
        Namespaces whose tasks it takes; empty means all.
    selection : str
        What it selects without readers' wishes; recorders with the same selection share it. "" if nothing, or unknown.
    refused : tuple of str
        Namespaces where the cluster has recently refused it.
    rights : str
        Identifies its credentials: equal for all processes that have the same.
    """

    id: str
    cluster: str
    host: str
    pid: int
    heartbeat: float
    version: str = ""
    since: float = 0.0
    port: int = 0
    namespaces: tuple[str, ...] = ()
    selection: str = ""
    refused: tuple[str, ...] = ()
    rights: str = ""

    def serves(self, namespace: str) -> bool:
        """Return whether it takes tasks of a namespace."""
        return not self.namespaces or namespace in self.namespaces

    @classmethod
    def of(cls, row: Sequence[Any], more: Mapping[str, Any]) -> Self:
        """Build it from what a store keeps.

        Parameters
        ----------
        row : sequence
            `id` to `heartbeat`.
        more : mapping
            The other fields that it reported. Fields that only newer versions know are ignored.
        """
        newer: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in more.items() if k in NEWER_FIELDS
        }
        return cls(*row, **newer)


def as_epochs(pairs: Iterable[Sequence[int]] | None) -> Epochs:
    """Return epochs from JSON."""
    return tuple((int(first), int(epoch)) for first, epoch in pairs or ())


#: Fields that recorders of older versions do not report.
NEWER_FIELDS: Final = tuple(field.name for field in fields(RecorderInfo)[5:])


@dataclass(frozen=True, slots=True)
class Completeness:
    """The completeness statement, computed from what was committed.

    Parameters
    ----------
    records : int
    first, last : int or None
        Earliest and latest time of a record, in ns.
    gaps : list of dict
        The data of each gap notice.
    sources : int
    masked : dict
        Number of secrets that were masked before they were stored, by kind.
    """

    records: int
    first: int | None
    last: int | None
    gaps: list[dict[str, Any]]
    sources: int
    masked: dict[str, int] = field(default_factory=dict)
