"""Check Kubernetes: whether it answers, as which user, with which permissions, and whether its clock is right."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding
from cortex_jupyter.cluster import kinds, kueue
from cortex_jupyter.cluster.access import is_allowed
from cortex_jupyter.cluster.discovery import discovery
from cortex_jupyter.cluster.labels import pod_labels
from cortex_jupyter.cluster.owners import METADATA_LIST, controller_of
from cortex_jupyter.cluster.workloads import collection
from cortex_jupyter.errors import CortexError, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.cluster.discovery import Resource
    from cortex_jupyter.cluster.session import Cluster

PART: Final = "cluster"
#: The same limit as for the notice in a recording (seconds).
_CLOCK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Right:
    """A permission of RBAC.

    Parameters
    ----------
    group, resource, sub : str
        API group, resource and subresource.
    verbs : tuple of str
    lost : str
        What does not work without it.
    lacking : str
        How a missing right is judged: `BAD` if nothing works without it.
    inside : bool
        Whether it is needed in a namespace only, not in the whole cluster.
    """

    group: str
    resource: str
    sub: str
    verbs: tuple[str, ...]
    lost: str
    lacking: str = BAD
    inside: bool = True


_READ: Final = ("get", "list", "watch")
_LOST: Final = "only their pods tell what these tasks are and how they end"
_RIGHTS: Final = (
    Right("", "pods", "", _READ, "no log can be read"),
    Right("", "pods", "log", ("get",), "no log can be read"),
    Right("batch", "jobs", "", _READ, "Jobs are not found by their names"),
    *(
        Right("apps", name, "", _READ, "tasks of this kind are not found", lacking=WARN)
        for name in ("deployments", "statefulsets", "daemonsets", "replicasets")
    ),
    Right("batch", "cronjobs", "", ("get", "list"), "CronJobs are not found by their names", lacking=WARN),
    Right("", "events", "", ("list", "watch"), "the logs do not show Kubernetes' events of pods", lacking=WARN),
    Right(
        "",
        "nodes",
        "proxy",
        ("get",),
        "lines in log files that the node has rotated are not read",
        lacking=WARN,
        inside=False,
    ),
)
#: A collector finds no task by a CronJob's name, and many an installation leaves `nodes/proxy` out on purpose.
_COLLECTOR_RIGHTS: Final = tuple(
    replace(right, lacking=TOLD) if right.resource == "nodes" else right
    for right in _RIGHTS
    if right.resource != "cronjobs"
)


#: With a store that several users share, for what shows recordings.
_SHARED: Final = Right(
    "",
    "namespaces",
    "",
    ("get",),
    "a user who creates a deleted namespace again can read what was recorded in the old one",
    lacking=WARN,
)


#: With a server that reads on behalf of its users (`access_for`).
_REVIEWS: Final = Right(
    "authorization.k8s.io",
    "subjectaccessreviews",
    "",
    ("create",),
    "users see nothing: bind the ClusterRole system:auth-delegator",
    inside=False,
)


async def judge(
    cluster: Cluster,
    namespaces: Sequence[str],
    *,
    shared: bool = False,
    for_users: bool = False,
    for_collector: bool = False,
) -> list[Finding]:
    """Check a cluster and our permissions in namespaces.

    Parameters
    ----------
    cluster : Cluster
    namespaces : sequence of str
        "" is all of them.
    shared : bool, optional
        Check what a shared store needs too.
    for_users : bool, optional
        Check what a server needs that reads on behalf of its users.
    for_collector : bool, optional
        Check only what a collector needs, which shows no logs.

    Raises
    ------
    CortexError
        The cluster does not answer.
    """
    version = (await cluster.json("/version"))["gitVersion"]
    rights = _COLLECTOR_RIGHTS if for_collector else (*_RIGHTS, *[_SHARED][:shared], *[_REVIEWS][:for_users])
    checks = asyncio.gather(*(_right(cluster, namespaces, right) for right in rights))
    # Reading the pods of all namespaces would take too long.
    custom = asyncio.gather(*(_custom_resources(cluster, name or cluster.namespace) for name in namespaces))
    user, *several = await asyncio.gather(_user(cluster), checks, custom)
    findings = [finding for group in several for part in group for finding in part]
    about = Finding(PART, OK, f"{cluster.host}, Kubernetes {version}{user}")
    return [about, *findings, _clock(cluster.clock.offset)]


async def _user(cluster: Cluster) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await cluster.json("/apis/authentication.k8s.io/v1/selfsubjectreviews", method="POST", body=body)
        return f", as {answer['status']['userInfo']['username']}"
    except (CortexError, KeyError):
        return ""  # Kubernetes before 1.28 does not answer this


async def _right(cluster: Cluster, namespaces: Sequence[str], right: Right) -> list[Finding]:
    """Check a right in namespaces. Namespaces with the same answer share a finding."""
    scopes = namespaces if right.inside else ("",)
    answers: dict[tuple[str, ...] | CortexError, list[str]] = {}
    for scope, answer in zip(scopes, await asyncio.gather(*(_lacks(cluster, s, right) for s in scopes)), strict=True):
        answers.setdefault(answer, []).append(scope)
    return [
        _judged(right, answer, f" {in_namespaces(same)}" if right.inside else "") for answer, same in answers.items()
    ]


async def _lacks(cluster: Cluster, namespace: str, right: Right) -> tuple[str, ...] | CortexError:
    """Return the verbs of a right that we lack in a namespace, or why the cluster does not say."""
    attributes = {"group": right.group, "resource": right.resource, "subresource": right.sub, "namespace": namespace}
    try:
        return tuple([verb for verb in right.verbs if not await is_allowed(cluster, attributes | {"verb": verb})])
    except CortexError as error:
        return error


def _judged(right: Right, answer: tuple[str, ...] | CortexError, scope: str) -> Finding:
    name = f"{right.resource}/{right.sub}" if right.sub else right.resource
    if isinstance(answer, NotFound):
        return Finding(PART, TOLD, f"{name}{scope}: the cluster does not say what you may do")
    if isinstance(answer, CortexError):
        return Finding(PART, right.lacking, f"{name}{scope}: {answer.message}", answer.hint)
    if answer:
        todo = f"ask for `{' '.join(answer)}` on `{name}`: without it {right.lost}"
        return Finding(PART, right.lacking, f"you may not {', '.join(answer)} {name}{scope}", todo)
    return Finding(PART, OK, f"you may {', '.join(right.verbs)} {name}{scope}")


def in_namespaces(namespaces: Sequence[str]) -> str:
    """Return the words for some namespaces; "" is all of them.

    Examples
    --------
    >>> in_namespaces(["ml"]), in_namespaces(["ml", "vision"]), in_namespaces([""])
    ('in namespace ml', 'in the namespaces ml, vision', 'in all namespaces')
    """
    if "" in namespaces:
        return "in all namespaces"
    return f"in namespace {namespaces[0]}" if len(namespaces) == 1 else f"in the namespaces {', '.join(namespaces)}"


async def _custom_resources(cluster: Cluster, namespace: str) -> list[Finding]:
    """Check the rights to read custom resources. A missing right is a warning if a pod belongs to an object of the kind."""
    where = f"in namespace {namespace}"
    try:
        pods, _ = await cluster.read_list(collection("pod", namespace), accept=METADATA_LIST)
        owners = {(owner.group, owner.kind) for pod in pods if (owner := controller_of(pod)) and not owner.is_built_in}
        groups = {group for group, _ in owners}
        labels = {label for pod in pods for label in pod_labels(pod)}
        served = await discovery(cluster).resources(kinds.groups() | groups | set(kueue.GROUPS))
        answers = [(each, await _missing_verbs(cluster, namespace, each)) for each in _readable(served, owners)]
    except CortexError as error:
        return [Finding(PART, TOLD, f"custom resources {where}: {error.message}", error.hint)]
    findings: list[Finding] = []
    unused: list[str] = []
    for resource, missing in answers:
        name = f"{resource.plural}.{resource.group}"
        row_labels = {label for label in kinds.kind_of(resource.name).labels if "/" in label}
        if not missing:
            continue
        if resource.group in {*groups, *kueue.GROUPS} or labels & row_labels:
            lost = "a task that Kueue holds back does not say why" if resource.group in kueue.GROUPS else _LOST
            todo = f"ask for `{' '.join(missing)}` on `{name}`: without it {lost}"
            findings.append(Finding(PART, WARN, f"you may not {', '.join(missing)} {name} {where}", todo))
        else:
            unused.append(name)
    if readable := [f"{each.plural}.{each.group}" for each, missing in answers if not missing]:
        findings.insert(0, Finding(PART, OK, f"you may read {', '.join(sorted(readable))} {where}"))
    if unused:
        text = f"you may not read {', '.join(sorted(unused))} {where}, of which no pod is there"
        findings.append(Finding(PART, TOLD, text, f"if you use such a kind, ask for `{' '.join(_READ)}` on it"))
    return findings


def _readable(served: list[Resource], owners: set[tuple[str, str]]) -> list[Resource]:
    """Return the kinds that are read: kinds with a row, kinds that own pods, and Kueue's."""
    return [
        resource
        for resource in served
        if not resource.is_built_in
        and (
            resource.name in kinds.table()
            or (resource.group, resource.kind) in owners
            or (resource.group, resource.plural) in kueue.RIGHTS
        )
    ]


async def _missing_verbs(cluster: Cluster, namespace: str, resource: Resource) -> list[str]:
    verbs, sub = kueue.RIGHTS.get((resource.group, resource.plural), (_READ, ""))
    attributes = {"group": resource.group, "resource": resource.plural, "subresource": sub, "namespace": namespace}
    answers = await asyncio.gather(*(is_allowed(cluster, attributes | {"verb": verb}) for verb in verbs))
    return [verb for verb, allowed in zip(verbs, answers, strict=True) if not allowed]


def _clock(offset_s: float) -> Finding:
    """Judge the difference of the API server's clock to ours (seconds; positive if it is ahead).

    Examples
    --------
    >>> _clock(-90.0).text
    "its clock is 90 s behind this machine's"
    """
    if abs(offset_s) < _CLOCK_S:
        return Finding(PART, OK, f"its clock and this machine's are less than {_CLOCK_S:g} s apart")
    side = "ahead of" if offset_s > 0 else "behind"
    todo = "synchronise both with NTP; times are the cluster's, and `since` counts from its clock"
    return Finding(PART, WARN, f"its clock is {abs(offset_s):.0f} s {side} this machine's", todo)
