"""Pods of a Job that came and went unseen, while a watch was dead or no recorder ran: only their events tell of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import NotAllowed
from cortex_jupyter.model import Source, parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload

#: What the Job controller says (`Created pod: %v`, kubernetes/pkg/controller/controller_utils.go).
_CREATED: Final = re.compile(r"Created pod: (\S+)")
#: What stands for the tenth such event within ten minutes and all after it; it names the newest pod alone
#: (`EventAggregate` in client-go/tools/record/events_cache.go).
_COMBINED: Final = "(combined from similar events)"
#: A name that the API server generates ends with five of these (apimachinery/pkg/util/rand/rand.go), after at most 58
#: characters (apiserver/pkg/storage/names/generate.go).
_SUFFIX: Final = "[bcdfghjklmnpqrstvwxz2456789]{5}"
_LONGEST_BASE: Final = 58
#: The container of a kubelet's event (`spec.containers{main}`, `GenerateContainerRef` in kubernetes/pkg/kubelet/container/ref.go).
_CONTAINER: Final = re.compile(r"spec\.(\w+)\{(.+)\}")
_SECOND: Final = 1_000_000_000
_KINDS: Final = {"initContainers": "init", "ephemeralContainers": "ephemeral"}


async def unseen(
    cluster: Cluster, workload: Workload, known: Mapping[str, set[str]], since: int
) -> list[tuple[Source, int, int]]:
    """List the containers of a Job that started and are not known.

    Parameters
    ----------
    cluster : Cluster
    workload : Workload
        The Job.
    known : mapping of str to set of str
        The containers that have been seen, by the names of their pods.
    since : int
        When recording began (ns, a whole second). Pods of which nothing happened since then are left out.

    Returns
    -------
    list of (Source, int, int)
        The first run of a container, when its pod was created (ns, a whole second), which is when it may have begun, and how
        many runs there were. Empty where events may not be read; the API server keeps them for an hour (`--event-ttl`).

    Raises
    ------
    ClusterError, ClusterUnreachable
    """
    namespace = workload.ref.namespace
    found: list[tuple[Source, int, int]] = []
    try:
        created = await _events(cluster, namespace, f"involvedObject.uid={workload.uid},reason=SuccessfulCreate")
        # An event comes some time after what it tells: a run may have written since its pod was created, and no earlier.
        pods = {named[1]: _first(e) for e in created if (named := _CREATED.match(e.get("message") or ""))}
        if any((event.get("message") or "").startswith(_COMBINED) for event in created):
            pods = await _started_pods(cluster, workload) | pods
        pod = workload.obj.get("spec", {}).get("template", {}).get("spec", {})
        each = len(pod.get("containers", ())) + len(pod.get("initContainers", ()))
        for name in sorted(name for name in pods if len(known.get(name, ())) < max(each, 1)):
            events = await _events(cluster, namespace, f"involvedObject.name={name}")
            if max(map(_last, events), default=0) < since:
                continue
            began = min(filter(None, [pods[name], *map(_first, events)]), default=0)
            for event in events:
                about = event["involvedObject"]
                where = _CONTAINER.fullmatch(about.get("fieldPath") or "")
                if event.get("reason") == "Started" and where and where[2] not in known.get(name, ()):
                    source = Source(name, about.get("uid", ""), where[2], "", kind=_KINDS.get(where[1], "main"))
                    # The kubelet counts events that say the same (EventCorrelator in client-go/tools/record/events_cache.go).
                    found.append((source, began, event.get("count") or 1))
    except NotAllowed:
        pass
    return found


async def _started_pods(cluster: Cluster, workload: Workload) -> dict[str, int]:
    """Return the pods that started since a Job was created, and by their names are its own, with when they did (ns)."""
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
        and (began := _first(event)) >= since
    }


async def _events(cluster: Cluster, namespace: str, selector: str) -> list[dict[str, Any]]:
    answer = await cluster.json(f"/api/v1/namespaces/{segment(namespace)}/events", {"fieldSelector": selector})
    items: list[dict[str, Any]] = answer["items"]
    return items


def _first(event: dict[str, Any]) -> int:
    """Return when an event was first seen (ns, down to a whole second), 0 where it does not say."""
    when = event.get("firstTimestamp") or event.get("eventTime")
    return parse_rfc3339(when) // _SECOND * _SECOND if when else 0


def _last(event: dict[str, Any]) -> int:
    """Return when an event was last seen (ns, a whole second), 0 where it does not say."""
    when = event.get("lastTimestamp") or event.get("eventTime")
    return parse_rfc3339(when) if when else 0
