"""`cortex-jupyter delete`: delete recordings from the store and the archive, with a receipt."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter._version import __version__
from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.deletion import (
    RecordingFilter,
    delete_cached_manifests,
    delete_recording,
    find_recordings,
    interrupted_deletions,
    is_meant,
)
from cortex_jupyter.archive.objects import ObjectStore, folder_of
from cortex_jupyter.archive.store import select_archive
from cortex_jupyter.cli.administration import AuditTrail, ClusterScope, TaskState
from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import AuditError, BadQuery, CortexError, KindNotFound, StoreError, TaskNotFound
from cortex_jupyter.model import rfc3339
from cortex_jupyter.query.instants import instant
from cortex_jupyter.store.deletion import legal_hold_error, still_recorded_error, still_running_error
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.url import without_password
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    import argparse

    from cortex_jupyter.errors import NotAllowed
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.store import Store
    from cortex_jupyter.store.deletion import Deletion

_WAY: Final = "cortex-jupyter delete"
_NS: Final = 1_000_000_000
#: A recorder that wrote a line this recently (seconds) records the task, whatever the cluster says: it may be another cluster.
_RECENT_S: Final = 60.0


def run(options: argparse.Namespace) -> int:
    """Delete recordings. Return 1 if one that was meant is still there, or the question was answered with no.

    Raises
    ------
    BadQuery, TaskNotFound, AmbiguousTask, AuditError, StoreError, ArchiveError, ClusterError
    """
    if not (options.tasks or options.namespace or options.before):
        raise BadQuery("nothing is selected", "name tasks, or give --namespace NS or --before TIME")
    scope = ClusterScope.of(options)
    now = time.time()
    before = instant("before", options.before, int(now * _NS)) if options.before else None
    recording_filter = RecordingFilter(
        scope.refs(options),
        "" if options.tasks else options.namespace or "",
        None if before is None else before / _NS,
        scope.id,
    )
    with contextlib.closing(open_store(options.store)) as store:
        audit = AuditTrail(_WAY)
        plan = _plan(store, options, recording_filter, audit.user, now)
        concerned = [*plan.recordings, *plan.deleted_earlier]
        missing_rights = scope.missing_rights(store, {each.namespace for each in concerned}, plan.archive)
        plan.refuse(store, scope, missing_rights)
        if options.record_again and not options.dry_run:
            _allow_again(store, plan, missing_rights)
        if not (plan.recordings or plan.left_out):
            return 0
        if not options.dry_run and not _is_confirmed(plan, options):
            print_status("nothing was deleted")
            return 1
        receipt = Receipt(store.url, plan, audit.user, options)
        _execute(store, plan, audit, receipt)
    return 0 if receipt.is_complete else 1


@dataclass(slots=True)
class Plan:
    """A plan of a deletion.

    Parameters
    ----------
    archive : str
        The URL of the archive if it is deleted from too.
    recordings : list of Deletion
    deleted_earlier : list of Deletion
        What the command line means, and was deleted before.
    left_out : list of Deletion
        What it would mean too, but for the cluster, which may be unknown.
    cluster : str or None
        The cluster whose recordings are deleted; None for all.
    is_dry : bool
        Whether nothing is deleted.

    Attributes
    ----------
    refusals : dict
        The error of each recording that must not be deleted.
    stale_leases : set of int
        The recordings with a recorder although their task has left the cluster. A store that was restored names recorders
        that have long finished their tasks.
    """

    archive: str
    recordings: list[Deletion]
    deleted_earlier: list[Deletion]
    left_out: list[Deletion]
    cluster: str | None
    is_dry: bool
    refusals: dict[int, CortexError] = field(default_factory=dict)
    stale_leases: set[int] = field(default_factory=set)
    _catalogs: dict[str, Catalog] = field(default_factory=dict)

    def catalog(self, url: str) -> Catalog | None:
        """Return the catalog of an archive, None for none."""
        if url and url not in self._catalogs:
            self._catalogs[url] = Catalog(ObjectStore(url))
        return self._catalogs.get(url)

    def refuse(self, store: Store, scope: ClusterScope, missing_rights: dict[str, NotAllowed]) -> None:
        """Note what will be refused. The store checks holds and recorders again when it deletes."""
        holds = store.holds()
        holders = store.holders(each.id for each in self.recordings)  # of unfinished recordings
        unfinished: list[Deletion] = []
        catalog = self.catalog(self.archive)
        for each in self.recordings:
            too_new = None if catalog is None or each.is_identified else catalog.too_new(each.id)
            if each.namespace in missing_rights:
                self.refusals[each.id] = missing_rights[each.namespace]
            elif each.id in holds:
                self.refusals[each.id] = legal_hold_error(each.ref, holds[each.id])
            elif too_new is not None:
                self.refusals[each.id] = too_new
            elif holders.get(each.id) or (each.id in holders and each.blocks):
                unfinished.append(each)
        states = scope.states(unfinished)
        for each in unfinished:
            state = states.get(each.id)
            if holders[each.id]:
                if state is TaskState.GONE and (each.last or 0) / _NS < each.at - _RECENT_S:
                    self.stale_leases.add(each.id)
                else:
                    self.refusals[each.id] = still_recorded_error()
            elif state is TaskState.RUNNING:
                self.refusals[each.id] = still_running_error()
            elif isinstance(state, CortexError) and not isinstance(state, KindNotFound):
                self.refusals[each.id] = state


def _plan(store: Store, options: argparse.Namespace, recording_filter: RecordingFilter, user: str, now: float) -> Plan:
    """Find what is to be deleted. Print a message if it is nothing."""
    configured = select_archive(store)
    if options.archive and configured is None:
        raise BadQuery("no archive is set", "leave out --archive, or set CORTEX_ARCHIVE")
    url = configured.url if options.archive and configured else ""
    plan = Plan(url, [], [], [], recording_filter.cluster, options.dry_run)
    named = find_recordings(store, plan.catalog(url), recording_filter, user, now)
    ours = [each for each in named if recording_filter.is_of_cluster(each)]
    begun = interrupted_deletions(store, recording_filter)
    plan.left_out = [
        each
        for each in named
        if recording_filter.is_old(each) and not recording_filter.is_of_cluster(each) and each.id not in begun
    ]
    for cluster, count in sorted(Counter(each.cluster for each in plan.left_out).items()):
        verb, name = "is" if count == 1 else "are", f"CORTEX_CLUSTER={shlex.quote(cluster)}"
        # With the kubeconfig of another cluster, a task that runs would seem to be gone.
        todo = (
            f"the kubeconfig of that cluster and {name}"
            if cluster and store.recorders(cluster)
            else (f"{name} (no recorder serves that name), or " if cluster else "")
            + "for all clusters with KUBECONFIG=/dev/null CORTEX_CLUSTER="
        )
        of = f"of cluster {cluster}" if cluster else "of the archive, whose manifests are missing or cannot be read,"
        left_out = f"{format_count(count, 'recording')} {of} {verb} left out"
        print_status(f"{left_out}; to delete what is left out, run the command with {todo}")
    recordings = {each.id: each for each in ours if recording_filter.is_old(each)}
    found = {each.id: each.objects for each in named}
    for id_, interrupted in begun.items():
        objects = interrupted.objects | found.get(id_, {})
        recordings[id_] = replace(interrupted, objects=objects, archive=interrupted.archive or url)
    plan.deleted_earlier = [each for each in store.deletions() if not each.is_open and recording_filter.matches(each)]
    for ref in recording_filter.refs:
        _explain_absence(ref, list(recordings.values()) + plan.left_out, ours, plan.deleted_earlier, options)
    if not (recordings or plan.left_out or recording_filter.refs):
        print_status("there are no such recordings; choose another namespace with -n, or a later time with --before")
    plan.recordings = [replace(each, blocks=each.blocks and not options.record_again) for each in recordings.values()]
    return plan


def _explain_absence(
    ref: TaskRef,
    selected: list[Deletion],
    recorded: list[Deletion],
    deleted: list[Deletion],
    options: argparse.Namespace,
) -> None:
    """Print why a named task stays, if it stays.

    Raises
    ------
    TaskNotFound
        Nothing was ever recorded of it. A name may be wrong, so nothing else is deleted either.
    """
    if any(is_meant(ref, each.ref) for each in selected):
        return
    if any(is_meant(ref, each.ref) for each in recorded):
        print_status(f"{ref.key} stays: it ended later than --before says, or its end is not known")
    elif of_task := [each for each in deleted if is_meant(ref, each.ref)]:
        print_status(of_task[-1].error(f"the recording of {ref.key}").message)
    else:
        hint = "`cortex-jupyter tasks` lists all tasks, and says which are recorded"
        raise TaskNotFound(
            f"nothing is recorded of {ref.key}",
            hint if options.archive else f"{hint}; --archive looks into the archive too",
        )


def _allow_again(store: Store, plan: Plan, missing_rights: dict[str, NotAllowed]) -> None:
    for deletion in plan.deleted_earlier:
        if deletion.namespace in missing_rights:
            raise missing_rights[deletion.namespace]
        if deletion.blocks:
            store.allow_again(deletion)
            print_status(f"{deletion.ref.key} may be recorded again")


def _is_confirmed(plan: Plan, options: argparse.Namespace) -> bool:
    """Ask before more than one recording is deleted.

    Raises
    ------
    BadQuery
        Standard input is no terminal.
    """
    recordings = [each for each in plan.recordings if each.id not in plan.refusals]
    if options.yes or len(recordings) < 2:
        return True
    namespaces = sorted({each.namespace for each in recordings})
    names = ", ".join(namespaces[:5]) + (f" and {len(namespaces) - 5} more" if len(namespaces) > 5 else "")
    question = f"delete {len(recordings)} recordings of {names} ({format_count(sum(each.records for each in recordings), 'line')})"
    if not sys.stdin.isatty():
        raise BadQuery(
            f"{question}: nobody can be asked, for standard input is no terminal",
            "look at it with --dry-run, then add --yes",
        )
    print(f"{question}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _execute(store: Store, plan: Plan, audit: AuditTrail, receipt: Receipt) -> None:
    done: list[Deletion] = []
    try:
        for deletion in plan.recordings:
            if error := plan.refusals.get(deletion.id):
                if not plan.is_dry:
                    audit.write("refused", deletion.ref.key, deletion.id, outcome=error.code)
                receipt.refuse(deletion, error)
            elif plan.is_dry:
                receipt.add(deletion, "would be deleted", _other_archive(store, deletion))
            elif _delete(store, plan, audit, receipt, deletion):
                done.append(deletion)
        if not plan.is_dry:
            for url in {each.archive for each in done} - {""}:
                catalog = plan.catalog(url)
                assert catalog is not None
                delete_cached_manifests(catalog, sorted({each.namespace for each in done if each.archive == url}))
            if done:
                receipt.remains = store.purge()
        receipt.is_finished = True
    finally:
        receipt.write()
    # Only now: whoever completes an interrupted deletion gets a receipt of all of it.
    store.close_deletions(done)


def _delete(store: Store, plan: Plan, audit: AuditTrail, receipt: Receipt, deletion: Deletion) -> bool:
    """Delete one recording; return whether it is gone. A failure does not stop the others, except that of the audit log."""
    key = deletion.ref.key
    audit.write("started", key, deletion.id)
    left_in = _other_archive(store, deletion)
    outcome = "complete"
    try:
        ignore_lease = deletion.id in plan.stale_leases
        deletion = delete_recording(store, plan.catalog(deletion.archive), deletion, ignore_lease=ignore_lease)
        receipt.add(deletion, "deleted", left_in)
    except StoreError as error:  # it would fail for the others too
        with contextlib.suppress(AuditError):  # the store's error says more
            audit.write("ended", key, deletion.id, outcome=error.code)
        raise
    except CortexError as error:
        outcome = error.code
        receipt.refuse(deletion, error)
    is_gone = outcome == "complete"
    size = {"lines": deletion.records, "bytes": deletion.size, "objects": len(deletion.objects)} if is_gone else {}
    try:
        audit.write("ended", key, deletion.id, outcome=outcome, **size)
    except AuditError as error:  # the first record is there; without the next one nothing more is deleted
        print_status(str(error))
    return is_gone


def _other_archive(store: Store, deletion: Deletion) -> str:
    """Return the archive that keeps a recording which is not deleted from there, "" if there is none."""
    url = store.setting(f"archived:{deletion.id}")
    return "" if deletion.archive and _place(url) == _place(deletion.archive) else url


def _place(url: str) -> Path | str:
    """Return an archive's place, which several spellings of a URL may name."""
    return folder_of(url) or url.rstrip("/")


