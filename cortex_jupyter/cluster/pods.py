"""Reading Pod objects: containers, their runs, and why nothing runs yet. Plain functions on the API's JSON."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cortex_jupyter.model import Source, parse_rfc3339

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject

#: Maximum length of a termination message (characters). The kubelet keeps 4096 bytes
#: (https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/).
MESSAGE_MAX: Final = 4096
#: Maximum length of a message that is part of a sentence (characters).
LINE_MAX: Final = 500
#: The reason of a container that could not be started: with containerd and CRI-O, and with Docker.
NOT_STARTED: Final = frozenset({"StartError", "ContainerCannotRun"})
_COLOUR: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
#: STATUS in `kubectl get pods` of a pod without a problem; `Init:1/2` is one too.
_HEALTHY: Final = frozenset(
    {"Pending", "ContainerCreating", "PodInitializing", "Running", "NotReady", "Completed", "Succeeded", "Terminating"}
)
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"  # kubectl/pkg/cmd/util/podcmd
_INDEX = "batch.kubernetes.io/job-completion-index"
#: The annotations that are read: `_INDEX`, which is no label before Kubernetes 1.28, and those for a pod's role or attempt
#: (`cluster/kinds.py`).
KEPT_ANNOTATIONS: Final = frozenset(
    {_DEFAULT_CONTAINER, _INDEX, "workflows.argoproj.io/node-name", "volcano.sh/job-retry-count"}
)


@dataclass(frozen=True, slots=True)
class End:
    """How one run of a container ended.

    Parameters
    ----------
    exit_code : int
    reason : str
        `Completed`, `Error`, `OOMKilled` ...
    finished : int
        When the run ended (ns since the Unix epoch); 0 if unknown.
    message : str
        The termination message, from the kubelet or from the container (`terminationMessagePath`): `exec: "/nope": no
        such file or directory`. Plain text of at most `MESSAGE_MAX` characters.
    started : int
        When the run started (ns since the Unix epoch); 0 if unknown, or if it never did.
    """

    exit_code: int
    reason: str
    finished: int
    message: str = ""
    started: int = 0

    @property
    def has_run(self) -> bool:
        """Whether the container's program was executed; if not, the message says why."""
        return self.reason not in NOT_STARTED

    def __str__(self) -> str:
        """Return the end as one line: `exit 128, StartError: exec: "/nope": no such file or directory`."""
        reason = f", {self.reason}" if self.reason not in ("", "Completed") else ""
        message = in_one_line(self.message)
        return f"exit {self.exit_code}{reason}" + (f": {message}" if message else "")


@dataclass(frozen=True, slots=True)
class Container:
    """The current state of one container of a pod.

    Parameters
    ----------
    name, kind : str
        `kind` is `init`, `main`, `sidecar` or `ephemeral`.
    state : str
        `waiting`, `running` or `terminated`.
    reason, message : str
        Reason and message of the waiting or terminated state, as the node reports them.
    source : Source or None
        The newest run; None before the first run.
    end : End or None
        How the newest run ended; None while it lasts.
    previous : tuple of (Source, End) or None
        The run before it, while the node remembers it.
    started : int
        When the newest run started (ns since the Unix epoch); 0 if unknown.
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


def without_bulk(obj: KubeObject) -> KubeObject:
    """Remove the large parts of a pod or workload that we never use, in place, and return the object.

    These are managed fields, other tools' annotations, volumes, scheduling constraints, and all of a container except its name
    and restart policy. A pod of 20 kB shrinks to 2 kB. A workload's pod template keeps its labels and its containers' names.

    Examples
    --------
    >>> container = {"name": "main", "image": "x", "env": [{"name": "A", "value": "b"}]}
    >>> meta = {"name": "p", "managedFields": [{}], "annotations": {"a": "b", "batch.kubernetes.io/job-completion-index": "3"}}
    >>> without_bulk({"metadata": meta, "spec": {"volumes": [{}], "containers": [container]}})["spec"]
    {'containers': [{'name': 'main'}]}
    >>> meta
    {'name': 'p', 'annotations': {'batch.kubernetes.io/job-completion-index': '3'}}
    """
    meta, spec = obj["metadata"], obj.get("spec") or {}
    meta.pop("managedFields", None)
    if meta.get("annotations"):
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k in KEPT_ANNOTATIONS}
    for name in ("volumes", "tolerations", "affinity", "nodeSelector", "securityContext"):
        spec.pop(name, None)
    spec |= _named_containers(spec)
    if "template" in spec:
        labels = (spec["template"].get("metadata") or {}).get("labels") or {}
        pod_spec = _named_containers(spec["template"].get("spec") or {})
        spec["template"] = {"metadata": {"labels": labels}, "spec": pod_spec}
    return obj


def _named_containers(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the containers of a pod's spec, with only their names and restart policies."""
    return {
        group: [{k: container[k] for k in ("name", "restartPolicy") if k in container} for container in spec[group]]
        for group in ("initContainers", "containers", "ephemeralContainers")
        if spec.get(group)
    }


