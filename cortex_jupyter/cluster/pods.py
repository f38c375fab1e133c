"""What a Pod object says: its containers, their runs, why nothing runs yet. Plain functions on the API's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cortex_jupyter.records import Source, parse_rfc3339

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"  # kubectl/pkg/cmd/util/podcmd
_INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True, slots=True)
class End:
    """How one run of a container ended.

    Parameters
    ----------
    exit_code : int
    reason : str
        `Completed`, `Error`, `OOMKilled` ...
    finished : int
        ns since the epoch, 0 where the node does not say.
    """

    exit_code: int
    reason: str
    finished: int


@dataclass(frozen=True, slots=True)
class Container:
    """The present state of one container of a pod.

    Parameters
    ----------
    name, kind : str
        `kind` is `init`, `main`, `sidecar` or `ephemeral`.
    state : str
        `waiting`, `running` or `terminated`.
    reason, message : str
        Of the waiting or terminated state, as the node says it.
    source : Source or None
        The newest run; None before there was one.
    end : End or None
        How the newest run ended, where it has.
    previous : tuple of (Source, End) or None
        The run before it, as long as the node remembers.
    started : int
        When the newest run started, ns since the epoch; 0 where the node does not say.
    """

    name: str
    kind: str
    state: str
    reason: str
    message: str
    source: Source | None
    end: End | None
    previous: tuple[Source, End] | None
    started: int = 0


def containers(pod: dict[str, Any]) -> list[Container]:
    """Give the containers of a pod in the order in which they start.

    Parameters
    ----------
    pod : dict
        A Pod object.
    """
    spec, status = pod["spec"], pod.get("status", {})
    annotated = pod["metadata"].get("annotations", {}).get(_DEFAULT_CONTAINER)
    found: list[Container] = []
    for specs, statuses, group in (
        ("initContainers", "initContainerStatuses", "init"),
        ("containers", "containerStatuses", "main"),
        ("ephemeralContainers", "ephemeralContainerStatuses", "ephemeral"),
    ):
        known = {s["name"]: s for s in status.get(statuses) or []}
        for one in spec.get(specs) or []:
            restartable_init = group == "init" and one.get("restartPolicy") == "Always"  # a sidecar: KEP-753
            beside_default = group == "main" and annotated and one["name"] != annotated
            kind = "sidecar" if restartable_init or beside_default else group
            found.append(_container(pod, one["name"], kind, known.get(one["name"], {})))
    return found


def _container(pod: dict[str, Any], name: str, kind: str, status: dict[str, Any]) -> Container:
    states: dict[str, dict[str, Any]] = status.get("state") or {"waiting": {}}
    state, detail = next(iter(states.items()))
    last = (status.get("lastState") or {}).get("terminated") or {}
    run, current = status.get("restartCount", 0), status.get("containerID") or ""

    def source(container_id: str, number: int) -> Source:
        meta = pod["metadata"]
        node = pod["spec"].get("nodeName", "")
        return Source(meta["name"], meta["uid"], name, container_id, kind, number, node)

    end = previous = None
    if state == "terminated":
        current = current or detail.get("containerID") or ""
        end = _end(detail)
    elif state == "waiting" and last.get("containerID") and last["containerID"] == current:
        end = _end(last)  # CrashLoopBackOff: the newest run is the one that crashed
    if last.get("containerID") and last["containerID"] != current and run > 0:
        previous = (source(last["containerID"], run - 1), _end(last))
    return Container(
        name, kind, state, detail.get("reason") or "", detail.get("message") or "",
        source(current, run) if current else None, end, previous, _time(detail.get("startedAt")),
    )  # fmt: skip


def _end(terminated: dict[str, Any]) -> End:
    reason = terminated.get("reason") or ("Completed" if terminated.get("exitCode") == 0 else "Error")
    return End(terminated.get("exitCode", 0), reason, _time(terminated.get("finishedAt")))


def _time(text: str | None) -> int:
    return parse_rfc3339(text) if text else 0


def beginning(pod: dict[str, Any]) -> dict[str, Any]:
    """Say how far a pod had come before it ran, and which of an indexed Job's it is.

    Returns
    -------
    dict
        `created` and `scheduled`, ns since the epoch as strings; `inits`, how many init containers come first; `index`, its
        completion index (https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode). What is not known
        is left out.

    Examples
    --------
    >>> when = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:02Z"}
    >>> beginning({"metadata": {"creationTimestamp": "1970-01-01T00:00:01Z"}, "spec": {}, "status": {"conditions": [when]}})
    {'created': '1000000000', 'scheduled': '2000000000'}
    >>> beginning({"metadata": {"annotations": {"batch.kubernetes.io/job-completion-index": "3"}}, "spec": {}})
    {'index': 3}
    """
    conditions = pod.get("status", {}).get("conditions") or []
    done = [c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "True"]
    inits = [c for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") != "Always"]
    times = {
        "created": pod["metadata"].get("creationTimestamp"),
        "scheduled": done[0].get("lastTransitionTime") if done else None,
    }
    found: dict[str, Any] = {name: str(_time(text)) for name, text in times.items() if text}
    index = (pod["metadata"].get("annotations") or {}).get(_INDEX, "")
    return found | ({"inits": len(inits)} if inits else {}) | ({"index": int(index)} if index.isdecimal() else {})


def waiting_reason(pod: dict[str, Any]) -> str:
    """Say why a pod writes no log yet, or `""` where a container runs or has run.

    The Pod object is asked and not the log endpoint, whose text loses the message (an image registry's error, for
    instance).

    Examples
    --------
    >>> waiting_reason({"metadata": {}, "spec": {"containers": []}, "status": {"conditions": [
    ...     {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]}})
    'Unschedulable: 0/1 nodes are available'
    """
    status = pod.get("status", {})
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _reason(condition.get("reason") or "Pending", condition.get("message") or "")
    states = containers(pod) if pod["spec"].get("containers") else []
    blocked = [c for c in states if c.state == "waiting" and not c.source]
    if len(blocked) < len(states):
        # An init container that cannot start holds the others back: PodInitializing is its shadow.
        blocked = [c for c in blocked if c.reason not in ("", "PodInitializing", "ContainerCreating")]
        return f"{blocked[0].name}: {_reason(blocked[0].reason, blocked[0].message)}" if blocked else ""
    for one in blocked:
        if one.reason and one.reason != "PodInitializing":
            return _reason(one.reason, one.message)
    return "ContainerCreating" if pod["spec"].get("nodeName") else "Pending: not scheduled yet"


def _reason(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason


def finished(pod: dict[str, Any]) -> bool:
    """Tell whether nothing of this pod will ever run again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def exit_of(pods: list[dict[str, Any]]) -> End | None:
    """Give the end that counts for a task: the newest failure of a main or init container, else the newest success.

    When one pod fails for good the Job's controller deletes those that still run, and they end with 143 or 137: that is what
    came of it and not why, so a pod that is being deleted counts only where there is no other failure
    (`deleteActivePods` in kubernetes/pkg/controller/job/job_controller.go).

    Parameters
    ----------
    pods : list of dict
        Pod objects.
    """
    ends = [
        (c.end, "deletionTimestamp" not in pod["metadata"])
        for pod in pods for c in containers(pod) if c.end and c.kind in ("init", "main")
    ]  # fmt: skip
    newest = max(ends, key=lambda e: (e[0].exit_code != 0, e[1], e[0].finished), default=None)
    return newest[0] if newest else None
