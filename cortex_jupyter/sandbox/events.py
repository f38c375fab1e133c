"""Events, as the components of a cluster record them (`v1.Event`)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.objects import copy, now
from cortex_jupyter.sandbox.resources import BY_PLURAL

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.objects import Store

Object = dict[str, Any]

#: So many different messages within so many seconds are combined (`defaultAggregateMaxEvents` and `defaultAggregateIntervalInSeconds` there).
_SIMILAR, _SIMILAR_S = 10, 600.0
_COMBINED = "(combined from similar events): "


def record(
    store: Store,
    about: Object,
    reason: str,
    message: str,
    *,
    component: str = "kubelet",
    warning: bool = False,
    field: str = "",
) -> None:
    """Record an event about an object.

    Parameters
    ----------
    store : Store
        The cluster.
    about : dict
        The object it is about.
    reason, message : str
        As the component words them.
    component : str
        Who says it.
    warning : bool
        Its type, `Warning` or `Normal`.
    field : str
        The part of the object, such as `spec.containers{main}`.

    An event that repeats, equal but for its time, is counted up as client-go's correlator does. Ten within ten minutes that
    differ in their message alone become one, with the newest message (`EventAggregate` in
    staging/src/k8s.io/client-go/tools/record/events_cache.go).
    """
    meta = about["metadata"]
    namespace = meta.get("namespace", "default")
    involved = {"kind": about["kind"], "apiVersion": about["apiVersion"], "name": meta["name"], "uid": meta["uid"]}
    involved |= {"namespace": namespace, "resourceVersion": meta["resourceVersion"]}
    if field:
        involved["fieldPath"] = field
    at, kind = now(), "Warning" if warning else "Normal"
    same = (meta["uid"], field, kind, reason, message)
    if component != "default-scheduler" and _many(store, (component, meta["uid"], kind, reason), message):
        same, message = (meta["uid"], "", kind, reason, _COMBINED), f"{_COMBINED}{message}"
    old = store.get("events", namespace, store.repeatable_events.get(same, ""))
    if old is not None:
        store.update(copy(old) | {"message": message} | _again(old, at), manager=component)
        return
    event = {
        "metadata": {"name": f"{meta['name']}.{time.time_ns():x}", "namespace": namespace},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": kind,
    } | _reporter(component, reason, at)
    store.repeatable_events[same] = store.create(BY_PLURAL["events"], event, manager=component)["metadata"]["name"]


def _reporter(component: str, reason: str, at: str) -> Object:
    """Return the fields that differ between the two event APIs that components write with.

    The scheduler uses events.k8s.io: its events have `eventTime` and nothing in the older fields
    (`staging/src/k8s.io/client-go/tools/events/event_recorder.go`).
    """
    if component == "default-scheduler":
        return {
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "eventTime": _micro(),
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


def _many(store: Store, similar: tuple[str, ...], message: str) -> bool:
    """Return whether there are so many similar events that they become one."""
    messages, last = store.similar_events.get(similar, (set[str](), 0.0))
    if time.monotonic() - last > _SIMILAR_S:
        messages.clear()
    messages.add(message)
    store.similar_events[similar] = (messages, time.monotonic())
    return len(messages) >= _SIMILAR


def _again(old: Object, at: str) -> Object:
    """Return what changes when an event happens again."""
    if old.get("eventTime"):
        return {"series": {"count": (old.get("series") or {}).get("count", 1) + 1, "lastObservedTime": _micro()}}
    return {"count": old["count"] + 1, "lastTimestamp": at}


def _micro() -> str:
    """Return the time as `metav1.MicroTime` is written."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
