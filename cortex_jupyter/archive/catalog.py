"""The recordings of an archive, known from their manifests.

`NAMESPACE/KIND/NAME/ID.parquet` is a file and `ID.json` its manifest, which is written last: a recording with a
manifest is complete. A manifest is read once, until its tag changes; in a bucket, `manifest_cache` reads many at
once.
"""

from __future__ import annotations

import contextlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import orjson

from cortex_jupyter.archive import layout, manifest_cache
from cortex_jupyter.archive.columns import read_rows
from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.archive.order import sort_pieces
from cortex_jupyter.archive.recording import ArchivedRecording, too_new
from cortex_jupyter.archive.write import FileMetadata, ParquetEncoder, WrittenFile
from cortex_jupyter.errors import ArchiveDamaged, ArchiveError, ArchiveNotFound, ArchiveTooNew
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.scan import require_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.archive.objects import ObjectStore
    from cortex_jupyter.store import Readable, RecordingInfo

_log = logging.getLogger(__name__)

_MANIFEST: Final = ".json"
#: The name of a recording's object: its namespace, kind, name and id.
_OBJECT: Final = re.compile(r"([^/]+)/([^/]+)/([^/]+)/(\d+)\.(?:json|parquet)")
#: Maximum number of manifests that are requested at the same time.
_CONCURRENT: Final = 32
#: With at most this many new manifests, reading the cache is not worth a request.
_FEW: Final = 4
#: Number of unusable manifests that one listing names in our log.
_NAMED: Final = 10


