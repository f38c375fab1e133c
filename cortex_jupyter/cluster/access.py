"""Whether Kubernetes lets someone read logs: it is asked, and its answer holds for some seconds.

A store or an archive that several people share knows nothing of their rights, so what it gives is bound to the right that
guards the same lines in the cluster: `get pods/log` in the task's namespace. A namespace that has been deleted keeps no
RoleBindings, so its tasks are open only to those who may read logs in every namespace, through a ClusterRoleBinding; that
somebody creates the name again changes nothing, where we may read when they did (`get namespaces`).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cortex_jupyter.cluster.workloads import COLLECTIONS
from cortex_jupyter.errors import NotAllowed, NotFound
from cortex_jupyter.model import parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.model import TaskRef

#: An answer holds so long, seconds: a right that is taken away ends reading not later.
HOLDS_S: Final = 10.0
#: That one of our own rights is missing holds for less: a log that waits for it goes on at once.
OWN_REFUSAL_HOLDS_S: Final = 1.0
_PATH: Final = "/apis/authorization.k8s.io/v1"
_READ_LOGS: Final = {"verb": "get", "resource": "pods", "subresource": "log"}
#: What recording takes once a task has been found, and how RBAC's users write it.
_RECORD: Final = {
    "get pods/log": _READ_LOGS,
    "list pods": {"verb": "list", "resource": "pods"},
    "watch pods": {"verb": "watch", "resource": "pods"},
}
#: What is shown beside a log, and the right that guards it in the cluster.
_BESIDE: Final = {
    "events": ("list events", {"verb": "list", "resource": "events"}),
    "pods": ("get pods", {"verb": "get", "resource": "pods"}),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Someone on whose behalf a service reads; Kubernetes knows them by this.

    Parameters
    ----------
    name : str
        The user name, as the API server's own authentication would give it.
    groups : tuple of str
    """

    name: str
    groups: tuple[str, ...] = ()


async def may(cluster: Cluster, attributes: Mapping[str, str], person: Person | None = None) -> bool:
    """Ask the cluster whether something may be done.

    Parameters
    ----------
    cluster : Cluster
    attributes : mapping
        `ResourceAttributes`: verb, group, resource, subresource, namespace, name; empty ones are left out.
    person : Person, optional
        By whom; else by us. Asking for others needs the verb `create subjectaccessreviews`, which the ClusterRole
        `system:auth-delegator` has.

    Raises
    ------
    NotFound
        The cluster has no such review.
    NotAllowed
        We may not ask.
    ClusterError, ClusterUnreachable

    Notes
    -----
    https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
    """
    spec: dict[str, Any] = {"resourceAttributes": {k: v for k, v in attributes.items() if v}}
    kind = "SelfSubjectAccessReview"
    if person is not None:
        kind = "SubjectAccessReview"
        spec |= {"user": person.name, "groups": list(person.groups)}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    answer = await cluster.json(f"{_PATH}/{kind.lower()}s", method="POST", body=body)
    return bool(answer["status"]["allowed"])


