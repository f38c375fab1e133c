"""What a store keeps of recordings, as types."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from cortex_jupyter.model import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cortex_jupyter.model import Entry, Epochs, TaskRef


@dataclass(frozen=True, slots=True)
class RecordingInfo:
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
    epochs : tuple
        First number and epoch of each of its writers, see `Cursor`; the newest of them.
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
        """Return the cursor of a number of this recording."""
        return Cursor.at(self.id, seq, self.epochs, before)

    def check(self, cursor: Cursor) -> Cursor:
        """Return a cursor where its place is still held here.

        Raises
        ------
        CursorNotHeld
        """
        return cursor.check(self.id, self.epochs, self.last_seq)


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
    unaudited : bool
        It has ended, and nobody has looked yet whether lines of it were skipped.
    """

    second: int = 0
    seq: int = 0
    last: int = 0
    ended: bool = False
    top: int = 0
    unaudited: bool = False

    @property
    def row(self) -> tuple[int, int, int, int, int]:
        """As a store keeps it; versions that do not know of `unaudited` take its 2 for true."""
        return self.second, self.seq, self.last, self.ended + self.unaudited, self.top

    @classmethod
    def of(cls, second: int, seq: int, last: int, ended: int, top: int) -> Anchor:
        """Give one as a store keeps it."""
        return cls(second, seq, last, ended > 0, top, ended > 1)


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


class HealthWarning(NamedTuple):
    """What is doubtful of a store.

    Parameters
    ----------
    text : str
    todo : str
        What to do about it.
    stops : bool
        Whether nothing is recorded as it is.
    """

    text: str
    todo: str
    stops: bool = False


@dataclass(frozen=True, slots=True)
class RecorderInfo:
    """A recorder process as it presents itself.

    Parameters
    ----------
    id, cluster, host : str
    pid : int
    heartbeat : float
        When it was last heard of, epoch seconds.
    version : str
        Of this package.
    since : float
        When it began, epoch seconds; 0 where it does not say, as those of an older version.
    port : int
        Where it serves `/metrics`; 0 for nowhere.
    namespaces : tuple of str
        Of the tasks that it takes; none of them: all.
    selection : str
        What it selects by itself; those with the same share it. "" for nothing, and where it does not say.
    refused : tuple of str
        Namespaces in which the cluster has just not let it read.
    rights : str
        The same for all processes that have its credentials.
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

    @classmethod
    def of(cls, row: Sequence[Any], more: Mapping[str, Any]) -> Self:
        """Give one from what a store keeps of it.

        Parameters
        ----------
        row : sequence
            `id` to `heartbeat`.
        more : mapping
            Of the rest what it has said; what a newer version says besides is left out.
        """
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in more.items() if k in NEWER_FIELDS
        }
        return cls(*row, **known)


def as_epochs(pairs: Iterable[Sequence[int]] | None) -> Epochs:
    """Return epochs from JSON."""
    return tuple((int(first), int(epoch)) for first, epoch in pairs or ())


#: What recorders of older versions do not say of themselves.
NEWER_FIELDS: Final = tuple(field.name for field in fields(RecorderInfo)[5:])


@dataclass(frozen=True, slots=True)
class Completeness:
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
