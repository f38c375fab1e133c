"""Find pods of a task that came and went while no recorder or watch saw them: only events show them.

A Job's controller writes an event for each pod that it creates. Other operators differ. KubeRay, Kubeflow's training and MPI
operators and its Spark operator name the pod in an event about its owner. Argo, Tekton and Volcano name no pods. The API server keeps events for an hour.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import NotAllowed
from cortex_jupyter.model import Source, parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload

#: The Job controller's message (`Created pod: %v`, kubernetes/pkg/controller/controller_utils.go).
_CREATED: Final = re.compile(r"Created pod: (\S+)")
#: The message of the tenth such event within ten minutes and of all later ones; it names only the newest pod
#: (`EventAggregate` in client-go/tools/record/events_cache.go).
_COMBINED: Final = "(combined from similar events)"
#: A name that the API server generates ends with five of these characters (apimachinery/pkg/util/rand/rand.go), after
#: at most 58 others (apiserver/pkg/storage/names/generate.go).
_SUFFIX: Final = "[bcdfghjklmnpqrstvwxz2456789]{5}"
_LONGEST_BASE: Final = 58
#: The container that a kubelet's event is about (`spec.containers{main}`, `GenerateContainerRef` in
#: kubernetes/pkg/kubelet/container/ref.go).
_CONTAINER: Final = re.compile(r"spec\.(\w+)\{(.+)\}")
_KINDS: Final = {"initContainers": "init", "ephemeralContainers": "ephemeral"}
_SECOND: Final = 1_000_000_000
#: A word that may be the name of a pod. An operator's pods have a hyphen in their names.
_NAME: Final = re.compile(r"[a-z0-9][-a-z0-9.]*-[-a-z0-9.]*[a-z0-9]")
#: Maximum number of words to look up.
_MAX_NAMES: Final = 500


async def unseen_containers(
    cluster: Cluster,
    workload: Workload,
    seen_containers: Mapping[str, set[str]],
    since: int,
    known_pods: Collection[str] = (),
    jobs: Iterable[Workload] = (),
    creators: Iterable[str] = (),
) -> list[tuple[Source, int, int]]:
    """Return the containers of a Job or a custom resource that ran, or may have run, and are not known.

    An event may come long after what it reports: a kubelet before 1.27 sends five a second (`eventRecordQPS`), and each
    container that starts costs three. So the containers of a pod count too, with 0 runs, if its last state is
    unknown, unless its events show that they did not start.

    A pod that only an earlier recorder saw, and saw without a run, looks the same. It may be reported although it wrote
    nothing.

    Parameters
    ----------
    cluster : Cluster
    workload : Workload
    seen_containers : mapping of str to set of str
        The containers that have been seen to run, by the names of their pods.
    since : int
        When recording began (ns, a whole second). Pods without an event since then are left out.
    known_pods : collection of str, optional
        The names of the pods whose last state is known, with all that ran in them.
    jobs : iterable of Workload, optional
        The Jobs of a custom resource, including deleted ones.
    creators : iterable of str, optional
        The UIDs of other objects that own pods of a custom resource.

    Returns
    -------
    list of (Source, int, int)
        The first run of a container; when its pod was created, the earliest time that it may have begun (ns, a whole
        second); and the number of its runs, 0 if no event says by now whether it ran. Empty if events may not be read.
        The API server keeps events for an hour (`--event-ttl`).

    Raises
    ------
    ClusterError, ClusterUnreachable
    """
    search = _Search(cluster, workload.ref.namespace, seen_containers, since, known_pods)
    try:
        if workload.ref.kind == "job":
            return await search.of_job(workload)
        runs: list[tuple[Source, int, int]] = []
        for job in jobs:
            runs += await search.of_job(job)
        return runs + await search.named_in_events(workload, {workload.uid, *creators})
    except NotAllowed:
        return []


class _Search:
    """The search for unseen pods; see `unseen_containers` for its parameters."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        seen_containers: Mapping[str, set[str]],
        since: int,
        known_pods: Collection[str],
    ) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._seen_containers, self._since, self._known_pods = seen_containers, since, known_pods

    async def of_job(self, job: Workload) -> list[tuple[Source, int, int]]:
        """Return the unseen containers of a Job."""
        created = await self._events(f"involvedObject.uid={job.uid},reason=SuccessfulCreate")
        # An event comes some time after what it reports: a run may have written since its pod was created, and no
        # earlier.
        pods = {match[1]: _first_time(e) for e in created if (match := _CREATED.search(e.get("message") or ""))}
        if any((event.get("message") or "").startswith(_COMBINED) for event in created):
            pods = await self._pods_with_events(_names_of_pods(job), _creation_time(job)) | pods
        runs: list[tuple[Source, int, int]] = []
        in_spec = _container_kinds(job)
        for name in sorted(name for name in pods if len(self._seen_containers.get(name, ())) < max(len(in_spec), 1)):
            runs += self._runs(name, pods[name], in_spec, await self._events(f"involvedObject.name={name}"))
        return runs

    async def named_in_events(self, workload: Workload, uids: set[str]) -> list[tuple[Source, int, int]]:
        """Return the unseen containers of pods that events about a custom resource, or about a part of it, name."""
        names: set[str] = set()
        bases: set[str] = set()
        for uid in sorted(uids):
            events = await self._events(f"involvedObject.uid={uid}")
            texts = [event.get("message") or "" for event in events]
            names |= {name for text in texts for name in _NAME.findall(text)}
            if any(text.startswith(_COMBINED) for text in texts):
                bases |= {_base(name) for name in names}
        if bases:
            pattern = "|".join(f"{re.escape(base)}-[a-z0-9]+" for base in sorted(bases) if base)
            names |= (await self._pods_with_events(pattern, _creation_time(workload))).keys()
        runs: list[tuple[Source, int, int]] = []
        for name in sorted(names - self._seen_containers.keys() - set(self._known_pods))[:_MAX_NAMES]:
            # The word may be the name of a Service or another object of the operator.
            if events := await self._events(f"involvedObject.kind=Pod,involvedObject.name={name}"):
                alike = {
                    c
                    for pod, containers in self._seen_containers.items()
                    if _base(pod) == _base(name)
                    for c in containers
                }
                runs += self._runs(name, 0, dict.fromkeys(sorted(alike), "main"), events)
        return runs

    def _runs(
        self, name: str, created: int, in_spec: Mapping[str, str], events: list[KubeObject]
    ) -> list[tuple[Source, int, int]]:
        """Return the unseen runs of one pod, from the events about it."""
        if max(map(_last_time, events), default=created) < self._since:
            return []
        earliest = min(filter(None, [created, *map(_first_time, events)]), default=0)
        uid = next((uid for e in events if (uid := e["involvedObject"].get("uid"))), "")
        kinds = dict(in_spec)  # and of containers that a webhook added to the pods
        started = Counter[str]()
        for event in events:
            container, kind = _container(event)
            if event.get("reason") == "Started" and container:
                # The kubelet counts equal events (EventCorrelator in client-go/tools/record/events_cache.go).
                started[container] += event.get("count") or 1
                kinds.setdefault(container, kind)
        silent = (
            [] if name in self._known_pods else [c for c in in_spec if c not in started and _may_have_run(c, events)]
        )
        return [
            (Source(name, uid, container, "", kind=kinds[container]), earliest, count)
            for container, count in [*started.items(), *((container, 0) for container in silent)]
            if container not in self._seen_containers.get(name, ())
        ]

    async def _pods_with_events(self, names: str, since: int) -> dict[str, int]:
        """Return the pods whose names match that were scheduled or started since a time (ns), with their times (ns)."""
        pods: dict[str, int] = {}
        for reason in ("Started", "Scheduled"):  # the later reason is the earlier time
            for event in await self._events(f"involvedObject.kind=Pod,reason={reason}"):
                pod = event["involvedObject"].get("name") or ""
                if re.fullmatch(names, pod) and _first_time(event) >= since:
                    pods[pod] = _first_time(event)
        return pods

    async def _events(self, selector: str) -> list[KubeObject]:
        path = f"/api/v1/namespaces/{segment(self._namespace)}/events"
        answer = await self._cluster.json(path, {"fieldSelector": selector})
        items: list[KubeObject] = answer["items"]
        return items


