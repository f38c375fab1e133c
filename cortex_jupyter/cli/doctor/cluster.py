"""Kubernetes: whether it answers, as whom, what one may do there, and whether its clock is ours."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding
from cortex_jupyter.cluster.access import is_allowed
from cortex_jupyter.errors import CortexError, NotFound

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster

PART: Final = "cluster"
#: The same bound as that of the notice in a recording.
_CLOCK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Right:
    """Something that one must be allowed to do.

    Parameters
    ----------
    group, resource, sub : str
        As RBAC names it.
    verbs : tuple of str
    lost : str
        What is so without it.
    needed : bool
        Whether nothing works without it.
    inside : bool
        In a namespace, else in the whole cluster.
    """

    group: str
    resource: str
    sub: str
    verbs: tuple[str, ...]
    lost: str
    needed: bool = True
    inside: bool = True


_READ: Final = ("get", "list", "watch")
_RIGHTS: Final = (
    Right("", "pods", "", _READ, "no log can be read"),
    Right("", "pods", "log", ("get",), "no log can be read"),
    Right("batch", "jobs", "", _READ, "Jobs are not found by their names"),
    *(Right("apps", name, "", _READ, "tasks of this kind are not found", needed=False)
      for name in ("deployments", "statefulsets", "daemonsets", "replicasets")),
    Right("batch", "cronjobs", "", ("get", "list"), "CronJobs are not found by their names", needed=False),
    Right("", "events", "", ("list", "watch"), "what Kubernetes says of pods is not in their logs", needed=False),
    Right("", "nodes", "proxy", ("get",), "lines that the node has rotated away are not fetched", needed=False, inside=False),
)  # fmt: skip


#: Where the store is one that others share.
_SHARED: Final = Right(
    "", "namespaces", "", ("get",), "who creates a deleted namespace again reads what was recorded in it before", needed=False
)  # fmt: skip


#: Where a server reads on behalf of its users (`access_for`).
_REVIEWS: Final = Right(
    "authorization.k8s.io", "subjectaccessreviews", "", ("create",), "no user is shown anything: bind the ClusterRole system:auth-delegator", inside=False
)  # fmt: skip


async def judge(cluster: Cluster, namespace: str, *, shared: bool = False, for_users: bool = False) -> list[Finding]:
    """Look at a cluster and at our rights in a namespace, which are more where the store is shared, or read for others.

    Raises
    ------
    CortexError
        It does not answer.
    """
    version = (await cluster.json("/version"))["gitVersion"]
    rights_asked = (*_RIGHTS, *[_SHARED][:shared], *[_REVIEWS][:for_users])
    asked = asyncio.gather(*(_right(cluster, namespace, right) for right in rights_asked))
    who, rights = await asyncio.gather(_who(cluster), asked)
    return [Finding(PART, OK, f"{cluster.host}, Kubernetes {version}{who}"), *rights, _clock(cluster.clock.offset)]


async def _who(cluster: Cluster) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await cluster.json("/apis/authentication.k8s.io/v1/selfsubjectreviews", method="POST", body=body)
        return f", as {answer['status']['userInfo']['username']}"
    except (CortexError, KeyError):
        return ""  # Kubernetes before 1.28 does not tell


async def _right(cluster: Cluster, namespace: str, right: Right) -> Finding:
    name = f"{right.resource}/{right.sub}" if right.sub else right.resource
    where = f" in namespace {namespace}" if right.inside else ""
    asked = {"group": right.group, "resource": right.resource, "subresource": right.sub}
    asked["namespace"] = namespace if right.inside else ""
    worst = BAD if right.needed else WARN
    try:
        missing = [verb for verb in right.verbs if not await is_allowed(cluster, asked | {"verb": verb})]
    except NotFound:
        return Finding(PART, TOLD, f"{name}{where}: the cluster does not tell what you may do")
    except CortexError as error:
        return Finding(PART, worst, f"{name}{where}: {error.message}", error.hint)
    if missing:
        todo = f"ask for `{' '.join(missing)}` on `{name}`: without it {right.lost}"
        return Finding(PART, worst, f"you may not {', '.join(missing)} {name}{where}", todo)
    return Finding(PART, OK, f"you may {', '.join(right.verbs)} {name}{where}")


def _clock(ahead: float) -> Finding:
    """Judge how far the API server's clock is ahead of ours, seconds.

    Examples
    --------
    >>> _clock(-90.0).text
    "its clock is 90 s behind this machine's"
    """
    if abs(ahead) < _CLOCK_S:
        return Finding(PART, OK, f"its clock and this machine's are less than {_CLOCK_S:g} s apart")
    side = "ahead of" if ahead > 0 else "behind"
    todo = "have both set by NTP; times are the cluster's, and `since` counts from its clock"
    return Finding(PART, WARN, f"its clock is {abs(ahead):.0f} s {side} this machine's", todo)