def may_restart(pod: KubeObject, exit_code: int | None = None) -> bool:
    """Return whether the kubelet may start a container of a pod again.

    With `restartPolicy: OnFailure` it does so unless the exit code is 0; None means that the code is not known.

    With `restartPolicy: Never` it may do so only if a container has its own policy: a sidecar (KEP-753), or restart rules
    (KEP-5307), which may restart all containers of the pod (KEP-5532).

    Examples
    --------
    >>> may_restart({"spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}})
    False
    """
    spec = pod["spec"]
    all_containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    if any(c.get("restartPolicy") for c in all_containers):
        return True
    policy = spec.get("restartPolicy")
    return policy != "Never" and not (policy == "OnFailure" and exit_code == 0)


def containers(pod: KubeObject) -> list[Container]:
    """Return the containers of a pod in the order of their start.

    Parameters
    ----------
    pod : dict
        A Pod object.
    """
    spec, status = pod["spec"], pod.get("status", {})
    default = pod["metadata"].get("annotations", {}).get(_DEFAULT_CONTAINER)
    result: list[Container] = []
    for specs, statuses, group in (
        ("initContainers", "initContainerStatuses", "init"),
        ("containers", "containerStatuses", "main"),
        ("ephemeralContainers", "ephemeralContainerStatuses", "ephemeral"),
    ):
        by_name = {s["name"]: s for s in status.get(statuses) or []}
        for container in spec.get(specs) or []:
            name = container["name"]
            is_restartable_init = group == "init" and container.get("restartPolicy") == "Always"  # a sidecar: KEP-753
            is_beside_default = group == "main" and default and name != default
            kind = "sidecar" if is_restartable_init or is_beside_default else group
            result.append(_container(pod, name, kind, by_name.get(name, {})))
    return result


def _container(pod: KubeObject, name: str, kind: str, status: dict[str, Any]) -> Container:
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
        name,
        kind,
        state,
        detail.get("reason") or "",
        detail.get("message") or "",
        source(current, run) if current else None,
        end,
        previous,
        end.started if end else _time(detail.get("startedAt")),
    )


def _end(terminated: dict[str, Any]) -> End:
    reason = terminated.get("reason") or ("Completed" if terminated.get("exitCode") == 0 else "Error")
    message = plain_text(terminated.get("message") or "")
    started, finished = (_time(terminated.get(name)) for name in ("startedAt", "finishedAt"))
    return End(terminated.get("exitCode", 0), reason, finished, message, started)


