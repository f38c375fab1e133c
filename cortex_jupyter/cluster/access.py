"""The right to read logs. We ask Kubernetes with an access review, and its answer holds for some seconds.

A shared store or archive knows nothing of its users' rights. So we require the right that guards the same lines in the
cluster: `get pods/log` in the task's namespace. The RoleBindings of a deleted namespace are gone, so only users with a
ClusterRoleBinding, who may read logs in every namespace, can read its tasks. If a user creates the namespace again, this
stays so for the old tasks, provided that we may read when the namespace was created (`get namespaces`).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cortex_jupyter.cluster.discovery import discovery
from cortex_jupyter.cluster.owners import METADATA_LIST
from cortex_jupyter.cluster.workloads import COLLECTIONS
from cortex_jupyter.errors import AmbiguousTask, NotAllowed, NotFound
from cortex_jupyter.model import parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.model import TaskRef

#: An answer holds for this many seconds, so reading ends at most this long after a right is withdrawn.
HOLDS_S: Final = 10.0
#: The answer that we lack a right holds for fewer seconds, so that a log which waits for the right goes on at once.
OWN_REFUSAL_HOLDS_S: Final = 1.0
#: Maximum number of simultaneous reviews of namespaces, for all users together.
_REVIEWS_AT_ONCE: Final = 8
#: Namespaces that are reviewed for one list, at most: with 5 ms each, these take half a second.
_MAX_REVIEWED: Final = 1000
_PATH: Final = "/apis/authorization.k8s.io/v1"
_READ_LOGS: Final = {"verb": "get", "resource": "pods", "subresource": "log"}
_DELETE_NAMESPACE: Final = {"verb": "delete", "resource": "namespaces"}
#: The rights that recording a known task needs, by their names in messages.
_RECORD: Final = {
    "get pods/log": _READ_LOGS,
    "list pods": {"verb": "list", "resource": "pods"},
    "watch pods": {"verb": "watch", "resource": "pods"},
}
#: The data that readers see beside a log, and the right that guards it in the cluster.
_BESIDE: Final = {
    "events": ("list events", {"verb": "list", "resource": "events"}),
    "pods": ("get pods", {"verb": "get", "resource": "pods"}),
}


@dataclass(frozen=True, slots=True)
class Person:
    """A user on whose behalf a service reads, as Kubernetes identifies them.

    Parameters
    ----------
    name : str
        The user name, in the form that the API server's authentication produces.
    groups : tuple of str
    """

    name: str
    groups: tuple[str, ...] = ()


async def is_allowed(cluster: Cluster, attributes: Mapping[str, str], person: Person | None = None) -> bool:
    """Return whether the cluster allows an action.

    Parameters
    ----------
    cluster : Cluster
    attributes : mapping
        `ResourceAttributes`: verb, group, resource, subresource, namespace, name; empty ones are left out.
    person : Person, optional
        The user who would act; we ourselves by default. To ask about another user we need the right
        `create subjectaccessreviews`, which the ClusterRole `system:auth-delegator` has.

    Raises
    ------
    NotFound
        The cluster has no access reviews.
    NotAllowed
        We may not ask for an access review.
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
    """The rights to read, of all users who read through this process.

    Parameters
    ----------
    each : bool, optional
        Require a right on each task as well: `get` on the workload itself, so that RBAC's `resourceNames` count.
    refusal_holds_s : float, optional
        How many seconds a refusal holds.
    """

    def __init__(self, *, each: bool = False, refusal_holds_s: float = HOLDS_S) -> None:
        self.each, self._refusal_holds_s = each, refusal_holds_s
        self._answers: dict[tuple[Person | None, tuple[str, ...]], tuple[float, asyncio.Task[object]]] = {}
        self._next_cleanup = 0.0
        self._reviews = asyncio.Semaphore(_REVIEWS_AT_ONCE)

    async def check_namespace(self, cluster: Cluster, namespace: str, person: Person | None = None) -> None:
        """Check that a user may read the logs of a namespace. A missing namespace is refused in the same way.

        Raises
        ------
        NotAllowed
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        if not await self._is_allowed(cluster, _READ_LOGS | {"namespace": namespace}, person):
            raise _refusal(person, namespace, ["get pods/log"])

    async def readable(
        self, cluster: Cluster, namespaces: Sequence[str], person: Person | None = None
    ) -> list[str] | None:
        """Filter namespaces: return the ones with logs that a user may read, in their order; None if there are too many to ask.

        A user with the right in all namespaces costs one request, others cost one for each namespace.

        Raises
        ------
        NotFound, NotAllowed
            The cluster has no access reviews, or lets us ask for none.
        ClusterError, ClusterUnreachable
        """
        if await self._is_allowed(cluster, _READ_LOGS, person):
            return list(namespaces)
        if len(namespaces) > _MAX_REVIEWED:
            return None

        async def may_read(namespace: str) -> bool:
            async with self._reviews:
                return await self._is_allowed(cluster, _READ_LOGS | {"namespace": namespace}, person)

        answers = await asyncio.gather(*map(may_read, namespaces))
        return [name for name, allowed in zip(namespaces, answers, strict=True) if allowed]

    async def hidden(self, cluster: Cluster, namespace: str, person: Person | None = None) -> dict[str, str]:
        """Return which of `events` and `pods` a user may not see beside the logs of a namespace, each with the reason.

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        answers = await asyncio.gather(
            *(self._is_allowed(cluster, right | {"namespace": namespace}, person) for _, right in _BESIDE.values())
        )
        return {
            data: f"{data} are not shown: the right `{name}` is missing"
            for (data, (name, _)), allowed in zip(_BESIDE.items(), answers, strict=True)
            if not allowed
        }

    async def missing_rights(self, cluster: Cluster, namespace: str) -> NotAllowed | None:
        """Return an error that names the rights which this process lacks to record a namespace; None if it has all.

        Raises
        ------
        NotFound, NotAllowed
            The cluster has no access reviews, or lets us ask for none.
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        answers = await asyncio.gather(
            *(self._is_allowed(cluster, right | {"namespace": namespace}, None) for right in _RECORD.values())
        )
        missing = [name for name, allowed in zip(_RECORD, answers, strict=True) if not allowed]
        return _refusal(None, namespace, missing) if missing else None

    async def may_read_task(self, cluster: Cluster, ref: TaskRef, person: Person | None = None) -> bool:
        """Return whether a user who may read the task's namespace may read the task itself.

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        if not self.each:
            return True
        get_kind = {"verb": "get", "namespace": ref.namespace} | await _workload(cluster, ref)
        # Ask for the whole kind first: a list of a thousand tasks then needs one request.
        if await self._is_allowed(cluster, get_kind, person):
            return True
        return bool(ref.kind and ref.kind != "selector") and await self._is_allowed(
            cluster, get_kind | {"name": ref.name}, person
        )

    async def may_read_recorded(
        self, cluster: Cluster, namespace: str, began: int, person: Person | None = None
    ) -> bool:
        """Return whether a user who may read a namespace may read a task of it that only a recording still has.

        Parameters
        ----------
        cluster : Cluster
        namespace : str
        began : int
            When the task began (ns since the Unix epoch). A task that began before the namespace was created belonged to
            an earlier namespace of the same name.
        person : Person, optional

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        created = await self.namespace_created(cluster, namespace)
        return began >= created or await self._is_allowed(cluster, _READ_LOGS, person)

    async def namespace_created(self, cluster: Cluster, namespace: str) -> int:
        """Return when a namespace was created (ns since the Unix epoch); 0 if it does not exist or we may not read it.

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        key = (None, (cluster.id, f"created={namespace}"))
        created: int = await self._ask_once(key, lambda: _created(cluster, namespace))
        return created

    async def _is_allowed(self, cluster: Cluster, attributes: Mapping[str, str], person: Person | None) -> bool:
        key = (person, (cluster.id, *(f"{k}={v}" for k, v in attributes.items())))
        allowed: bool = await self._ask_once(key, lambda: is_allowed(cluster, attributes, person))
        return allowed

    async def _ask_once(
        self, key: tuple[Person | None, tuple[str, ...]], ask: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        now = time.monotonic()
        answer = self._answers.get(key)
        if answer is None or not self._holds(answer, now):
            if now >= self._next_cleanup:  # not each time: users with many namespaces have many answers
                self._answers = {k: v for k, v in self._answers.items() if self._holds(v, now)}
                self._next_cleanup = now + OWN_REFUSAL_HOLDS_S
            asking = asyncio.create_task(ask())
            asking.add_done_callback(_failed)  # marks its exception as retrieved, or asyncio logs it
            answer = self._answers[key] = (now, asking)
        # Shielded: other readers wait for the same answer, and cancelling one of them must not cancel it.
        return await asyncio.shield(answer[1])

    def _holds(self, answer: tuple[float, asyncio.Task[object]], now: float) -> bool:
        asked_at, asking = answer
        if _failed(asking):
            return False
        refused = asking.done() and asking.result() is False
        return now < asked_at + (self._refusal_holds_s if refused else HOLDS_S)


async def missing_deletion_rights(cluster: Cluster, namespaces: Iterable[str]) -> dict[str, NotAllowed]:
    """Return the namespaces of which we may not delete the recordings, each with the error.

    Whoever may delete a namespace may delete all that is in it, the logs of its pods among them. An administrator has
    this right, but nobody who only works in the namespace: the ClusterRoles `edit` and `admin` do not grant it.

    Raises
    ------
    NotFound, NotAllowed
        The cluster has no access reviews, or lets us ask for none.
    ClusterError, ClusterUnreachable
    """
    missing = {}
    for name in sorted(set(namespaces)):
        if not await is_allowed(cluster, _DELETE_NAMESPACE | {"namespace": name, "name": name}):
            missing[name] = NotAllowed(
                f"you may not delete or hold recordings of namespace {name!r}: the right `delete namespaces` is missing",
                "ask an administrator of the cluster, or one of the store to run this without a kubeconfig",
            )
    return missing


async def list_namespaces(cluster: Cluster) -> list[str] | None:
    """Return the names of the cluster's namespaces; None if we may not list them.

    Raises
    ------
    ClusterError, ClusterUnreachable
    """
    try:
        objects, _ = await cluster.read_list("/api/v1/namespaces", accept=METADATA_LIST)
    except NotAllowed:
        return None
    return sorted(item["metadata"]["name"] for item in objects)


async def _created(cluster: Cluster, namespace: str) -> int:
    try:
        namespace_object = await cluster.json(f"/api/v1/namespaces/{quote(namespace, safe='')}")
    except (NotFound, NotAllowed):
        return 0
    return parse_rfc3339(namespace_object["metadata"]["creationTimestamp"])


def _failed(asking: asyncio.Task[object]) -> bool:
    return asking.done() and (asking.cancelled() or asking.exception() is not None)


async def _workload(cluster: Cluster, ref: TaskRef) -> dict[str, str]:
    """Return API group and resource of a task's kind. A selector and an unknown kind have the resource `pods`."""
    if ref.is_custom:
        try:
            resource = await discovery(cluster).find(ref.kind)
        except (NotFound, NotAllowed, AmbiguousTask):
            # Only the group is known of a kind that the cluster no longer has. No user has a right on it by name.
            return {"group": ref.kind.partition(".")[2], "resource": ref.kind.partition(".")[0]}
        return {"group": resource.group, "resource": resource.plural}
    paths, plural = COLLECTIONS.get(ref.kind) or COLLECTIONS["pod"]
    group = paths[0].split("/")[2] if paths[0].startswith("/apis/") else ""
    return {"group": group, "resource": plural}


def _refusal(person: Person | None, namespace: str, missing: list[str]) -> NotAllowed:
    """Return the error for a user who lacks rights; it names them.

    Examples
    --------
    >>> print(_refusal(None, "ml", ["get pods/log"]).message)
    you may not read logs in namespace 'ml': the right `get pods/log` is missing
    """
    rights = ", ".join(f"`{name}`" for name in missing)
    verb = "right {} is" if len(missing) == 1 else "rights {} are"
    return NotAllowed(
        f"{_who(person)} may not read logs in namespace {namespace!r}: the {verb.format(rights)} missing",
        "ask an administrator of the cluster for a Role with it; an open log goes on by itself when it is granted",
    )


def _who(person: Person | None) -> str:
    return "you" if person is None else f"user {person.name!r}"
