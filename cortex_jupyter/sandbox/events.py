"""Records events as the components of a cluster do (`v1.Event`)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox.objects import copy, now
from cortex_jupyter.sandbox.resources import BUILT_IN

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.objects import Store


#: Number of different messages, and longest time between two of them (seconds), that combine similar events
#: (`defaultAggregateMaxEvents` and `defaultAggregateIntervalInSeconds` in events_cache.go).
_SIMILAR, _SIMILAR_S = 10, 600.0
_COMBINED = "(combined from similar events): "


def record(
    store: Store,
    involved_object: KubeObject,
    reason: str,
    message: str,
    *,
    component: str = "kubelet",
    warning: bool = False,
    field: str = "",
) -> None:
    """Record an event about an object.

    If an equal event exists, count it up and update its time, as client-go's correlator does. If ten similar events come
    within ten minutes of each other and differ only in their messages, combine them to one with the newest message
    (`EventAggregate` in staging/src/k8s.io/client-go/tools/record/events_cache.go).

    Parameters
    ----------
    store : Store
        The cluster.
    involved_object : dict
        The object that the event is about.
    reason, message : str
        Reason and message, as the component words them.
    component : str
        The component that reports the event.
    warning : bool
        Whether the event's type is `Warning`, not `Normal`.
    field : str
        `fieldPath`: the part of the object, such as `spec.containers{main}`.
    """
    meta = involved_object["metadata"]
    namespace = meta.get("namespace", "default")
    involved = {
        "kind": involved_object["kind"],
        "apiVersion": involved_object["apiVersion"],
        "name": meta["name"],
        "uid": meta["uid"],
    }
    involved |= {"namespace": namespace, "resourceVersion": meta["resourceVersion"]}
    if field:
        involved["fieldPath"] = field
    at, kind = now(), "Warning" if warning else "Normal"
    key = (meta["uid"], field, kind, reason, message)
    if component != "default-scheduler" and _is_combined(store, (component, meta["uid"], kind, reason), message):
        key, message = (meta["uid"], "", kind, reason, _COMBINED), f"{_COMBINED}{message}"
    old = store.get("events", namespace, store.repeatable_events.get(key, ""))
    if old is not None:
        store.update(copy(old) | {"message": message} | _repetition(old, at), manager=component)
        return
    event = {
        "metadata": {"name": f"{meta['name']}.{time.time_ns():x}", "namespace": namespace},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": kind,
    } | _reporter(component, reason, at)
    store.repeatable_events[key] = store.create(BUILT_IN["events"], event, manager=component)["metadata"]["name"]


def _reporter(component: str, reason: str, at: str) -> KubeObject:
    """Return the fields that differ between the two event APIs.

    The scheduler uses events.k8s.io: its events set `eventTime` and leave the older fields empty
    (`staging/src/k8s.io/client-go/tools/events/event_recorder.go`).
    """
    if component == "default-scheduler":
        return {
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "eventTime": _micro_time(),
            "action": "Binding" if reason == "Scheduled" else "Scheduling",
            "reportingComponent": component,
            "reportingInstance": f"{component}-node-1",
        }
    source = {"component": component} | ({"host": "node-1"} if component == "kubelet" else {})
    return {
        "source": source,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "eventTime": None,
        "reportingComponent": component,
        "reportingInstance": source.get("host", ""),
    }


def _is_combined(store: Store, group: tuple[str, ...], message: str) -> bool:
    """Return whether a group of similar events has too many different messages, so that the events become one."""
    messages, last = store.similar_events.get(group, (set[str](), 0.0))
    if time.monotonic() - last > _SIMILAR_S:
        messages.clear()
    messages.add(message)
    store.similar_events[group] = (messages, time.monotonic())
    return len(messages) >= _SIMILAR


def _repetition(old: KubeObject, at: str) -> KubeObject:
    """Return the fields that change when an event is repeated."""
    if old.get("eventTime"):
        return {"series": {"count": (old.get("series") or {}).get("count", 1) + 1, "lastObservedTime": _micro_time()}}
    return {"count": old["count"] + 1, "lastTimestamp": at}


def _micro_time() -> str:
    """Return the current time in the format of `metav1.MicroTime`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