def plain_text(text: str, limit: int = MESSAGE_MAX) -> str:
    r"""Return a message of the cluster as plain text of bounded length: of control characters only tabs and line ends stay.

    A container writes its termination message itself, so it may contain escape codes.

    Examples
    --------
    >>> plain_text("\x1b[31mlost\x1b[0m\r\nGPU\t3\x00"), plain_text("abcdef", limit=4)
    ('lost\nGPU\t3', 'abc…')
    """
    text = _COLOUR.sub("", text).replace("\r\n", "\n").strip()
    text = "".join(c for c in text if c in "\n\t" or c.isprintable())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def in_one_line(text: str) -> str:
    r"""Return a message of the cluster as one line of at most `LINE_MAX` characters.

    Examples
    --------
    >>> in_one_line("CUDA error\n  device 3\n")
    'CUDA error device 3'
    """
    return plain_text(" ".join(text.split()), LINE_MAX)


def _time(text: str | None) -> int:
    return parse_rfc3339(text) if text else 0


def startup(pod: KubeObject) -> dict[str, Any]:
    """Return when a pod was created and scheduled, its place in an indexed Job, and its main container.

    Returns
    -------
    dict
        `created` and `scheduled` (ns since the Unix epoch, as strings); `inits`, the number of init containers; `index`, the
        completion index (https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode); `main`, if the pod
        has several containers: the one that `kubectl logs` chooses, which its annotation names, else the first. Unknown
        values are left out.

    Examples
    --------
    >>> when = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:02Z"}
    >>> startup({"metadata": {"creationTimestamp": "1970-01-01T00:00:01Z"}, "spec": {}, "status": {"conditions": [when]}})
    {'created': '1000000000', 'scheduled': '2000000000'}
    >>> startup({"metadata": {"annotations": {"batch.kubernetes.io/job-completion-index": "3"}}, "spec": {}})
    {'index': 3}
    >>> startup({"metadata": {}, "spec": {"containers": [{"name": "train"}, {"name": "agent"}]}})
    {'main': 'train'}
    """
    conditions = pod.get("status", {}).get("conditions") or []
    scheduled = [c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "True"]
    inits = [c for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") != "Always"]
    times = {
        "created": pod["metadata"].get("creationTimestamp"),
        "scheduled": scheduled[0].get("lastTransitionTime") if scheduled else None,
    }
    fields: dict[str, Any] = {name: str(_time(text)) for name, text in times.items() if text}
    annotations = pod["metadata"].get("annotations") or {}
    if inits:
        fields["inits"] = len(inits)
    if (index := annotations.get(_INDEX, "")).isdecimal():
        fields["index"] = int(index)
    names = [container["name"] for container in pod["spec"].get("containers") or []]
    if len(names) > 1:
        fields["main"] = annotations.get(_DEFAULT_CONTAINER) or names[0]
    return fields


def waiting_reason(pod: KubeObject) -> str:
    """Return why a pod writes no log yet; `""` if a container runs or has run.

    We read the Pod object and not the log endpoint, whose text leaves out the message (an image registry's error, for
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
        return ""
    for container in blocked:
        if container.reason and container.reason != "PodInitializing":
            return _reason(container.reason, container.message)
    return "ContainerCreating" if pod["spec"].get("nodeName") else "Pending: not scheduled yet"


def _reason(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason


@dataclass(frozen=True, slots=True)
class PodStatus:
    """A pod's row in `kubectl get pods`, and the reason for its status.

    Parameters
    ----------
    word : str
        STATUS: `Running`, `CrashLoopBackOff`, `Init:0/1`.
    ready, total : int
        READY: the number of ready containers, and of all.
    restarts : int
        RESTARTS.
    why : str
        The reason for the status if it is a problem; else empty.
    """

    word: str
    ready: int
    total: int
    restarts: int
    why: str = ""

    @property
    def is_troubled(self) -> bool:
        """Whether the status means a problem."""
        return self.word not in _HEALTHY and not self.word.removeprefix("Init:")[:1].isdecimal()

    def __str__(self) -> str:
        """Return the status as one line: `CrashLoopBackOff: main ended with exit 3, Error; 4 restarts`."""
        restarts = f"{self.restarts} restart{'' if self.restarts == 1 else 's'}" if self.restarts else ""
        why = "; ".join(filter(None, (self.why, restarts)))
        return f"{self.word}: {why}" if why else self.word


def status_of(pod: KubeObject) -> PodStatus:
    """Return a pod's status as `kubectl get pods` shows it.

    The rules come from `printPod` in kubernetes/pkg/printers/internalversion/printers.go, as of 1.32: the status of the
    first init container that is not done, else of the first container that waits or has ended, else the pod's own reason
    or phase.

    Parameters
    ----------
    pod : dict
        A Pod object.

    Examples
    --------
    >>> crashed = {"exitCode": 3, "reason": "Error", "containerID": "c1"}
    >>> pod = {"metadata": {}, "spec": {"containers": [{"name": "main"}]}, "status": {"phase": "Running", "containerStatuses": [
    ...     {"name": "main", "restartCount": 4, "containerID": "c1", "lastState": {"terminated": crashed},
    ...      "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting"}}}]}}
    >>> str(status_of(pod))
    'CrashLoopBackOff: main ended with exit 3, Error; 4 restarts'
    """
    spec, status = pod["spec"], pod.get("status", {})
    phase, reason = status.get("phase") or "Unknown", status.get("reason")
    conditions: dict[str, dict[str, Any]] = {c["type"]: c for c in status.get("conditions") or []}
    inits, mains = status.get("initContainerStatuses") or [], status.get("containerStatuses") or []
    sidecars = {c["name"] for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    restartable = [c for c in inits if c["name"] in sidecars]

    word, why = reason or phase, in_one_line(status.get("message") or "") if reason else ""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("reason") == "SchedulingGated":
        word = "SchedulingGated"
    elif scheduled.get("status") == "False":
        why = why or _reason(scheduled.get("reason") or "", in_one_line(scheduled.get("message") or ""))

    counted, is_initialized = restartable + mains, _is_true(conditions, "Initialized")
    if initializing := _initializing(inits, sidecars, len(spec.get("initContainers") or [])):
        word, why = initializing
    if initializing and not is_initialized:
        counted = inits
    else:
        word, why = next(filter(None, map(_container_word, mains)), (word, why))
        if word == "Completed" and any(map(_is_ready, mains)):
            word, why = ("Running" if _is_true(conditions, "Ready") else "NotReady"), ""

    if pod["metadata"].get("deletionTimestamp"):
        if reason == "NodeLost":
            word = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            word, why = "Terminating", ""
    ready = sum(map(_is_ready, restartable if initializing and not is_initialized else counted))
    total = len(spec.get("containers") or []) + len(sidecars)
    return PodStatus(word, ready, total, sum(c.get("restartCount", 0) for c in counted), why)


def _initializing(inits: list[dict[str, Any]], sidecars: set[str], count: int) -> tuple[str, str] | None:
    """Return the status of the first init container that is not done, and the reason; None if all are done."""
    for index, init in enumerate(inits):
        state, detail = _state(init)
        if (state == "terminated" and not detail.get("exitCode")) or (init["name"] in sidecars and init.get("started")):
            continue
        status = _container_word(init)
        if status and status[0] != "PodInitializing":
            return f"Init:{status[0]}", status[1]
        return f"Init:{index}/{count}", ""
    return None


def _container_word(status: dict[str, Any]) -> tuple[str, str] | None:
    """Return the status of a container that waits or has ended, and the reason; else None."""
    state, detail = _state(status)
    if state == "waiting":
        return (detail["reason"], _why(status)) if detail.get("reason") else None
    if state == "running":
        return None
    signal = detail.get("signal")
    unnamed = f"Signal:{signal}" if signal else f"ExitCode:{detail.get('exitCode', 0)}"
    return detail.get("reason") or unnamed, _why(status)


def _is_ready(status: dict[str, Any]) -> bool:
    return bool(status.get("ready")) and _state(status)[0] == "running"


def _is_true(conditions: dict[str, dict[str, Any]], name: str) -> bool:
    return bool(conditions.get(name, {}).get("status") == "True")


def _state(status: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    states: dict[str, dict[str, Any]] = status.get("state") or {"waiting": {}}
    return next(iter(states.items()))


def _why(status: dict[str, Any]) -> str:
    """Return why a container waits. If it waits for its restart, return how its last run ended."""
    state, detail = _state(status)
    last = (status.get("lastState") or {}).get("terminated")
    if state == "waiting" and not (last and detail.get("reason") == "CrashLoopBackOff"):
        message = in_one_line(detail.get("message") or "")
        return f"{status['name']}: {message}" if message else ""
    end = _end(detail if state == "terminated" else last or {})
    return f"{status['name']} ended with {end}" if end.exit_code or state == "waiting" else ""


def is_finished(pod: KubeObject) -> bool:
    """Return whether no container of this pod will run again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


