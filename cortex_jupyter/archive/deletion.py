"""Find recordings in a store and its archive by task, namespace and age, and delete them in both.

First the store removes the recording and notes the deletion in one transaction; then the archive's objects go, the
manifest before the file, so no reader takes what is left for a whole recording. Each step can be repeated.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.kinds import ends_by_itself
from cortex_jupyter.errors import AmbiguousTask, CursorNotHeld
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.store.deletion import Deletion
from cortex_jupyter.store.ids import time_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cortex_jupyter.archive.catalog import Catalog
    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.store import RecordingInfo, Store

_SECOND: Final = 1e9


@dataclass(frozen=True, slots=True)
class RecordingFilter:
    """Which recordings a command means: all conditions that are set have to hold.

    Parameters
    ----------
    refs : sequence of TaskRef
        The tasks; empty for all.
    namespace : str
        Empty for all.
    before : float or None
        Only tasks that ended before this time, in epoch seconds.
    cluster : str or None
        The cluster's id; None for all clusters.
    """

    refs: Sequence[TaskRef] = ()
    namespace: str = ""
    before: float | None = None
    cluster: str | None = None

    @property
    def namespaces(self) -> list[str]:
        """The namespaces to look into; "" for all."""
        return sorted({ref.namespace for ref in self.refs}) or [self.namespace]

    def names(self, ref: TaskRef) -> bool:
        """Return whether a task is meant, whenever it ended and in whichever cluster."""
        if self.refs:
            return any(is_meant(named, ref) for named in self.refs)
        return self.namespace in ("", ref.namespace)

    def is_of_cluster(self, deletion: Deletion) -> bool:
        """Return whether a recording is of the cluster. An unreadable manifest may be of any, so it is of none."""
        return self.cluster in (None, deletion.cluster)

    def is_old(self, deletion: Deletion) -> bool:
        """Return whether a task ended early enough. Without a readable manifest its end is not known."""
        return self.before is None or (deletion.is_identified and deletion.ended < self.before)

    def matches(self, deletion: Deletion) -> bool:
        """Return whether a recording is meant."""
        return self.names(deletion.ref) and self.is_of_cluster(deletion) and self.is_old(deletion)


def is_meant(named: TaskRef, ref: TaskRef) -> bool:
    """Return whether a reference, which may leave out the kind, means a task."""
    return named.namespace == ref.namespace and named.name == ref.name and named.allows_kind(ref.kind)


def find_recordings(
    store: Store, catalog: Catalog | None, recording_filter: RecordingFilter, by: str, at: float
) -> list[Deletion]:
    """Return recordings as deletions to be made. The task that ended first comes first.

    Parameters
    ----------
    store : Store
    catalog : Catalog or None
        The archive to look into too.
    recording_filter : RecordingFilter
        Only its names count here: young recordings and those of other clusters are returned too.
    by : str
        Who asks.
    at : float
        When, in epoch seconds.

    Raises
    ------
    AmbiguousTask
        A bare name means tasks of several kinds.
    StoreError, ArchiveError
    """
    recordings: dict[int, Deletion] = {}
    for namespace in recording_filter.namespaces:
        archived = {} if catalog is None else {each.info.id: each for each in catalog.all(namespace)}
        stored = {} if catalog is None else catalog.stored(namespace)
        infos = {info.id: info for info in store.recordings(namespace)}
        url = "" if catalog is None else catalog.objects.url
        for id_, info in infos.items():
            if recording_filter.names(info.ref):
                objects = stored.pop(id_, (None, {}))[1]
                with contextlib.suppress(CursorNotHeld):  # it has just left
                    recordings[id_] = replace(_in_store(store, info), by=by, at=at, archive=url, objects=objects)
        for id_, (ref, objects) in stored.items():
            if recording_filter.names(ref):
                deletion = _in_archive(id_, ref, archived.get(id_), sum(objects.values()))
                recordings[id_] = replace(deletion, by=by, at=at, archive=url, objects=objects)
    _check_kinds(recording_filter, list(recordings.values()))
    return sorted(recordings.values(), key=lambda deletion: (deletion.ended, deletion.id))


def interrupted_deletions(store: Store, recording_filter: RecordingFilter) -> dict[int, Deletion]:
    """Return the deletions that were begun and are not complete, or that no receipt names, by recording."""
    return {each.id: each for each in store.deletions() if each.is_open and recording_filter.matches(each)}


def delete_recording(
    store: Store, catalog: Catalog | None, deletion: Deletion, *, ignore_lease: bool = False
) -> Deletion:
    """Delete a recording from the store and, if there is a catalog, from the archive.

    Afterwards `Store.purge` deletes its lines, and `delete_cached_manifests` what the archive's lists have of it.

    Parameters
    ----------
    store : Store
    catalog : Catalog or None
    deletion : Deletion
    ignore_lease : bool, optional
        As in `DeletionStore.delete`.

    Returns
    -------
    Deletion
        With the objects that were archived since it was planned.

    Raises
    ------
    LegalHold, StillRecorded
        Nothing was deleted.
    StoreError, ArchiveError
        Repeat it.
    """
    store.delete(deletion, ignore_lease=ignore_lease)
    if catalog is not None:
        # Whoever archives it from now on finds the deletion, and removes the objects.
        deletion = replace(deletion, objects=catalog.objects_of(deletion.ref, deletion.id) | deletion.objects)
        for name in sorted(deletion.objects):  # the manifest first
            catalog.remove(name)
    return deletion


def delete_cached_manifests(catalog: Catalog, namespaces: Iterable[str]) -> None:
    """Delete the copies of deleted manifests from the lists of these namespaces.

    Raises
    ------
    ArchiveError
    """
    for namespace in namespaces:
        if catalog.has_manifest_cache(namespace):
            catalog.refresh_manifest_cache(namespace)


def _in_store(store: Store, info: RecordingInfo) -> Deletion:
    complete = store.complete(info.id)
    return replace(
        _of(info, complete.last),
        records=complete.records,
        size=store.recording_bytes(info.id),
        first=complete.first,
        last=complete.last,
    )


def _in_archive(id_: int, ref: TaskRef, archived: ArchivedRecording | None, size: int) -> Deletion:
    if archived is None:  # the manifest is missing or unusable
        ended = time_of(id_) / _SECOND
        unknown = Deletion(id_, "", ref.namespace, ref.kind, ref.name, "", "", 0.0)
        return replace(unknown, ended=ended, size=size, blocks=False)  # without a UID no recorder would know it again
    complete = archived.complete
    return replace(
        _of(archived.info, complete.last),
        records=complete.records,
        size=size,
        first=complete.first,
        last=complete.last,
    )


def _of(info: RecordingInfo, last: int | None) -> Deletion:
    ref = info.ref
    ended = parse_rfc3339(info.finished) if info.finished else last or time_of(info.id)
    return Deletion(
        info.id,
        info.cluster,
        ref.namespace,
        ref.kind,
        ref.name,
        info.uid,
        "",
        0.0,
        ended=ended / _SECOND,
        blocks=ends_by_itself(ref.kind),
    )


def _check_kinds(recording_filter: RecordingFilter, recordings: list[Deletion]) -> None:
    for named in recording_filter.refs:
        keys = sorted(
            {each.ref.key for each in recordings if is_meant(named, each.ref) and recording_filter.is_of_cluster(each)}
        )
        if len(keys) > 1:
            raise AmbiguousTask(f"{named.key} means several tasks: {', '.join(keys)}", f"name the kind: {keys[0]}")