class Receipt:
    """A document of what was deleted, and what was not and why. It has no text of a line.

    Parameters
    ----------
    store_url : str
    plan : Plan
    by : str
        Who deletes.
    options : argparse.Namespace
        Its `receipt` names a file, which must not exist; by default the receipt goes to standard output.

    Attributes
    ----------
    remains : str
        What may still hold some of the lines.
    is_finished : bool
        Whether the command went on to its end.

    Raises
    ------
    BadQuery
        The file exists, or cannot be written. Nothing has been deleted then.
    """

    def __init__(self, store_url: str, plan: Plan, by: str, options: argparse.Namespace) -> None:
        self._recordings: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []
        self.remains = ""
        self.is_finished = False
        self._left_out = [
            _row(each)
            | {
                "why": f"{_cluster_of(each)}; this command deletes recordings of cluster {plan.cluster}",
            }
            for each in plan.left_out
        ]
        self._head = {
            "receipt": _WAY,
            "version": __version__,
            "time": rfc3339(time.time_ns()),
            "by": by,
            "store": without_password(store_url),
            "archive": without_password(plan.archive) or None,
            "selection": {"tasks": options.tasks, "namespace": options.namespace, "before": options.before},
            "dry_run": plan.is_dry,
        }
        self._path = Path(options.receipt).expanduser().absolute() if options.receipt else None
        self._fd = -1 if self._path is None else _create(self._path)

    @property
    def is_complete(self) -> bool:
        """Whether all that was meant is gone."""
        is_elsewhere = any(row["archive"] and row["left_in"] for row in self._recordings)
        return self.is_finished and not (self._refused or self._left_out or is_elsewhere)

    def add(self, deletion: Deletion, outcome: str, left_in: str) -> None:
        """Add a recording that was deleted.

        Parameters
        ----------
        deletion : Deletion
        outcome : str
        left_in : str
            The archive that still has it.
        """
        row = _row(deletion) | {
            "outcome": outcome,
            "by": deletion.by,
            "at": rfc3339(int(deletion.at * _NS)),
            "archive": without_password(deletion.archive) or None,
            "objects": [{"name": name, "bytes": size} for name, size in deletion.objects.items()],
            "left_in": without_password(left_in) or None,
            "may_be_recorded_again": not deletion.blocks,
        }
        self._recordings.append(row)
        counts = [format_count(deletion.records, "line"), format_count(deletion.size, "byte")]
        counts += [format_count(len(deletion.objects), "object")] * bool(deletion.objects)
        left_in = without_password(left_in)
        how = f"delete it there with --archive and CORTEX_ARCHIVE={left_in}" if deletion.archive else ""
        note = f"; {left_in} still has it{f': {how}' if how else ', which --archive deletes too'}" if left_in else ""
        print_status(f"{deletion.ref.key} ({', '.join(counts)}): {outcome}{note}")

    def refuse(self, deletion: Deletion, error: CortexError) -> None:
        """Add a recording that was not deleted, or not completely."""
        self._refused.append(_row(deletion) | error.as_dict())
        print(
            f"{deletion.ref.key}: {error.message}" + (f"\n  hint: {error.hint}" if error.hint else ""), file=sys.stderr
        )

    def write(self) -> None:
        """Write the document."""
        document = self._head | {
            "finished": rfc3339(time.time_ns()),
            "complete": self.is_complete,
            "recordings": self._recordings,
            "refused": self._refused,
            "left_out": self._left_out,
            "remains": self.remains or None,
        }
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
        if self._path is None:
            print(text, end="", flush=True)
            return
        with os.fdopen(self._fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _row(deletion: Deletion) -> dict[str, Any]:
    first, last = ((None if at is None else rfc3339(at)) for at in (deletion.first, deletion.last))
    return {
        "task": deletion.ref.key,
        "recording": deletion.id,
        "uid": deletion.uid,
        "cluster": deletion.cluster,
        "records": deletion.records,
        "bytes": deletion.size,
        "from": first,
        "to": last,
    }


def _cluster_of(deletion: Deletion) -> str:
    if deletion.is_identified:
        return f"it is of cluster {deletion.cluster}"
    return "it has no manifest that can be read, so its cluster is not known"


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise BadQuery(
            f"cannot write the receipt {path}: {error.strerror}", "choose a new file in a folder that you may write to"
        ) from error
