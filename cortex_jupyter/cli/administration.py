"""Users, rights and audit records of the commands for administrators."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CortexError, KindNotFound, NoCluster, NotAllowed, NotFound
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.connection import is_shared
from cortex_jupyter.telemetry.audit import AuditLog, open_audit_log

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import Store
    from cortex_jupyter.store.deletion import Deletion

_SERVICE: Final = "cortex-jupyter"
_READS_ONLY: Final = (
    "use the store's user `recorder` (CORTEX_STORE=valkey://recorder@HOST, and its password in CORTEX_STORE_PASSWORD)"
)
_NO_CLUSTER: Final = (
    "correct the kubeconfig, which says whose recordings are meant and who may; or, for recordings of clusters that exist no "
    "more, set KUBECONFIG=/dev/null"
)


def user_name() -> str:
    """Return the user and host of this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may have a UID without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


class TaskState(Enum):
    """What a cluster says about a task."""

    RUNNING = "running"
    ENDED = "ended"
    #: The cluster has no such task, or another one of its name.
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ClusterScope:
    """The cluster whose recordings a command means.

    Parameters
    ----------
    id : str or None
        None for the recordings of all clusters.
    namespace : str
        The namespace of a task that names none.
    kubeconfig, context : str or None
    has_cluster : bool
        Whether there is a cluster to ask.
    """

    id: str | None
    namespace: str
    kubeconfig: str | None
    context: str | None
    has_cluster: bool

    @classmethod
    def of(cls, options: argparse.Namespace) -> ClusterScope:
        """Read the cluster's configuration, without a request to it.

        Only `KUBECONFIG=/dev/null`, or nothing that names a cluster, means that there is none. A file that is missing may be
        misspelt.

        Raises
        ------
        NoCluster
            A cluster is meant, and its configuration cannot be used.
        """
        return asyncio.run(cls._read(options.kubeconfig, options.context))

    @classmethod
    async def _read(cls, kubeconfig: str | None, context: str | None) -> ClusterScope:
        from cortex_jupyter.cluster.configuration import is_configured, kubeconfig_of  # heavy
        from cortex_jupyter.cluster.session import Cluster

        name, path = os.environ.get("CORTEX_CLUSTER") or None, kubeconfig_of(kubeconfig)
        is_named = bool(kubeconfig or name or os.environ.get("KUBECONFIG")) or await asyncio.to_thread(
            is_configured, path
        )
        if not context and (path == os.devnull or not is_named):
            namespace = os.environ.get("CORTEX_NAMESPACE") or "default"
            return cls(name, namespace, kubeconfig, context, has_cluster=False)
        try:
            cluster = await Cluster.open(kubeconfig, context)
        except NoCluster as error:
            raise NoCluster(error.message, _NO_CLUSTER) from error
        try:
            return cls(cluster.id, cluster.namespace, kubeconfig, context, has_cluster=True)
        finally:
            await cluster.close()

    def refs(self, options: argparse.Namespace) -> list[TaskRef]:
        """Return the tasks that a command line names.

        Raises
        ------
        BadQuery
        """
        return [TaskRef.parse(text, options.namespace or self.namespace) for text in options.tasks]

    def missing_rights(self, store: Store, namespaces: Iterable[str], archive: str) -> dict[str, NotAllowed]:
        """Return the namespaces whose recordings may not be deleted or held, each with the error.

        As for readers, the cluster is asked if the store or the archive is shared. Without a cluster the credentials
        for store and archive decide.

        Parameters
        ----------
        store : Store
        namespaces : iterable of str
        archive : str
            Its URL, "" for none.

        Raises
        ------
        ClusterError, NotFound, NotAllowed
            The cluster cannot be asked.
        """
        if store.is_reader():
            error = NotAllowed(
                "this user of the store may only read: it can neither delete nor hold recordings", _READS_ONLY
            )
            return dict.fromkeys(namespaces, error)
        if not self.has_cluster or not any(map(is_shared, (store.url, archive))):
            return {}
        return asyncio.run(self._ask(namespaces))

    def states(self, deletions: Sequence[Deletion]) -> dict[int, TaskState | CortexError]:
        """Return what the cluster says about the tasks of recordings, or the error if it does not say it.

        Without a cluster nothing is known.
        """
        return {} if not self.has_cluster or not deletions else asyncio.run(self._states(deletions))

    async def _states(self, deletions: Sequence[Deletion]) -> dict[int, TaskState | CortexError]:
        from cortex_jupyter.cluster.session import Cluster

        states: dict[int, TaskState | CortexError] = {}
        cluster = await Cluster.open(self.kubeconfig, self.context)
        try:
            for deletion in deletions:
                try:
                    states[deletion.id] = await _state(cluster, deletion)
                except CortexError as error:
                    states[deletion.id] = error
        finally:
            await cluster.close()
        return states

    async def _ask(self, namespaces: Iterable[str]) -> dict[str, NotAllowed]:
        from cortex_jupyter.cluster.access import missing_deletion_rights
        from cortex_jupyter.cluster.session import Cluster

        cluster = await Cluster.open(self.kubeconfig, self.context)
        try:
            return await missing_deletion_rights(cluster, namespaces)
        finally:
            await cluster.close()


async def _state(cluster: Cluster, deletion: Deletion) -> TaskState:
    """Return what the cluster says about the task of a recording.

    Raises
    ------
    ClusterError, NotAllowed, KindNotFound
        It does not say it.
    """
    from cortex_jupyter.cluster.tasks import pods_of, resolve
    from cortex_jupyter.cluster.workloads import state_of

    try:
        workload = await resolve(cluster, deletion.ref)
        if not workload.is_of(deletion.uid):
            return TaskState.GONE
        return TaskState.ENDED if state_of(workload, await pods_of(cluster, workload)).over else TaskState.RUNNING
    except KindNotFound:
        raise
    except NotFound:
        return TaskState.GONE


@dataclass(slots=True)
class AuditTrail:
    """The records of one command in the audit log of `CORTEX_AUDIT_LOG`, if it is set.

    Parameters
    ----------
    way : str
        The command, such as `cortex-jupyter delete`.

    Raises
    ------
    AuditError
        The audit log cannot be opened.
    """

    way: str
    user: str = field(default_factory=user_name)
    _log: AuditLog | None = field(init=False)
    _request: str = field(init=False, default_factory=lambda: uuid.uuid4().hex[:16])

    def __post_init__(self) -> None:
        target = os.environ.get("CORTEX_AUDIT_LOG", "")
        self._log = open_audit_log(target, _SERVICE) if target else None

    def write(self, event: str, task: str, recording: int, **fields: Any) -> None:
        """Write a record.

        Raises
        ------
        AuditError
        """
        if self._log is None:
            return
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "audit": "cortex-jupyter",
            "event": event,
            "request": self._request,
            "user": self.user,
            "task": task,
            "recording": recording,
            "way": self.way,
            "from": socket.gethostname(),
        }
        self._log.write(record | {name: value for name, value in fields.items() if value is not None})
