"""`cortex-jupyter store`: the settings of a store, for all its users; its legal holds; its backup."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.deletion import RecordingFilter, find_recordings, is_meant
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import select_archive
from cortex_jupyter.cli.administration import AuditTrail, ClusterScope, user_name
from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import BadQuery, StoreError, TaskNotFound
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store import path_of
from cortex_jupyter.store.deletion import Hold
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.quotas import read_quotas
from cortex_jupyter.store.settings import (
    lock_settings,
    read_lock,
    read_origins,
    read_quotas_origin,
    read_settings,
    write_quota,
    write_settings,
)
from cortex_jupyter.telemetry.logs import size_text

if TYPE_CHECKING:
    import argparse

    from cortex_jupyter.archive.store import ArchiveStore
    from cortex_jupyter.store import Store


def run(options: argparse.Namespace) -> int:
    """Show or change the settings of a store, hold recordings, or back the store up or restore it.

    Returns
    -------
    int
        1 if a recording was not held or released.

    Raises
    ------
    BadQuery, TaskNotFound, AuditError, StoreError, ArchiveError, ClusterError
    """
    with contextlib.closing(open_store(options.store)) as store:
        if options.action in ("hold", "release"):
            return _hold(store, options)
        if options.action in ("backup", "restore"):
            _copy(store, options)
            return 0
        if options.action == "set":
            pairs = [text.partition("=") for text in options.settings]
            for name, separator, _ in pairs:
                if not separator:
                    raise BadQuery(f"cannot set {name!r}: there is no value", "write NAME=VALUE, such as max-age=30d")
            _set(store, {name: value for name, _, value in pairs}, options.namespace)
        elif options.action == "lock":
            lock_settings(store, f"{user_name()} with `cortex-jupyter store lock`", locked=not options.off)
        settings, origins, lock = read_settings(store), read_origins(store), read_lock(store)
        quotas, quotas_origin = read_quotas(store).named, read_quotas_origin(store)
        holds = store.holds()
    if options.action == "show" and options.output == "json":
        namespaces = {
            name: dict(part.split("=", 1) for part in str(quota).split()) for name, quota in sorted(quotas.items())
        }
        documents = [{"recording": id_} | asdict(hold) for id_, hold in holds.items()]
        print(orjson.dumps(settings | {"namespaces": namespaces, "holds": documents}).decode())
        return 0
    for name, value in settings.items():
        print(f"{name:<15} {value or 'not set'}")
    for name, quota in sorted(quotas.items()):
        print(f"{'namespace ' + name:<15} {quota}")
    for name, origin in origins.items():
        print(f"{name} was set {origin}")
    if quotas_origin:
        print(f"the quotas of namespaces were changed {quotas_origin}")
    print(f"locked {lock}" if lock else "not locked")
    for hold in holds.values():
        print(f"under a legal hold: {hold}")
    return 0


def _hold(store: Store, options: argparse.Namespace) -> int:
    """Set a legal hold on all recordings of some tasks, in the store and the archive, or release them."""
    is_hold = options.action == "hold"
    scope = ClusterScope.of(options)
    refs, archive = scope.refs(options), select_archive(store)
    audit = AuditTrail(f"cortex-jupyter store {options.action}")
    holds = (
        _new_holds(store, scope, refs, archive, audit.user, options.reason)
        if is_hold
        else _present_holds(store, scope, refs)
    )
    tasks = {id_: TaskRef.parse(hold.task) for id_, hold in holds.items()}
    for ref in refs:
        if not any(is_meant(ref, task) for task in tasks.values()):
            raise TaskNotFound(f"{'nothing is recorded of' if is_hold else 'there is no legal hold on'} {ref.key}")
    namespaces = {task.namespace for task in tasks.values()}
    missing_rights = scope.missing_rights(store, namespaces, archive.url if archive else "")
    code = 0
    for id_, hold in holds.items():
        if error := missing_rights.get(tasks[id_].namespace):
            audit.write("refused", hold.task, id_, outcome=error.code)
            print(f"{hold.task}: {error.message}\n  hint: {error.hint}", file=sys.stderr)
            code = 1
            continue
        audit.write(options.action, hold.task, id_, reason=hold.reason)  # if it fails, nothing is changed
        if store.set_hold(id_, hold if is_hold else None):
            print(f"{hold.task} (recording {id_}): {'held' if is_hold else 'released'}")
        else:
            print(f"{hold.task} (recording {id_}): it was deleted meanwhile", file=sys.stderr)
            code = 1
    return code


def _new_holds(
    store: Store, scope: ClusterScope, refs: list[TaskRef], archive: ArchiveStore | None, user: str, reason: str
) -> dict[int, Hold]:
    catalog, now = Catalog(ObjectStore(archive.url)) if archive else None, time.time()
    recording_filter = RecordingFilter(refs, cluster=scope.id)
    recordings = find_recordings(store, catalog, recording_filter, user, now)
    return {
        each.id: Hold(each.ref.key, each.cluster, user, now, reason)
        for each in recordings
        if not each.is_identified or recording_filter.matches(each)
    }


def _present_holds(store: Store, scope: ClusterScope, refs: list[TaskRef]) -> dict[int, Hold]:
    return {
        id_: hold
        for id_, hold in store.holds().items()
        if any(is_meant(ref, TaskRef.parse(hold.task)) for ref in refs)
        and (scope.id is None or hold.cluster in ("", scope.id))
    }


def _set(store: Store, changes: dict[str, str], namespace: str) -> None:
    if namespace:
        write_quota(store, namespace, changes, f"{user_name()} with `cortex-jupyter store set --namespace {namespace}`")
        return
    before = read_origins(store)
    write_settings(store, changes, f"{user_name()} with `cortex-jupyter store set`")
    for name in changes:
        if name in before and before[name].by.startswith("a collector"):
            print_status(
                f"{name} was set {before[name]}; it sets it again when it starts: change it there too, or lock the settings"
            )


def _copy(store: Store, options: argparse.Namespace) -> None:
    if path_of(store.url) is None:
        raise StoreError(
            f"cannot copy {store.url} to a file or back",
            "a Valkey server backs itself up: with BGSAVE, or by copying its `appendonlydir`; see docs/how-to/backup.md",
        )
    from cortex_jupyter.store.sqlite.backup import restore_backup, write_backup
    from cortex_jupyter.store.sqlite.store import SqliteStore

    assert isinstance(store, SqliteStore)
    file = Path(options.file).expanduser().absolute()
    if options.action == "backup":
        number = write_backup(store, file)
        print(f"{file}: {number} recordings, {size_text(file.stat().st_size)}")
    else:
        restore_backup(store, file, replace=options.replace)
        print(f"{store.path}: {len(store.recordings())} recordings, as in {file}")
