"""Legal holds, and what a store remembers of recordings that an administrator deleted.

A deletion is noted in the transaction that removes the recording from the store, before anything leaves the archive. So
an interrupted deletion can be completed, a reader learns why its recording is gone, and no recorder writes the task
again from what the cluster still has of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, Self

import orjson

from cortex_jupyter.errors import CursorNotHeld, LegalHold, RecordingDeleted, StillRecorded
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import Iterable

_RECORDED: Final = "wait until the task has ended, or delete it in the cluster; then delete its recording"
_LEASED: Final = f"{_RECORDED}. If the task has left the cluster, use the kubeconfig of that cluster"


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: the recording is neither deleted nor removed by age or size, and no line of it is trimmed.

    Parameters
    ----------
    task : str
        The task's key.
    cluster : str
        The cluster's id; empty if it is not known.
    by : str
        Who set it.
    at : float
        When, in epoch seconds.
    reason : str
    """

    task: str
    cluster: str
    by: str
    at: float
    reason: str

    def __str__(self) -> str:
        return f"{self.task} since {_utc(self.at)}, by {self.by}: {self.reason}"

    @classmethod
    def decode(cls, text: str | bytes) -> Self:
        """Parse what a store keeps."""
        return cls(**orjson.loads(text))

    def encode(self) -> str:
        """Return the form that a store keeps."""
        return orjson.dumps(self).decode()


@dataclass(frozen=True, slots=True)
class Deletion:
    """A recording that an administrator deleted, or is deleting.

    Parameters
    ----------
    id : int
    cluster, namespace, kind, name, uid : str
        As in `RecordingInfo`; `uid` and `cluster` are empty if only unreadable objects of the archive were left.
    by : str
        Who deletes it.
    at : float
        When that began, in epoch seconds.
    ended : float
        When the task ended, in epoch seconds; for a task without an end, when its last line was written.
    records, size : int
        Lines and bytes: what the store had of it; if it had nothing, what the archive had.
    first, last : int or None
        Earliest and latest time of a line, in ns since the Unix epoch.
    archive : str
        The archive that it is deleted from too; empty if it stays there.
    objects : dict
        Its objects in that archive, with their sizes in bytes.
    blocks : bool
        Whether the task is not recorded again. A task that does not end by itself goes on, so it may be.
    is_open : bool
        Whether the deletion is to be completed, and no receipt has named it yet.
    """

    id: int
    cluster: str
    namespace: str
    kind: str
    name: str
    uid: str
    by: str
    at: float
    ended: float = 0.0
    records: int = 0
    size: int = 0
    first: int | None = None
    last: int | None = None
    archive: str = ""
    objects: dict[str, int] = field(default_factory=dict)
    blocks: bool = True
    is_open: bool = True

    @property
    def ref(self) -> TaskRef:
        """The task."""
        return TaskRef(self.namespace, self.kind, self.name)

    @property
    def is_identified(self) -> bool:
        """Whether it is known of which cluster the recording is, and when it ended."""
        return bool(self.cluster)

    @property
    def short_name(self) -> str:
        """Namespace and name. No `task_name` has this form."""
        return f"{self.namespace}/{self.name}"

    @property
    def task_name(self) -> str:
        """The unique name under which recorders open the task."""
        return task_name(self.cluster, self.ref, self.uid)

    @classmethod
    def decode(cls, text: str | bytes) -> Self:
        """Parse what a store keeps."""
        return cls(**orjson.loads(text))

    def encode(self) -> str:
        """Return the form that a store keeps."""
        return orjson.dumps(self).decode()

    def closed(self) -> Self:
        """Return it as it is kept once it is complete: without the names of objects that do not exist any more."""
        return replace(self, objects={}, is_open=False)

    def error(self, subject: str) -> RecordingDeleted:
        """Return the error for whoever wants to read or record the task.

        Parameters
        ----------
        subject : str
            What was deleted. A reader that has only a cursor must not learn the task's name from it.
        """
        text = f"{subject} was deleted {_utc(self.at)} by {self.by}"
        if not self.blocks:
            return RecordingDeleted(text, "open the task again: what the cluster still has of it is recorded anew")
        return RecordingDeleted(
            text,
            "it is not recorded again unless an administrator allows it: cortex-jupyter delete TASK --record-again",
        )


def task_name(cluster: str, ref: TaskRef, uid: str) -> str:
    """Return the unique name of a task.

    Examples
    --------
    >>> task_name("https://cluster", TaskRef("ml", "job", "train-1"), "4f1c")
    'https://cluster ml/job/train-1 4f1c'
    """
    return f"{cluster} {ref.namespace}/{ref.kind}/{ref.name} {uid}"


def legal_hold_error(ref: TaskRef, hold: Hold) -> LegalHold:
    """Return the error for a deletion of a held recording."""
    return LegalHold(
        f"the recording is under a legal hold since {_utc(hold.at)}, set by {hold.by}: {hold.reason}",
        f"release it first: cortex-jupyter store release {ref.key}",
    )


def still_recorded_error() -> StillRecorded:
    """Return the error for a deletion of a recording that a recorder is writing."""
    return StillRecorded("the task is still being recorded", _LEASED)


def still_running_error() -> StillRecorded:
    """Return the error for a deletion of a recording that a recorder would continue."""
    return StillRecorded("the task still runs, although no recorder writes its lines at the moment", _RECORDED)


class DeletionLookup(Protocol):
    """Knows which recordings were deleted."""

    def deletion(self, recording: int) -> Deletion | None:
        """Return the deletion of a recording; None if it was not deleted, or if that is not known."""


def not_held(
    store: DeletionLookup, recording: int, subject: str = "this recording", hint: str = NOT_HELD_HINT
) -> CursorNotHeld:
    """Return the error for a reader of a recording that has left the store, with the reason if that was a deletion.

    Parameters
    ----------
    store : DeletionLookup
    recording : int
    subject : str, optional
        What has left.
    hint : str, optional
        What to do if it left by age or size.
    """
    deletion = store.deletion(recording)
    return deletion.error(subject) if deletion else CursorNotHeld(f"{subject} is no longer held", hint)


class DeletionStore(DeletionLookup, Protocol):
    """Legal holds and deletions."""

    def last_deletion(self, namespace: str, name: str) -> Deletion | None:
        """Return the last deletion of a recording of a task of this name, None if there is none."""

    def holds(self) -> dict[int, Hold]:
        """Return all legal holds by recording. The recording may be in the archive only."""

    def set_hold(self, recording: int, hold: Hold | None) -> bool:
        """Set a legal hold, or release it. Return False if the recording was deleted."""

    def deletions(self) -> list[Deletion]:
        """Return all deletions."""

    def delete(self, deletion: Deletion, *, ignore_lease: bool = False) -> None:
        """Remove a recording that is not held or being written, and note its deletion, in one transaction.

        It may be repeated, and the recording may be in the archive only. `purge` deletes its lines.

        Parameters
        ----------
        deletion : Deletion
        ignore_lease : bool, optional
            Whether a living recorder may hold the recording. It loses its lease.

        Raises
        ------
        LegalHold, StillRecorded
            Nothing is changed.
        """

    def close_deletions(self, deletions: Iterable[Deletion]) -> None:
        """Note that these deletions are complete, and that a receipt names them."""

    def allow_again(self, deletion: Deletion) -> None:
        """Forget a deletion, so that the task may be recorded again."""

    def purge(self) -> str:
        """Delete the lines of removed recordings now. Return what may still hold some of them, "" if nothing does."""


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