class Catalog:
    """The recordings of one archive.

    Parameters
    ----------
    objects : ObjectStore
    """

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self._known: dict[str, ArchivedRecording] = {}
        self._unusable: dict[str, ArchiveTooNew | ArchiveDamaged] = {}  # manifests that are left out, and the reasons
        self._tags: dict[str, str] = {}

    def all(self, namespace: str = "") -> list[ArchivedRecording]:
        """Return all recordings, or only one namespace's, newest first.

        Manifests that are damaged, foreign or of a newer version are left out; our log names them each time.

        Raises
        ------
        ArchiveError
        """
        return self._below(f"{quote(namespace, safe='')}/" if namespace else "")[0]

    def find(self, ref: TaskRef, cluster: str | None = None) -> ArchivedRecording | None:
        """Return the newest recording of a task. If the reference names no kind, a Job comes before other kinds.

        Raises
        ------
        ArchiveTooNew
        ArchiveError
        """
        has_whole_kind = bool(ref.kind) and (not ref.is_custom or "." in ref.kind)
        prefix = f"{folder(ref)}/" if has_whole_kind else f"{quote(ref.namespace, safe='')}/"
        below, unusable = self._below(prefix)
        for name, reason in unusable.items():
            if isinstance(reason, ArchiveTooNew) and name.split("/")[2] == quote(ref.name, safe=""):
                raise reason
        matches = [
            h
            for h in below
            if h.info.ref.name == ref.name and ref.allows_kind(h.info.ref.kind) and cluster in (None, h.info.cluster)
        ]
        matches.sort(key=lambda h: (h.info.ref.kind == "job", h.info.id), reverse=True)
        return matches[0] if matches else None

    def by_id(self, recording: int) -> ArchivedRecording | None:
        """Return one recording.

        Raises
        ------
        ArchiveTooNew
        ArchiveError
        """
        for archived in list(self._known.values()):
            if archived.info.id == recording:
                return archived
        below, unusable = self._below("")
        for name, reason in unusable.items():
            if isinstance(reason, ArchiveTooNew) and name.endswith(f"/{recording}{_MANIFEST}"):
                raise reason
        return next((h for h in below if h.info.id == recording), None)

    def put(
        self,
        store: Readable,
        recording: int,
        progress: Callable[[int], object] = int,
        *,
        overwrite: bool = False,
    ) -> ArchivedRecording:
        """Archive a completed recording; do nothing if it is archived already. Can be repeated at any time.

        Parameters
        ----------
        store : Readable
        recording : int
        progress : callable, optional
            Called with the number of rows of each piece.
        overwrite : bool, optional
            Write it again even if it is archived already.

        Raises
        ------
        ArchiveError
            Archiving failed; the recording stays in the store.
        CursorNotHeld, StoreError, MissingExtra
        """
        info = require_info(store, recording)
        name = f"{folder(info.ref)}/{recording}"
        if not overwrite:
            # A manifest that a crash cut off is written again.
            with contextlib.suppress(ArchiveNotFound, ArchiveDamaged):
                return self._load(name + _MANIFEST)
        about = FileMetadata.from_store(store, recording)
        encoders: list[ParquetEncoder] = []

        def encode() -> ParquetEncoder:
            rows = sort_pieces(read_rows(store, recording))
            encoders.append(ParquetEncoder(rows, about, progress))
            return encoders[-1]

        # The file is uploaded while it is written, so that no disk has to hold it. It appears when its last byte is
        # there.
        self.objects.put(f"{name}.parquet", encode)
        written = encoders[-1].written
        assert written is not None
        self.objects.put(name + _MANIFEST, orjson.dumps(_manifest(about, written, f"{recording}.parquet")))
        if self.objects.folder is None and manifest_cache.should_update(recording):
            with contextlib.suppress(ArchiveError):  # a later recording will retry
                self.refresh_manifest_cache(info.ref.namespace)
        return self._load(name + _MANIFEST)

    def stored(self, namespace: str = "") -> dict[int, tuple[TaskRef, dict[str, int]]]:
        """Return all recordings of which the archive has any object, also those whose manifest is missing or unusable.

        Returns
        -------
        dict
            By recording: its task, and its objects with their sizes in bytes, the manifest first.

        Raises
        ------
        ArchiveError
        """
        return self._stored(f"{quote(namespace, safe='')}/" if namespace else "")

    def objects_of(self, ref: TaskRef, recording: int) -> dict[str, int]:
        """Return the objects of one recording with their sizes in bytes, the manifest first.

        Raises
        ------
        ArchiveError
        """
        return self._stored(f"{folder(ref)}/").get(recording, (ref, {}))[1]

    def _stored(self, prefix: str) -> dict[int, tuple[TaskRef, dict[str, int]]]:
        recordings: dict[int, tuple[TaskRef, dict[str, int]]] = {}
        for name, size in sorted(self.objects.sizes(prefix).items()):
            match = _OBJECT.fullmatch(name)
            if match:
                ref = TaskRef(*map(unquote, match.group(1, 2, 3)))
                recordings.setdefault(int(match[4]), (ref, {}))[1][name] = size
        return recordings

    def too_new(self, recording: int) -> ArchiveTooNew | None:
        """Return the reason if the manifest that was listed last is of a newer version."""
        return next(
            (
                reason
                for name, reason in self._unusable.items()
                if isinstance(reason, ArchiveTooNew) and name.endswith(f"/{recording}{_MANIFEST}")
            ),
            None,
        )

    def remove(self, name: str) -> None:
        """Delete an object of a recording, and forget what is known of it.

        Raises
        ------
        ArchiveError
        """
        self.objects.delete(name)
        self._forget(name)

    def forget(self, recording: int) -> None:
        """Forget a recording whose objects have been removed by another process. If they are there, it is read again."""
        for name, known in list(self._known.items()):
            if known.info.id == recording:
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self._tags.pop(name, None)

    def has_manifest_cache(self, namespace: str) -> bool:
        """Return whether one object holds copies of the manifests of a namespace.

        Raises
        ------
        ArchiveError
        """
        try:
            self.objects.size(f"{quote(namespace, safe='')}/{manifest_cache.NAME}")
        except ArchiveNotFound:
            return False
        return True

    def refresh_manifest_cache(self, namespace: str) -> None:
        """Write the manifests of a namespace into one object, which makes listing fast. Without any, delete the object.

        Raises
        ------
        ArchiveError
        """
        folder_ = quote(namespace, safe="")
        listed = {name: tag for name, tag in self.objects.list_objects(f"{folder_}/") if name.endswith(_MANIFEST)}
        old = manifest_cache.load(self.objects, folder_)
        manifests = {name: old[name] for name, tag in listed.items() if name in old and old[name][0] == tag}
        new = [name for name in listed if name not in manifests]
        manifests |= {name: (listed[name], data) for name, data in self._fetched(new).items()}
        if not manifests:
            self.objects.delete(f"{folder_}/{manifest_cache.NAME}")
            return
        manifest_cache.save(self.objects, folder_, manifests)

    def _below(self, prefix: str) -> tuple[list[ArchivedRecording], dict[str, ArchiveTooNew | ArchiveDamaged]]:
        """Return the usable recordings below a prefix, newest first, and for each unusable manifest the reason."""
        listed = dict(self.objects.list_objects(prefix))
        names = [name for name in listed if name.endswith(_MANIFEST)]
        new = [name for name in names if self._tags.get(name) != listed[name]]
        if len(new) > _FEW:
            for folder_ in {name.partition("/")[0] for name in new}:
                if f"{folder_}/{manifest_cache.NAME}" in listed:
                    cached = manifest_cache.load(self.objects, folder_)
                    for name in [name for name in new if name in cached and cached[name][0] == listed[name]]:
                        self._remember(name, cached[name][1], listed[name])
            new = [name for name in new if self._tags.get(name) != listed[name]]
        for name, data in self._fetched(new).items():
            self._remember(name, data, listed[name])
        usable = sorted((self._known[n] for n in names if n in self._known), key=lambda h: h.info.id, reverse=True)
        unusable = {name: self._unusable[name] for name in names if name in self._unusable}
        for reason in [*unusable.values()][:_NAMED]:
            _log.warning("%s; it is left out", reason.message)
        if len(unusable) > _NAMED:
            _log.warning("%d more manifests of %s are left out", len(unusable) - _NAMED, self.objects.url)
        return usable, unusable

    def _fetched(self, names: list[str]) -> dict[str, bytes]:
        """Fetch manifests, except for the ones that were removed since they were listed."""

        def fetch(name: str) -> bytes | None:
            try:
                return self.objects.get(name)
            except ArchiveNotFound:
                return None

        with ThreadPoolExecutor(_CONCURRENT, "cortex-manifests") as pool:
            return {name: data for name, data in zip(names, pool.map(fetch, names), strict=True) if data is not None}

    def _load(self, name: str) -> ArchivedRecording:
        self._remember(name, self.objects.get(name))
        if name in self._unusable:
            raise self._unusable[name]
        return self._known[name]

    def _remember(self, name: str, data: bytes, tag: str = "") -> None:
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
            recording = ArchivedRecording(file, doc)
            _ = recording.info, recording.complete  # parsed now, so that a later reader does not fail
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{self.objects.path(name)} is not the manifest of an archived task, or is cut off"
            raise ArchiveDamaged(reason) from error
        return recording


def folder(ref: TaskRef) -> str:
    """Return the folder of a task's files.

    Examples
    --------
    >>> from cortex_jupyter.model import TaskRef
    >>> folder(TaskRef("ml", "selector", "app=x,tier in (a)"))
    'ml/selector/app%3Dx%2Ctier%20in%20%28a%29'
    """
    return "/".join(quote(part, safe="") for part in (ref.namespace, ref.kind, ref.name))


def _manifest(about: FileMetadata, written: WrittenFile, file: str) -> dict[str, Any]:
    """Return a manifest: what a list of tasks or a filter needs without opening the file."""
    info: RecordingInfo = about.info
    return asdict(info) | {
        "version": layout.VERSION,
        "file": file,
        "size": written.size,
        "footer": written.footer,
        "first": about.complete.first,
        "last": about.complete.last,
        "levels": written.levels,
        "complete": about.statement,
    }