class Decision(NamedTuple):
    """The decisive end of a task and its pod.

    Parameters
    ----------
    pod : dict
        Its Pod object.
    end : End
    ties : int
        How many other pods failed in the same second: which one was the first is not known then.
    """

    pod: KubeObject
    end: End
    ties: int = 0


def decisive_end(pods: list[KubeObject]) -> End | None:
    """Return the end that gives a task its exit code: that of `decision`."""
    decided = decision(pods)
    return decided.end if decided else None


def decision(pods: list[KubeObject]) -> Decision | None:
    """Return the main or init container that failed first in the last attempt; else the one that succeeded last.

    Pods that run together fail together: one rank fails, and the others fail because it is gone. Pods that run one after
    the other are attempts. A failure belongs to an earlier attempt if it is older than the pod of the newest failure, or if a
    newer pod has the name of its pod.

    When one pod fails for good, the Job's controller deletes the pods that still run, and they end with 143 or 137
    (`deleteActivePods` in kubernetes/pkg/controller/job/job_controller.go). That is an effect of the failure, so a pod that is
    being deleted counts only if there is no other failure.

    Parameters
    ----------
    pods : list of dict
        Pod objects.
    """
    newest_of_name = {pod["metadata"].get("name"): created(pod) for pod in sorted(pods, key=created)}
    current = [pod for pod in pods if created(pod) == newest_of_name[pod["metadata"].get("name")]]
    ends = [Decision(pod, c.end) for pod in current for c in containers(pod) if c.end and c.kind in ("init", "main")]
    failures = [decided for decided in ends if decided.end.exit_code]
    own_failures = [decided for decided in failures if "deletionTimestamp" not in decided.pod["metadata"]] or failures
    if not failures:
        return max(ends, key=lambda decided: decided.end.finished, default=None)
    newest = max(own_failures, key=lambda decided: decided.end.finished)
    together = [decided for decided in own_failures if decided.end.finished >= created(newest.pod)]

    def order(decided: Decision) -> tuple[float, bool]:
        # Times are whole seconds. A container that was stopped did not fail by itself, unless it took too much memory.
        is_stopped = decided.end.exit_code in (137, 143) and decided.end.reason != "OOMKilled"
        return decided.end.finished or math.inf, is_stopped

    first = min(together, key=order)
    same = {id(decided.pod) for decided in together if first.end.finished and order(decided) == order(first)}
    return first._replace(ties=len(same - {id(first.pod)}))


def created(pod: KubeObject) -> int:
    """Return when a pod was created (ns since the Unix epoch); 0 if it does not say."""
    return _time(pod["metadata"].get("creationTimestamp"))


def finished(pod: KubeObject) -> int:
    """Return when the last container of a pod ended (ns since the Unix epoch); 0 if none has."""
    return max((c.end.finished for c in containers(pod) if c.end), default=0)
