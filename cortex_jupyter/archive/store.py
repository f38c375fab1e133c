"""An archive with the face of a store: pages, streams, downloads and frames read it without knowing which it is."""

from __future__ import annotations

import contextlib
import logging
import os
from bisect import bisect_right
from typing import TYPE_CHECKING, Protocol, Self

from cortex_jupyter.errors import ArchiveError, CursorNotHeld, MissingExtra, StoreError
from cortex_jupyter.store import Anchor, Readable, absolute_archive, is_shared, is_store
from cortex_jupyter.store.budget import NOT_HELD_HINT
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.model import Entry, Source, TaskRef
    from cortex_jupyter.store import Completeness, RecordingInfo, Store


_log = logging.getLogger(__name__)


class RecordingLookup(Protocol):
    """Where archived recordings are looked up: a catalog, or the one that a file is."""

    def all(self, namespace: str = "") -> list[ArchivedRecording]:
        """Give all, newest first."""

    def find(self, ref: TaskRef, cluster: str | None = None) -> ArchivedRecording | None:
        """Give the newest of a task."""

    def by_id(self, recording: int) -> ArchivedRecording | None:
        """Give one."""


class SingleFile:
    """The one recording that a file is.

    Parameters
    ----------
    held : ArchivedRecording
    """

    def __init__(self, held: ArchivedRecording) -> None:
        self._held = held

    @classmethod
    def at(cls, url: str) -> Self:
        """Open the file at a URL."""
        from cortex_jupyter.archive.file import ParquetFile  # noqa: PLC0415 - needs obstore
        from cortex_jupyter.archive.objects import ObjectStore  # noqa: PLC0415
        from cortex_jupyter.archive.recording import ArchivedRecording  # noqa: PLC0415

        return cls(ArchivedRecording(ParquetFile(*ObjectStore.beside(url))))

    def all(self, namespace: str = "") -> list[ArchivedRecording]:
        """Give it, where it is of that namespace."""
        return [self._held] if namespace in ("", self._held.info.ref.namespace) else []

    def find(self, ref: TaskRef, cluster: str | None = None) -> ArchivedRecording | None:  # noqa: ARG002 - it is of no cluster
        """Give it, where it is that task's."""
        return self._held if ref.name == self._held.info.ref.name else None

    def by_id(self, recording: int) -> ArchivedRecording | None:
        """Give it, where it is that recording."""
        return self._held if recording == self._held.info.id else None


class ArchiveStore(Readable):
    """What is archived, for readers; see `store.Readable`.

    Parameters
    ----------
    url : str
    tasks : RecordingLookup, optional
        Else the catalog at the URL; opened when it is first asked, so that who needs no archive is not held up by one.
    """

    def __init__(self, url: str, tasks: RecordingLookup | None = None) -> None:
        self.url = url
        self._tasks = tasks

    @property
    def tasks(self) -> RecordingLookup:
        """Where it looks.

        Raises
        ------
        ArchiveError, MissingExtra
        """
        if self._tasks is None:
            from cortex_jupyter.archive.catalog import Catalog  # noqa: PLC0415 - needs obstore
            from cortex_jupyter.archive.objects import ObjectStore  # noqa: PLC0415

            self._tasks = Catalog(ObjectStore(self.url))
        return self._tasks

    def archived(self, recording: int) -> ArchivedRecording:
        """Give an archived recording.

        Raises
        ------
        CursorNotHeld
            There is none of that id.
        """
        found = self.tasks.by_id(recording)
        if found is None:
            raise CursorNotHeld("this recording is no longer archived", NOT_HELD_HINT)
        return found

    def find(self, ref: TaskRef, cluster: str | None = None) -> RecordingInfo | None:  # noqa: D102
        found = self.tasks.find(ref, cluster)
        return None if found is None else found.info

    def info(self, recording: int) -> RecordingInfo | None:  # noqa: D102
        found = self.tasks.by_id(recording)
        return None if found is None else found.info

    def recordings(self, namespace: str = "") -> list[RecordingInfo]:  # noqa: D102
        return [held.info for held in self.tasks.all(namespace)]

    def want(self, recording: int, seconds: float) -> None:  # noqa: D102 - nothing leaves an archive by itself
        pass

    def sources(self, recording: int) -> dict[int, tuple[Source, Anchor]]:  # noqa: D102
        return {sid: (source, Anchor(ended=True)) for sid, source in self.archived(recording).sources.items()}

    def entries(self, recording: int, after: int, most: int) -> list[Entry]:  # noqa: D102
        return list(self.archived(recording).entries(after, most))

    def index(self, recording: int, after: int = 0) -> list[tuple[int, int, str, int, int]]:  # noqa: D102
        index = self.archived(recording).index
        return index[bisect_right(index, after, key=lambda row: row[0]) :] if after else list(index)

    def entry(self, recording: int, seq: int) -> Entry | None:  # noqa: D102
        return self.archived(recording).entry(seq)

    def complete(self, recording: int) -> Completeness:  # noqa: D102
        return self.archived(recording).complete

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:  # noqa: ARG002, D102 - nothing changes
        return lambda: None


def select_archive(store: Store, url: str | None = None) -> ArchiveStore | None:
    """Return the archive of a store: what is set now holds for all who use the store, its recorder among them.

    In a store that others share it is an administrator's to set: another one is then where this process reads, no more.

    Parameters
    ----------
    store : Store
    url : str, optional
        Else `CORTEX_ARCHIVE`, else what was set before. An empty string means none from now on.
    """
    url = os.environ.get("CORTEX_ARCHIVE") if url is None else url
    held = store.setting("archive")
    url = held if url is None else absolute_archive(url)
    if url != held and is_shared(store.url):
        _log.warning(
            "this process reads archived tasks from %s; recorders of %s write to %s. An administrator sets that: cortex-jupyter store set archive=%s",
            url or "nowhere", store.url, held or "nowhere", url,
        )  # fmt: skip
    elif url != held:
        with contextlib.suppress(StoreError):  # where nothing can be written, reading goes on
            store.set_setting("archive", url)
    return ArchiveStore(url) if url else None


def nearest(store: Readable, archive: Readable | None, recording: int) -> Readable:
    """Give where a recording is read fastest as columns: its archive, where that is on this machine.

    Parameters
    ----------
    store : Readable
        Where it is.
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
    """Open what a reader's `store.url` names, in another process: a store or an archive.

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
