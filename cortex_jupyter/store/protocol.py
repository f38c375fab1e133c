"""What a store must do, and what its readers need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cortex_jupyter.model import Entry, Source, TaskRef
    from cortex_jupyter.store.budget import Budget
    from cortex_jupyter.store.types import (
        Anchor,
        Commit,
        Completeness,
        HealthWarning,
        Lease,
        RecorderInfo,
        RecordingInfo,
    )

#: A recorder that has not said so for this long, seconds, is dead and its tasks are taken over.
HEARTBEAT_S: Final = 3.0


class Readable(Protocol):
    """What readers need of a store, be it recordings or an archive. Every method blocks and may be called from any thread."""

    url: str

    def find(self, ref: TaskRef, cluster: str | None = None) -> RecordingInfo | None:
        """Give the newest recording of that name (of any kind where the reference has none)."""

    def info(self, recording: int) -> RecordingInfo | None:
        """Give one recording, None where it is no longer held."""

    def recordings(self, namespace: str = "") -> list[RecordingInfo]:
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

    def complete(self, recording: int) -> Completeness:
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
        """Give the id of a task's recording, begun where there is none; what it gives does not leave at once."""

    def wanted(self, cluster: str) -> list[RecordingInfo]:
        """Give what is wanted now and not done."""

    def unfinished(self, cluster: str) -> list[RecordingInfo]:
        """Give what is not done, wanted or not."""

    def holders(self, recordings: Iterable[int]) -> dict[int, str]:
        """Give of those that are not done who records them: the id of a living recorder, else ""."""

    def lease(self, recording: int, owner: str, *, assume_alive: bool = False, last_written: int = 0) -> Lease | None:
        """Take the lease, or None where a living recorder has it.

        What is written under it is of a new epoch, which no other lease ever has: not even one that the store loses.

        Parameters
        ----------
        recording : int
        owner : str
        patient : bool, optional
            One of which nothing is heard is taken to live: the store was away, for all of them, until just now.
        reached : int, optional
            The last number that is known to have been written. Should the store have lost it, the new epoch begins after
            it, and what is written before that takes the lost numbers (see `say_back`).
        """

    def release(self, lease: Lease) -> None:
        """Give it up, where it is still held."""

    def beat(self, recorder: RecorderInfo) -> None:
        """Say that a recorder lives; one that has not for `HEARTBEAT_S` is dead."""

    def leave(self, owner: str) -> None:
        """Give up all leases of a recorder that ends."""

    def recorder(self, cluster: str) -> RecorderInfo | None:
        """Give a living recorder of that cluster, the one that was last heard of."""
        return max(self.recorders(cluster), key=lambda r: r.heartbeat, default=None)

    def recorders(self, cluster: str) -> list[RecorderInfo]:
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

    def trim(self, lease: Lease, gap: Entry, remains: bytes) -> bool:
        """Put a notice in the place of the oldest entries of a recording that is not done: all those whose numbers it takes.

        Parameters
        ----------
        lease : Lease
        gap : Entry
        remains : bytes
            What has to be known of them all the same, see `store.remains`.

        Returns
        -------
        bool
            False where they are no longer those, and nothing happened.
        """

    def resume_lines(self, recording: int) -> bytes:
        """Give what the last `trim` left to be known, empty where there is nothing."""

    def size(self) -> int:
        """Give the bytes on disk."""

    def describe(self) -> str:
        """Describe it in a line: the version of its form, and what its server is."""

    def health_warnings(self) -> list[HealthWarning]:
        """Say what it cannot promise as it is set up, and what to do about it."""

    def budget(self) -> Budget:
        """Give what holds, both parts of it: what is set, else the default."""

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        """Set those parts that are given; where `weak`, only those that nobody has set."""

    def setting(self, name: str) -> str:
        """Give what is set for all who use this store, "" where nothing is."""

    def settings(self, names: Iterable[str]) -> dict[str, str]:
        """Give those that are set."""

    def set_setting(self, name: str, value: str) -> None:
        """Set it."""

    def unarchived(self, url: str) -> list[int]:
        """Give the complete recordings that are not in this archive yet, the longest ended first."""

    def mark_archived(self, recording: int, url: str) -> None:
        """Note that one is there. While an archive is set, no other may leave."""

    def used_bytes(self) -> int:
        """Give the bytes that recordings take, room within the file apart."""

    def bytes_to_free(self) -> int:
        """Give how many bytes should leave at once, because there is hardly room for more; mostly 0."""

    def recording_bytes(self, recording: int) -> int:
        """Give about how many of them are one recording's."""

    def oldest_removable(self) -> tuple[int, float] | None:
        """Give the complete recording that ended first and that nobody reads, and when it ended (epoch seconds)."""

    def forget(self, recording: int) -> bool:
        """Make a complete recording that nobody reads unknown; its lines go with `sweep`."""

    def forget_empty(self, seconds: float) -> int:
        """Make unknown what holds nothing, and what nobody has opened, wanted or held for so long; gives how many.

        Nothing: no record at all, or of a kind that never ends not a container that was seen.
        """

    def sweep(self) -> bool:
        """Delete some lines of what is forgotten, or give some room back to the disk; False where nothing is left."""

    def keep_reserve(self) -> bool:
        """Have a little room set aside for a full disk; False where there is none, or not as much again besides."""

    def release_reserve(self) -> None:
        """Use that room."""

    def close(self) -> None:
        """Release everything."""
