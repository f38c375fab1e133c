"""Users, rights and audit records of the commands for administrators."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CortexError, NoCluster, NotAllowed, NotFound
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.connection import is_shared
from cortex_jupyter.store.deletion import still_running_error
from cortex_jupyter.telemetry.audit import AuditLog, open_audit_log

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from cortex_jupyter.store.deletion import Deletion

_SERVICE: Final = "cortex-jupyter"


def user_name() -> str:
    """Return the user and host of this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may have a UID without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class ClusterScope:
    """The cluster whose recordings a command means.

    Parameters
    ----------
    id : str or None
        None without a cluster: all recordings are meant.
    namespace : str
        The namespace of a task that names none.
    kubeconfig, context : str or None
    """

    id: str | None
    namespace: str
    kubeconfig: str | None
    context: str | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> ClusterScope:
        """Read the cluster's configuration, without a request to it."""
        return asyncio.run(cls._read(options.kubeconfig, options.context))

    @classmethod
    async def _read(cls, kubeconfig: str | None, context: str | None) -> ClusterScope:
        from cortex_jupyter.cluster.session import Cluster  # heavy

        try:
            cluster = await Cluster.open(kubeconfig, context)
        except NoCluster:
            return cls(None, os.environ.get("CORTEX_NAMESPACE") or "default", kubeconfig, context)
        try:
            return cls(cluster.id, cluster.namespace, kubeconfig, context)
        finally:
            await cluster.close()

    def refs(self, options: argparse.Namespace) -> list[TaskRef]:
        """Return the tasks that a command line names.

        Raises
        ------
        BadQuery
        """
        return [TaskRef.parse(text, options.namespace or self.namespace) for text in options.tasks]

    def missing_rights(self, namespaces: Iterable[str], urls: Sequence[str]) -> dict[str, NotAllowed]:
        """Return the namespaces whose recordings may not be deleted or held, each with the error.

        As for readers, the cluster is asked if the store or the archive is shared. Without a cluster the credentials
        for store and archive decide.

        Parameters
        ----------
        namespaces : iterable of str
        urls : sequence of str
            Of the store and the archive.

        Raises
        ------
        ClusterError, NotFound, NotAllowed
            The cluster cannot be asked.
        """
        if self.id is None or not any(map(is_shared, urls)):
            return {}
        return asyncio.run(self._ask(namespaces))

    def running(self, deletions: Iterable[Deletion]) -> dict[int, CortexError]:
        """Return which recordings without an end are of tasks that still run, or may still run, each with the error.

        Without a cluster none does.
        """
        return {} if self.id is None else asyncio.run(self._running(deletions))

    async def _running(self, deletions: Iterable[Deletion]) -> dict[int, CortexError]:
        from cortex_jupyter.cluster.session import Cluster
        from cortex_jupyter.cluster.tasks import pods_of, resolve
        from cortex_jupyter.cluster.workloads import state_of

        errors: dict[int, CortexError] = {}
        cluster = await Cluster.open(self.kubeconfig, self.context)
        try:
            for deletion in deletions:
                try:
                    workload = await resolve(cluster, deletion.ref)
                    if workload.is_of(deletion.uid) and not state_of(workload, await pods_of(cluster, workload)).over:
                        errors[deletion.id] = still_running_error()
                except NotFound:
                    pass  # it is gone
                except CortexError as error:
                    errors[deletion.id] = error
        finally:
            await cluster.close()
        return errors

    async def _ask(self, namespaces: Iterable[str]) -> dict[str, NotAllowed]:
        from cortex_jupyter.cluster.access import missing_deletion_rights
        from cortex_jupyter.cluster.session import Cluster

        cluster = await Cluster.open(self.kubeconfig, self.context)
        try:
            return await missing_deletion_rights(cluster, namespaces)
        finally:
            await cluster.close()


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
