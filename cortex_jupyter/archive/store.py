"""An archive with the interface of a store, so that pages, streams, downloads and frames read both in the same way."""

from __future__ import annotations

import contextlib
import logging
import os
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

from cortex_jupyter.errors import ArchiveError, ArchiveNotFound, CursorNotHeld, MissingExtra, StoreError
from cortex_jupyter.store import Anchor, Readable, absolute_archive, is_shared, is_store
from cortex_jupyter.store.budget import NOT_HELD_HINT
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import read_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.model import Entry, IndexEntry, Source, TaskRef
    from cortex_jupyter.store import Completeness, RecordingInfo, SettingsStore
    from cortex_jupyter.store.deletion import Deletion

T = TypeVar("T")

_log = logging.getLogger(__name__)

_REMOVED_HINT: Final = (
    "whoever removed it has the receipt of `cortex-jupyter delete`; a bucket may also expire objects by itself"
)


class RecordingLookup(Protocol):
    """Looks up archived recordings: a catalog, or a single file."""

    def all(self, namespace: str = "") -> list[ArchivedRecording]:
        """Return all recordings, newest first."""

    def find(self, ref: TaskRef, cluster: str | None = None) -> ArchivedRecording | None:
        """Return the newest recording of a task."""

    def by_id(self, recording: int) -> ArchivedRecording | None:
        """Return one recording."""

    def forget(self, recording: int) -> None:
        """Forget a recording whose objects have been removed by another process."""


class SingleFile:
    """The one recording in a file.

    Parameters
    ----------
    archived : ArchivedRecording
    """

    def __init__(self, archived: ArchivedRecording) -> None:
        self._archived = archived

    @classmethod
    def at(cls, url: str) -> Self:
        """Open the file at a URL."""
        from cortex_jupyter.archive.file import ParquetFile  # needs obstore
        from cortex_jupyter.archive.objects import ObjectStore
        from cortex_jupyter.archive.recording import ArchivedRecording

        return cls(ArchivedRecording(ParquetFile(*ObjectStore.holding(url))))

    def all(self, namespace: str = "") -> list[ArchivedRecording]:
        """Return the recording if it is of that namespace."""
        return [self._archived] if namespace in ("", self._archived.info.ref.namespace) else []

    def find(self, ref: TaskRef, cluster: str | None = None) -> ArchivedRecording | None:  # noqa: ARG002 - it is of no cluster
        """Return the recording if it is of that task."""
        return self._archived if ref.name == self._archived.info.ref.name else None

    def by_id(self, recording: int) -> ArchivedRecording | None:
        """Return the recording if it has that id."""
        return self._archived if recording == self._archived.info.id else None

    def forget(self, recording: int) -> None:
        """Do nothing: there is no other recording."""


