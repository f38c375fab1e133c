"""What an archive holds: a manifest per task, written last, so that what has one is whole.

`NAMESPACE/KIND/NAME/ID.parquet` is a file and `....json` its manifest. A manifest is read once, while its tag stays; in
a bucket, those of many tasks at once (see `manifest_cache`).
"""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from cortex_jupyter.archive import layout, manifest_cache
from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.archive.recording import ArchivedRecording, too_new
from cortex_jupyter.archive.write import FileMetadata, ParquetEncoder, WrittenFile
from cortex_jupyter.errors import ArchiveDamaged, ArchiveError, ArchiveNotFound, ArchiveTooNew, CursorNotHeld
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cortex_jupyter.archive.objects import ObjectStore
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.store import Readable, RecordingInfo

    Rows = Callable[[Readable, int], Iterable[tuple[Any, bool]]]

_log = logging.getLogger(__name__)

_MANIFEST: Final = ".json"
#: Manifests that are asked for at one time; and for fewer nobody asks for those that are gathered.
_AT_ONCE: Final = 32
_FEW: Final = 4
#: Unusable manifests that one listing names in our log.
_NAMED: Final = 10


class Catalog:
    """The tasks of one archive.

    Parameters
    ----------
    objects : ObjectStore
    """

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self._known: dict[str, ArchivedRecording] = {}
        self._unusable: dict[str, ArchiveTooNew | ArchiveDamaged] = {}  # manifests that are left out, and why
        self._tags: dict[str, str] = {}

    def all(self, namespace: str = "") -> list[ArchivedRecording]:
        """Give all tasks, those of one namespace where it is named, newest first.

        A manifest that is damaged, foreign, or written by a newer version is left out; our log names it each time.

        Raises
        ------
        ArchiveError
        """
        return self._below(f"{quote(namespace, safe='')}/" if namespace else "")[0]

    def find(self, ref: TaskRef, cluster: str | None = None) -> ArchivedRecording | None:
        """Give the newest recording of a task, of any kind where the reference has none.

        Raises
        ------
        ArchiveTooNew
        ArchiveError
        """
        prefix = f"{folder(ref)}/" if ref.kind else f"{quote(ref.namespace, safe='')}/"
        below, unusable = self._below(prefix)
        for name, reason in unusable.items():
            if isinstance(reason, ArchiveTooNew) and name.split("/")[2] == quote(ref.name, safe=""):
                raise reason
        held = [h for h in below if h.info.ref.name == ref.name and cluster in (None, h.info.cluster)]
        held.sort(key=lambda h: (h.info.ref.kind == "job", h.info.id), reverse=True)
        return held[0] if held else None

    def by_id(self, recording: int) -> ArchivedRecording | None:
        """Give one recording.

        Raises
        ------
        ArchiveTooNew
        ArchiveError
        """
        for known in list(self._known.values()):
            if known.info.id == recording:
                return known
        below, unusable = self._below("")
        for name, reason in unusable.items():
            if isinstance(reason, ArchiveTooNew) and name.endswith(f"/{recording}{_MANIFEST}"):
                raise reason
        return next((h for h in below if h.info.id == recording), None)

    def put(
        self,
        store: Readable,
        recording: int,
        rows: Rows,
        progress: Callable[[int], object] = int,
        *,
        again: bool = False,
    ) -> ArchivedRecording:
        """Archive a completed recording, or do nothing where it is archived already; may be begun again at any time.

        Parameters
        ----------
        store : Readable
        recording : int
        rows : callable
            Gives the rows of a recording, as `write` takes them.
        progress : callable, optional
            Called with the number of rows of each piece.
        again : bool, optional
            Write it anew where it is archived already.

        Raises
        ------
        ArchiveError
            The recording stays where it is.
        CursorNotHeld, StoreError, MissingExtra
        """
        info = store.info(recording)
        if info is None:
            raise CursorNotHeld("this recording is no longer held", NOT_HELD_HINT)
        name = f"{folder(info.ref)}/{recording}"
        if not again:
            # A manifest that a crash cut off is written anew.
            with contextlib.suppress(ArchiveNotFound, ArchiveDamaged):
                return self._load(name + _MANIFEST)
        about = FileMetadata.of(store, recording)
        parts: list[ParquetEncoder] = []

        def begun() -> ParquetEncoder:
            parts.append(ParquetEncoder(rows(store, recording), about, progress))
            return parts[-1]

        # It goes out as it is written, so that no disk has to hold it, and is there when its last byte is.
        self.objects.put(f"{name}.parquet", begun)
        written = parts[-1].written
        assert written is not None
        self.objects.put(name + _MANIFEST, orjson.dumps(_manifest(about, written, f"{recording}.parquet")))
        if self.objects.folder is None and manifest_cache.due(recording):
            with contextlib.suppress(ArchiveError):  # the next one that is due does it
                self.gather(info.ref.namespace)
        return self._load(name + _MANIFEST)

    def gather(self, namespace: str) -> None:
        """Write the manifests of a namespace into one object, for whoever lists it.

        Raises
        ------
        ArchiveError
        """
        folder_ = quote(namespace, safe="")
        listed = {name: tag for name, tag in self.objects.listed(f"{folder_}/") if name.endswith(_MANIFEST)}
        old = manifest_cache.load(self.objects, folder_)
        manifests = {name: old[name] for name, tag in listed.items() if name in old and old[name][0] == tag}
        new = [name for name in listed if name not in manifests]
        manifests |= {name: (listed[name], data) for name, data in self._fetched(new).items()}
        manifest_cache.store(self.objects, folder_, manifests)

    def _below(self, prefix: str) -> tuple[list[ArchivedRecording], dict[str, ArchiveTooNew | ArchiveDamaged]]:
        """Return the usable recordings below a prefix, newest first, and why each of the others is left out."""
        listed = dict(self.objects.listed(prefix))
        names = [name for name in listed if name.endswith(_MANIFEST)]
        new = [name for name in names if self._tags.get(name) != listed[name]]
        if len(new) > _FEW:
            for folder_ in {name.partition("/")[0] for name in new}:
                if f"{folder_}/{manifest_cache.NAME}" in listed:
                    held = manifest_cache.load(self.objects, folder_)
                    for name in [name for name in new if name in held and held[name][0] == listed[name]]:
                        self._keep(name, held[name][1], listed[name])
            new = [name for name in new if self._tags.get(name) != listed[name]]
        for name, data in self._fetched(new).items():
            self._keep(name, data, listed[name])
        found = sorted((self._known[n] for n in names if n in self._known), key=lambda h: h.info.id, reverse=True)
        unusable = {name: self._unusable[name] for name in names if name in self._unusable}
        for reason in [*unusable.values()][:_NAMED]:
            _log.warning("%s; it is left out", reason.message)
        if len(unusable) > _NAMED:
            _log.warning("%d more manifests of %s are left out", len(unusable) - _NAMED, self.objects.url)
        return found, unusable

    def _fetched(self, names: list[str]) -> dict[str, bytes]:
        """Fetch manifests; those that were removed since they were listed are left out."""

        def one(name: str) -> bytes | None:
            try:
                return self.objects.get(name)
            except ArchiveNotFound:
                return None

        with ThreadPoolExecutor(_AT_ONCE, "cortex-manifests") as pool:
            return {name: data for name, data in zip(names, pool.map(one, names), strict=True) if data is not None}

    def _load(self, name: str) -> ArchivedRecording:
        self._keep(name, self.objects.get(name))
        if name in self._unusable:
            raise self._unusable[name]
        return self._known[name]

    def _keep(self, name: str, data: bytes, tag: str = "") -> None:
        self._tags[name] = tag
        self._known.pop(name, None)
        self._unusable.pop(name, None)
        try:
            self._known[name] = self._parse(name, data)
        except (ArchiveTooNew, ArchiveDamaged) as reason:
            self._unusable[name] = reason

    def _parse(self, name: str, data: bytes) -> ArchivedRecording:
        try:
            doc = orjson.loads(data)
            if doc["version"] > layout.VERSION:
                raise too_new(name, doc["version"])
            file = ParquetFile(self.objects, f"{name.rpartition('/')[0]}/{doc['file']}", doc["size"], doc["footer"])
            held = ArchivedRecording(file, doc)
            _ = held.info, held.complete  # what a list of tasks reads, so that no reader of it fails later
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{self.objects.path(name)} is no manifest of an archived task, or is cut off"
            raise ArchiveDamaged(reason) from error
        return held


def folder(ref: TaskRef) -> str:
    """Give the name under which a task's files stand.

    Examples
    --------
    >>> from cortex_jupyter.model import TaskRef
    >>> folder(TaskRef("ml", "selector", "app=x,tier in (a)"))
    'ml/selector/app%3Dx%2Ctier%20in%20%28a%29'
    """
    return "/".join(quote(part, safe="") for part in (ref.namespace, ref.kind, ref.name))


def _manifest(about: FileMetadata, written: WrittenFile, file: str) -> dict[str, Any]:
    """Give what makes a file an archive, and what a list of tasks or a filter needs to leave it unopened."""
    info: RecordingInfo = about.info
    return asdict(info) | {
        "version": layout.VERSION, "file": file, "size": written.size, "footer": written.footer,
        "first": about.complete.first, "last": about.complete.last, "levels": written.levels, "complete": about.statement,
    }  # fmt: skip