class Access:
    """The rights to read, for all who read through this process.

    Parameters
    ----------
    each : bool, optional
        Whether a right is asked for the task as well (`get` on the workload itself, so that RBAC's `resourceNames` count).
    refusal_holds_s : float, optional
        How long a refusal holds, seconds.
    """

    def __init__(self, *, each: bool = False, refusal_holds_s: float = HOLDS_S) -> None:
        self.each, self._refusal_holds_s = each, refusal_holds_s
        self._answers: dict[tuple[Person | None, tuple[str, ...]], tuple[float, asyncio.Task[Any]]] = {}

    async def namespace(self, cluster: Cluster, namespace: str, person: Person | None = None) -> None:
        """Check that logs of a namespace may be read. What is not there is answered like what is not theirs.

        Raises
        ------
        NotAllowed
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        if not await self._may(cluster, _READ_LOGS | {"namespace": namespace}, person):
            raise _refusal(person, namespace, ["get pods/log"])

    async def hidden(self, cluster: Cluster, namespace: str, person: Person | None = None) -> dict[str, str]:
        """Return what of `events` and `pods` may not be shown beside the logs of a namespace, each with the reason.

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        answers = await asyncio.gather(
            *(self._may(cluster, right | {"namespace": namespace}, person) for _, right in _BESIDE.values())
        )
        return {
            what: f"{what} are not shown: the right `{name}` is missing"
            for (what, (name, _)), allowed in zip(_BESIDE.items(), answers, strict=True)
            if not allowed
        }

    async def lacking(self, cluster: Cluster, namespace: str) -> NotAllowed | None:
        """Return which rights this process lacks to record tasks of a namespace; None where it has all.

        Raises
        ------
        NotFound, NotAllowed
            The cluster has no access reviews, or lets us ask for none.
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        answers = await asyncio.gather(
            *(self._may(cluster, right | {"namespace": namespace}, None) for right in _RECORD.values())
        )
        missing = [name for name, allowed in zip(_RECORD, answers, strict=True) if not allowed]
        return _refusal(None, namespace, missing) if missing else None

    async def task(self, cluster: Cluster, ref: TaskRef, person: Person | None = None) -> bool:
        """Tell whether a task of a namespace that may be read may be read itself.

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        if not self.each:
            return True
        wanted = {"verb": "get", "namespace": ref.namespace} | _workload(ref.kind)
        # First whether all of the kind may be: who lists a thousand tasks asks once.
        if await self._may(cluster, wanted, person):
            return True
        return bool(ref.kind and ref.kind != "selector") and await self._may(
            cluster, wanted | {"name": ref.name}, person
        )

    async def began(self, cluster: Cluster, namespace: str, began: int, person: Person | None = None) -> bool:
        """Tell whether what is only recorded of a namespace that may be read may be read itself.

        Parameters
        ----------
        cluster : Cluster
        namespace : str
        began : int
            When the task did, ns. Before the present namespace it was one of another that had its name.
        person : Person, optional

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        return began >= await self.created(cluster, namespace) or await self._may(cluster, _READ_LOGS, person)

    async def created(self, cluster: Cluster, namespace: str) -> int:
        """Give when the present namespace of a name was created, ns; 0 where there is none, or we may not read it.

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        key = (None, (cluster.id, f"created={namespace}"))
        found: int = await self._held(key, lambda: _created(cluster, namespace))
        return found

    async def _may(self, cluster: Cluster, attributes: Mapping[str, str], person: Person | None) -> bool:
        key = (person, (cluster.id, *(f"{k}={v}" for k, v in attributes.items())))
        allowed: bool = await self._held(key, lambda: may(cluster, attributes, person))
        return allowed

    async def _held(
        self, key: tuple[Person | None, tuple[str, ...]], ask: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        now = time.monotonic()
        known = self._answers.get(key)
        if known is None or not self._holds(known, now):
            self._answers = {k: v for k, v in self._answers.items() if self._holds(v, now)}
            asking = asyncio.create_task(ask())
            asking.add_done_callback(_failed)  # or asyncio complains of an error that nobody waited for
            known = self._answers[key] = (now, asking)
        # Shielded: others wait for the same answer, and a reader that goes away must not take it from them.
        return await asyncio.shield(known[1])

    def _holds(self, answer: tuple[float, asyncio.Task[Any]], now: float) -> bool:
        begun, asking = answer
        if _failed(asking):
            return False
        refused = asking.done() and asking.result() is False
        return now < begun + (self._refusal_holds_s if refused else HOLDS_S)


async def _created(cluster: Cluster, namespace: str) -> int:
    try:
        found = await cluster.json(f"/api/v1/namespaces/{quote(namespace, safe='')}")
    except (NotFound, NotAllowed):
        return 0
    return parse_rfc3339(found["metadata"]["creationTimestamp"])


def _failed(asking: asyncio.Task[Any]) -> bool:
    return asking.done() and (asking.cancelled() or asking.exception() is not None)


def _workload(kind: str) -> dict[str, str]:
    """Give group and resource of a kind; of an open one, and of a selector, the pods'.

    Examples
    --------
    >>> _workload("job"), _workload("pod")
    ({'group': 'batch', 'resource': 'jobs'}, {'group': '', 'resource': 'pods'})
    """
    paths, plural = COLLECTIONS.get(kind) or COLLECTIONS["pod"]
    group = paths[0].split("/")[2] if paths[0].startswith("/apis/") else ""
    return {"group": group, "resource": plural}


def _refusal(person: Person | None, namespace: str, missing: list[str]) -> NotAllowed:
    """Name the rights that somebody lacks.

    Examples
    --------
    >>> print(_refusal(None, "ml", ["get pods/log"]).message)
    you may not read logs in namespace 'ml': the right `get pods/log` is missing
    """
    rights = ", ".join(f"`{name}`" for name in missing)
    verb = "right {} is" if len(missing) == 1 else "rights {} are"
    return NotAllowed(
        f"{_who(person)} may not read logs in namespace {namespace!r}: the {verb.format(rights)} missing",
        "ask an administrator of the cluster for a Role with it; an open log goes on by itself when it is given",
    )


def _who(person: Person | None) -> str:
    return "you" if person is None else f"user {person.name!r}"