class ArchiveStore(Readable):
    """An archive for readers; `store.Readable` documents each method.

    Parameters
    ----------
    url : str
    tasks : RecordingLookup, optional
        Default: the catalog at the URL. It is opened at first use, so that a process that never uses the archive does
        not wait for it.
    """

    def __init__(self, url: str, tasks: RecordingLookup | None = None) -> None:
        self.url = url
        self._tasks = tasks

    @property
    def tasks(self) -> RecordingLookup:
        """The lookup of recordings by task.

        Raises
        ------
        ArchiveError, MissingExtra
        """
        if self._tasks is None:
            from cortex_jupyter.archive.catalog import Catalog  # needs obstore
            from cortex_jupyter.archive.objects import ObjectStore

            self._tasks = Catalog(ObjectStore(self.url))
        return self._tasks

    def archived(self, recording: int) -> ArchivedRecording:
        """Return an archived recording.

        Raises
        ------
        CursorNotHeld
            The archive has no recording with that id.
        """
        archived = self.tasks.by_id(recording)
        if archived is None:
            raise CursorNotHeld("this recording is no longer archived", NOT_HELD_HINT)
        return archived

    def find(self, ref: TaskRef, cluster: str | None = None) -> RecordingInfo | None:
        archived = self.tasks.find(ref, cluster)
        return None if archived is None else archived.info

    def info(self, recording: int) -> RecordingInfo | None:
        archived = self.tasks.by_id(recording)
        return None if archived is None else archived.info

    def recordings(self, namespace: str = "") -> list[RecordingInfo]:
        return [archived.info for archived in self.tasks.all(namespace)]

    def want(self, recording: int, seconds: float) -> None:
        pass

    def sources(self, recording: int) -> dict[int, tuple[Source, Anchor]]:
        sources = self._read(recording, lambda archived: archived.sources)
        return {sid: (source, Anchor(ended=True)) for sid, source in sources.items()}

    def entries(self, recording: int, after: int, max_bytes: int) -> list[Entry]:
        return self._read(recording, lambda archived: list(archived.entries(after, max_bytes)))

    def index(self, recording: int, after: int = 0) -> list[IndexEntry]:
        index = self._read(recording, lambda archived: archived.index)
        return index[bisect_right(index, after, key=attrgetter("seq")) :] if after else list(index)

    def entry(self, recording: int, seq: int) -> Entry | None:
        return self._read(recording, lambda archived: archived.entry(seq))

    def _read(self, recording: int, read: Callable[[ArchivedRecording], T]) -> T:
        """Read from a recording whose manifest may be known since before its objects were deleted."""
        try:
            return read(self.archived(recording))
        except ArchiveNotFound as error:
            self.tasks.forget(recording)
            raise CursorNotHeld(
                "this recording was removed from the archive while it was read", _REMOVED_HINT
            ) from error

    def deletion(self, recording: int) -> Deletion | None:  # noqa: ARG002 - the store knows
        return None

    def complete(self, recording: int) -> Completeness:
        return self.archived(recording).complete

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:  # noqa: ARG002 - nothing changes
        return lambda: None


def select_archive(store: SettingsStore, url: str | None = None) -> ArchiveStore | None:
    """Return the archive of a store; a given one is set for all users of the store, its recorders included.

    In a shared store only an administrator sets it. Then this process reads from `url`, and nothing else changes.

    Parameters
    ----------
    store : SettingsStore
    url : str, optional
        Default: `CORTEX_ARCHIVE`, else what is already set. An empty string removes the setting.
    """
    url = os.environ.get("CORTEX_ARCHIVE") if url is None else url
    current = store.setting("archive")
    url = current if url is None else absolute_archive(url)
    if url != current and is_shared(store.url):
        _log.warning(
            "this process reads archived tasks from %s; recorders of %s write to %s. Only an administrator can change that: cortex-jupyter store set archive=%s",
            url or "nowhere",
            store.url,
            current or "nowhere",
            url,
        )
    elif url != current and read_lock(store) is None:
        with contextlib.suppress(StoreError):  # a read-only store can still be read
            store.set_setting("archive", url)
    return ArchiveStore(url) if url else None


def nearest(store: Readable, archive: Readable | None, recording: int) -> Readable:
    """Return where columns of a recording are read fastest: its archive if that is on this machine, else the store.

    Parameters
    ----------
    store : Readable
        The store that holds it.
    archive : Readable or None
    recording : int
    """
    if not isinstance(archive, ArchiveStore) or isinstance(store, ArchiveStore) or "://" in archive.url:
        return store
    setting: Callable[[str], str] = getattr(store, "setting", lambda _: "")
    with contextlib.suppress(ArchiveError, MissingExtra):
        if setting(f"archived:{recording}") == archive.url and archive.info(recording) is not None:
            return archive
    return store


@contextlib.contextmanager
def open_readable(url: str) -> Iterator[Readable]:
    """Open the store or archive of a reader's `store.url`, in another process.

    Raises
    ------
    StoreError, ArchiveError
    """
    if not is_store(url):
        yield ArchiveStore(url, SingleFile.at(url) if url.endswith(".parquet") else None)
        return
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()
