"""What a store must do. Its parts are protocols of their own: a caller that needs only one says so in its type.

Every method blocks and may be called from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from cortex_jupyter.store.deletion import DeletionLookup, DeletionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from cortex_jupyter.model import Entry, IndexEntry, Source, TaskRef
    from cortex_jupyter.store.budget import Budget
    from cortex_jupyter.store.types import (
        Anchor,
        Commit,
        Completeness,
        HealthWarning,
        Lease,
        RecorderInfo,
        RecordingInfo,
        RecordingRequest,
        RecordingUsage,
    )

#: A recorder without a heartbeat for this many seconds is dead, and other recorders take over its tasks.
HEARTBEAT_S: Final = 3.0
#: How long a request of a user who may only read is valid (seconds).
REQUEST_S: Final = 10.0
#: What to do if a user who may only read needs a recorder.
READER_HINT: Final = (
    "this user of the store may only read: start a collector with a user that may record (docs/how-to/collector.md)"
)

#: How many names of other clusters a hint has at most.
_NAMED_CLUSTERS: Final = 3


class Readable(DeletionLookup, Protocol):
    """What readers need: a store of recordings or an archive."""

    url: str

    def find(self, ref: TaskRef, cluster: str | None = None) -> RecordingInfo | None:
        """Return the newest recording of a task; of any kind if the reference names none."""

    def info(self, recording: int) -> RecordingInfo | None:
        """Return one recording, None if the store no longer holds it."""

    def recordings(self, namespace: str = "") -> list[RecordingInfo]:
        """Return all recordings, or only one namespace's, newest first."""

    def want(self, recording: int, seconds: float) -> None:
        """Record a reader's wish: the recording is wanted for this many seconds from now."""

    def sources(self, recording: int) -> dict[int, tuple[Source, Anchor]]:
        """Return the sources and their anchors by id."""

    def entries(self, recording: int, after: int, max_bytes: int) -> list[Entry]:
        """Return entries with numbers above `after`, in order: about `max_bytes` of data, and at least one entry."""

    def index(self, recording: int, after: int = 0) -> list[IndexEntry]:
        """Return the index of the entries that begin above a number, in order."""

    def entry(self, recording: int, seq: int) -> Entry | None:
        """Return the entry that holds this number."""

    def complete(self, recording: int) -> Completeness:
        """Return the completeness statement."""

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:
        """Call `callback` from a thread after each change of a recording; without `recording`, after each new wish.

        Extra calls are possible: once at the beginning, and when the store was out of reach for a while.

        Returns
        -------
        callable
            Ends the subscription.
        """


class UserStore(Protocol):
    """What this process may do with a store."""

    url: str

    def is_reader(self) -> bool:
        """Return whether this user of the store may only read it, and wish for recordings."""
        return False


class SettingsStore(UserStore, Protocol):
    """The settings that all users of a store share."""

    def setting(self, name: str) -> str:
        """Return a setting that all users of the store share, "" if it is not set."""

    def settings(self, names: Iterable[str]) -> dict[str, str]:
        """Return the values of the named settings, except for the ones that are not set."""

    def set_setting(self, name: str, value: str) -> None:
        """Set a setting for all users of the store."""

    def set_settings(self, values: Mapping[str, str]) -> None:
        """Set several settings for all users of the store, all or none."""


class LeaseStore(UserStore, Protocol):
    """The living recorders, and the lease of each recording: at most one recorder writes a recording."""

    def beat(self, recorder: RecorderInfo) -> None:
        """Record a heartbeat. A recorder without one for `HEARTBEAT_S` is dead."""

    def leave(self, owner: str) -> None:
        """Release all leases of a recorder that ends."""

    def recorder(self, cluster: str) -> RecorderInfo | None:
        """Return the living recorder of a cluster with the newest heartbeat."""
        return max(self.recorders(cluster), key=lambda r: r.heartbeat, default=None)

    def recorders(self, cluster: str) -> list[RecorderInfo]:
        """Return all living recorders of a cluster."""

    def collectors_elsewhere(self, cluster: str) -> dict[str, int]:  # noqa: ARG002 - for stores on a server
        """Return the number of living collectors of each other cluster, by the cluster's name.

        A cluster without one of the newest recordings may be missing.
        """
        return {}

    def holders(self, recordings: Iterable[int]) -> dict[int, str]:
        """Return for each unfinished recording the id of the living recorder that holds its lease, else ""."""

    def lease(self, recording: int, owner: str, *, assume_alive: bool = False, last_written: int = 0) -> Lease | None:
        """Take the lease; None if a living recorder has it.

        Each lease gets a new epoch, which no other lease ever has, not even one that the store lost.

        Parameters
        ----------
        recording : int
        owner : str
        assume_alive : bool, optional
            Treat a holder without a heartbeat as alive. Used just after the store was out of reach, when no recorder
            could send one.
        last_written : int, optional
            The last number that is known to have been written. If the store has lost it, the new epoch begins after
            it, and a notice takes the lost numbers.
        """

    def release(self, lease: Lease) -> None:
        """Release a lease if it is still held."""