def _container_kinds(workload: Workload) -> dict[str, str]:
    """Return the kinds of the containers that a Job's pods have, by name."""
    pod = workload.obj.get("spec", {}).get("template", {}).get("spec", {})
    inits = {
        # Since 1.29 such an init container is a sidecar (KEP-753).
        c["name"]: "sidecar" if c.get("restartPolicy") == "Always" else "init"
        for c in pod.get("initContainers", ())
    }
    return inits | {c["name"]: "main" for c in pod.get("containers", ())}


def _container(event: KubeObject) -> tuple[str, str]:
    """Return name and kind of the container that an event is about; empty if it is about none."""
    field_path = _CONTAINER.fullmatch(event["involvedObject"].get("fieldPath") or "")
    return (field_path[2], _KINDS.get(field_path[1], "main")) if field_path else ("", "")


def _may_have_run(container: str, events: list[KubeObject]) -> bool:
    """Return whether a container may have run although no event says that it started.

    Examples
    --------
    >>> def event(reason, second):
    ...     about = {"fieldPath": "spec.containers{main}"}
    ...     return {"reason": reason, "involvedObject": about, "lastTimestamp": f"2023-11-14T22:00:0{second}Z"}
    >>> _may_have_run("main", [event("Scheduled", 1), event("Created", 2), event("Failed", 2)])
    False
    >>> _may_have_run("main", [event("FailedScheduling", 1), event("Scheduled", 2), event("FailedMount", 3)])
    True
    """
    reasons = {event.get("reason") for event in events}
    if "FailedScheduling" in reasons and "Scheduled" not in reasons:
        return False

    def newest(reason: str) -> int:
        return max(
            (_last_time(e) for e in events if e.get("reason") == reason and _container(e)[0] == container), default=0
        )

    # It could not be created or started, for instance for want of its image.
    return newest("Created") > failed if (failed := newest("Failed")) else True


def _names_of_pods(job: Workload) -> str:
    """Return a regular expression for the names of a Job's pods."""
    indexed = r"\d+-" if job.obj.get("spec", {}).get("completionMode") == "Indexed" else ""
    return re.escape(f"{job.ref.name}-"[:_LONGEST_BASE]) + indexed + _SUFFIX


def _creation_time(workload: Workload) -> int:
    created = workload.obj.get("metadata", {}).get("creationTimestamp")
    return parse_rfc3339(created) if created else 0


def _base(name: str) -> str:
    """Return a pod's name without its last part. Pods of one group differ only in that part."""
    return name.rpartition("-")[0]


def _first_time(event: KubeObject) -> int:
    """Return when an event was first seen (ns, rounded down to a second); 0 if it does not say."""
    stamp = event.get("firstTimestamp") or event.get("eventTime")
    return parse_rfc3339(stamp) // _SECOND * _SECOND if stamp else 0


def _last_time(event: KubeObject) -> int:
    """Return when an event was last seen (ns, a whole second); 0 if it does not say."""
    stamp = event.get("lastTimestamp") or event.get("eventTime")
    return parse_rfc3339(stamp) if stamp else 0
