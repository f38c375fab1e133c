"""Find pods of a Job that came and went while no recorder or watch saw them: only events show them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import NotAllowed
from cortex_jupyter.model import Source, parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_SECOND: Final = 1_000_000_000
_KINDS: Final = {"initContainers": "init", "ephemeralContainers": "ephemeral"}
_KINDS_IN_SPEC: Final = (("initContainers", "init"), ("containers", "main"))


async def unseen_containers(
    cluster: Cluster, workload: Workload, seen: Mapping[str, set[str]], since: int
) -> list[tuple[Source, int, int]]:
    """Return the containers of a Job that started, or may have started, and are not known.

    An event may come long after what it reports: a kubelet before 1.27 sends five a second (`eventRecordQPS`), and each
    container that starts costs three. So a pod of which only its creation is known counts too, with 0 runs, unless its
    other events say why it did not start.

    Parameters
    ----------
    cluster : Cluster
    workload : Workload
        The Job.
    seen : mapping of str to set of str
        The containers that have been seen to run, by the names of their pods; empty sets for pods seen without one.
    since : int
        When recording began (ns, a whole second). Pods without an event since then are left out.

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
    namespace = workload.ref.namespace
    unseen_runs: list[tuple[Source, int, int]] = []
    try:
        created = await _events(cluster, namespace, f"involvedObject.uid={workload.uid},reason=SuccessfulCreate")
        # An event comes some time after what it reports: a run may have written since its pod was created, and no
        # earlier.
        pods = {match[1]: _first_time(e) for e in created if (match := _CREATED.match(e.get("message") or ""))}
        if any((event.get("message") or "").startswith(_COMBINED) for event in created):
            pods = await _started_pods(cluster, workload) | pods
        pod = workload.obj.get("spec", {}).get("template", {}).get("spec", {})
        container_names = [(c["name"], kind) for field, kind in _KINDS_IN_SPEC for c in pod.get(field, ())]
        for name in sorted(name for name in pods if len(seen.get(name, ())) < max(len(container_names), 1)):
            events = await _events(cluster, namespace, f"involvedObject.name={name}")
            if max(map(_last_time, events), default=pods[name]) < since:
                continue
            earliest = min(filter(None, [pods[name], *map(_first_time, events)]), default=0)
            runs: list[tuple[Source, int, int]] = []
            for event in events:
                involved = event["involvedObject"]
                field_path = _CONTAINER.fullmatch(involved.get("fieldPath") or "")
                if event.get("reason") == "Started" and field_path and field_path[2] not in seen.get(name, ()):
                    source = Source(
                        name, involved.get("uid", ""), field_path[2], "", kind=_KINDS.get(field_path[1], "main")
                    )
                    # The kubelet counts equal events (EventCorrelator in client-go/tools/record/events_cache.go).
                    runs.append((source, earliest, event.get("count") or 1))
            if not runs and name not in seen and not any(e.get("type") == "Warning" for e in events):
                uid = next((uid for e in events if (uid := e["involvedObject"].get("uid"))), "")
                runs = [
                    (Source(name, uid, container, "", kind=kind), earliest, 0) for container, kind in container_names
                ]
            unseen_runs += runs
    except NotAllowed:
        pass
    return unseen_runs


async def _started_pods(cluster: Cluster, workload: Workload) -> dict[str, int]:
    """Return the pods that started since a Job was created and are the Job's by name, with their times (ns)."""
    name, spec = workload.ref.name, workload.obj.get("spec", {})
    indexed = r"\d+-" if spec.get("completionMode") == "Indexed" else ""
    base = re.escape(f"{name}-"[:_LONGEST_BASE]) + indexed
    created = workload.obj.get("metadata", {}).get("creationTimestamp")
    since = parse_rfc3339(created) if created else 0
    events = await _events(cluster, workload.ref.namespace, "involvedObject.kind=Pod,reason=Started")
    return {
        pod: began
        for event in events
        if re.fullmatch(base + _SUFFIX, pod := event["involvedObject"].get("name") or "")
        and (began := _first_time(event)) >= since
    }


async def _events(cluster: Cluster, namespace: str, selector: str) -> list[KubeObject]:
    answer = await cluster.json(f"/api/v1/namespaces/{segment(namespace)}/events", {"fieldSelector": selector})
    items: list[KubeObject] = answer["items"]
    return items


def _first_time(event: KubeObject) -> int:
    """Return when an event was first seen (ns, rounded down to a second); 0 if it does not say."""
    stamp = event.get("firstTimestamp") or event.get("eventTime")
    return parse_rfc3339(stamp) // _SECOND * _SECOND if stamp else 0


def _last_time(event: KubeObject) -> int:
    """Return when an event was last seen (ns, a whole second); 0 if it does not say."""
    stamp = event.get("lastTimestamp") or event.get("eventTime")
    return parse_rfc3339(stamp) if stamp else 0