class RetentionStore(Protocol):
    """How much a store may hold, and what leaves it."""

    def budget(self) -> Budget:
        """Return the budget in force: the values that are set, else the defaults."""

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        """Set the given parts of the budget; with `weak`, only the parts that are not set yet."""

    def used_bytes(self) -> int:
        """Return the bytes that recordings take, without free space inside the file."""

    def recording_bytes(self, recording: int) -> int:
        """Return roughly how many bytes one recording takes."""

    def bytes_to_free(self) -> int:
        """Return how many bytes must leave now because memory is nearly full; usually 0."""

    def unarchived(self, url: str) -> list[int]:
        """Return the completed recordings that are not in this archive yet. The one that ended first comes first."""

    def archive_backlog(self, url: str) -> tuple[int, float | None]:
        """Return how many completed recordings are not in this archive yet, and when the first of them ended (epoch s)."""

    def mark_archived(self, recording: int, url: str) -> bool:
        """Mark a recording as being in this archive. Return False if it already was.

        If an archive is set, only recordings in it may leave the store.
        """

    def usage(self) -> list[RecordingUsage]:
        """Return the size (bytes) and the namespace of each recording."""

    def oldest_removable(self, namespaces: Collection[str] | None = None) -> tuple[int, float] | None:
        """Return the completed, unread recording that ended first, and when it ended (epoch seconds).

        Parameters
        ----------
        namespaces : collection of str, optional
            Look only at the recordings of these namespaces.
        """

    def forget(self, recording: int) -> bool:
        """Remove a completed, unread recording. `sweep` deletes its lines later."""

    def forget_empty(self, seconds: float) -> int:
        """Remove empty recordings that were not opened, wanted or leased for this many seconds; return how many.

        A recording is empty if it has no record. A recording of a kind that never ends is also empty if it has no
        container.
        """

    def sweep(self) -> bool:
        """Delete some lines of removed recordings, or return some space to the disk; False if nothing is left to do."""

    def trim(self, lease: Lease, gap: Entry, resume_lines: bytes) -> bool:
        """Replace the oldest entries of an unfinished recording by a notice that takes all their numbers.

        Parameters
        ----------
        lease : Lease
        gap : Entry
        resume_lines : bytes
            Packed lines that resuming still needs, see `trimmed.collect_resume_lines`.

        Returns
        -------
        bool
            False if the entries have changed; nothing was written then.
        """

    def resume_lines(self, recording: int) -> bytes:
        """Return the packed lines that the last `trim` kept for resuming; empty if there are none."""

    def keep_reserve(self) -> bool:
        """Reserve some disk space for use when the disk is full.

        Return False if that is impossible, or if as much again is not free.
        """

    def release_reserve(self) -> None:
        """Return the reserved space to the disk."""


class Store(Readable, LeaseStore, RetentionStore, SettingsStore, DeletionStore, Protocol):
    """Where recordings are kept."""

    def open(self, cluster: str, ref: TaskRef, uid: str) -> int:
        """Return the id of a task's recording, creating it if there is none.

        `forget_empty` then leaves an empty one alone for a while.

        Raises
        ------
        RecordingDeleted
            An administrator deleted it, and the task is not to be recorded again.
        StoreBusy
            There is none, and this user of the store may only read: see `request`.
        """

    def request(self, cluster: str, ref: TaskRef, uid: str) -> bool:  # noqa: ARG002 - of a store without such users
        """Ask the recorders to create a task's recording, if there is none and this user of the store may only read.

        Returns
        -------
        bool
            Whether they were asked. For `REQUEST_S` from now, `requested` tells whether one has done it.

        Raises
        ------
        StoreBusy
            No recorder that may do it is alive.
        RecordingDeleted
        """
        return False

    def requested(self, cluster: str, ref: TaskRef, uid: str) -> int | None:
        """Return the id of the recording that was asked for, None until a recorder has created it."""
        return self.open(cluster, ref, uid)

    def requests(self, cluster: str) -> list[RecordingRequest]:  # noqa: ARG002 - of a store without such users
        """Return the requests of users who may only read."""
        return []

    def drop_request(self, request: RecordingRequest) -> None:
        """Drop a request: it was granted, or cannot be."""
        del request  # a store without such users has none

    def wanted(self, cluster: str) -> list[RecordingInfo]:
        """Return the unfinished recordings that a reader wants now."""

    def unfinished(self, cluster: str) -> list[RecordingInfo]:
        """Return all unfinished recordings."""

    def add_source(self, lease: Lease, source: Source) -> int:
        """Add a source and return its id."""

    def commit(self, lease: Lease, commit: Commit) -> None:
        """Write everything, or nothing.

        A caller that does not know whether a commit was written (the connection broke) may commit the same again.

        Raises
        ------
        LeaseLost
            Another recorder has taken over, or the store has lost an earlier commit.
        StoreFull, StoreBusy
            The condition is temporary.
        """

    def merge(self, lease: Lease, old: Iterable[int], new: Entry) -> None:
        """Replace several entries by one with the same records. Do nothing if the entries have changed."""

    def size(self) -> int:
        """Return the store's size in bytes."""

    def describe(self) -> str:
        """Return a one-line description: the version of the form, and the server."""

    def health_warnings(self) -> list[HealthWarning]:
        """Return what the store cannot promise with its present setup, and what to do about it."""

    def close(self) -> None:
        """Close all connections and files."""


def other_name(store: LeaseStore, cluster: str) -> str:
    """Say which collectors are alive for other clusters, and what to do if one of them is this cluster under another name.

    Parameters
    ----------
    store : LeaseStore
    cluster : str
        The name under which this process knows the cluster, and for which no collector is alive.

    Returns
    -------
    str
        "" if none is alive for another cluster.
    """
    numbers = store.collectors_elsewhere(cluster)
    if not numbers:
        return ""
    alive = ", ".join(f"{number} for {name!r}" for name, number in sorted(numbers.items())[:_NAMED_CLUSTERS])
    [first, *_] = sorted(numbers)
    name = f"{first!r}" if len(numbers) == 1 else "that name"
    return (
        f"collectors are alive, but for other cluster names: {alive}; here the cluster is named {cluster!r}. "
        f"If it is the same cluster, set CORTEX_CLUSTER to {name} here, or to one name for collectors and readers"
    )
