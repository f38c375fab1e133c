"""What a Pod object says: its containers, their runs, why nothing runs yet. Plain functions on the API's JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from cortex_jupyter.model import Source, parse_rfc3339

#: Characters of a termination message that are kept; the kubelet keeps 4096 bytes of one
#: (https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/).
MESSAGE_MAX: Final = 4096
#: Characters of a message where it is part of a sentence.
LINE_MAX: Final = 500
#: Reasons of containerd and CRI-O, and of Docker, for a container that could not be started.
NOT_STARTED: Final = frozenset({"StartError", "ContainerCannotRun"})
_COLOUR: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
#: What STATUS of `kubectl get pods` says of a pod with nothing amiss; `Init:1/2` besides.
_QUIET: Final = frozenset({"Pending", "ContainerCreating", "PodInitializing", "Running", "NotReady", "Completed",
                           "Succeeded", "Terminating"})  # fmt: skip
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
    message : str
        What the kubelet, or the container itself (`terminationMessagePath`), says of the end: `exec: "/nope": no such
        file or directory`. At most `MESSAGE_MAX` characters of plain text.
    started : int
        When the run started, ns since the epoch; 0 where the node does not say, or it never did.
    """

    exit_code: int
    reason: str
    finished: int
    message: str = ""
    started: int = 0

    @property
    def has_run(self) -> bool:
        """Whether the container's program was ever executed; if not, the message says why."""
        return self.reason not in NOT_STARTED

    def __str__(self) -> str:
        """Write the end as one line: `exit 128, StartError: exec: "/nope": no such file or directory`."""
        reason = f", {self.reason}" if self.reason not in ("", "Completed") else ""
        message = in_one_line(self.message)
        return f"exit {self.exit_code}{reason}" + (f": {message}" if message else "")


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


def without_bulk(obj: dict[str, Any]) -> dict[str, Any]:
    """Take out of a pod or workload, in place, what fills most of it and is never looked at; return it.

    That is who manages which field, other tools' annotations, volumes, where a pod may run, and of containers all but name and
    restart policy: of a pod of 20 kB 2 kB are left. The pod template of a workload keeps its labels and the names of its containers.

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
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k in (_DEFAULT_CONTAINER, _INDEX)}
    for name in ("volumes", "tolerations", "affinity", "nodeSelector", "securityContext"):
        spec.pop(name, None)
    spec |= _named_containers(spec)
    if "template" in spec:
        labels = (spec["template"].get("metadata") or {}).get("labels") or {}
        of_pods = _named_containers(spec["template"].get("spec") or {})
        spec["template"] = {"metadata": {"labels": labels}, "spec": of_pods}
    return obj


def _named_containers(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the containers of a pod's spec with nothing but name and restart policy."""
    return {
        group: [{k: one[k] for k in ("name", "restartPolicy") if k in one} for one in spec[group]]
        for group in ("initContainers", "containers", "ephemeralContainers")
        if spec.get(group)
    }


def restarts(pod: dict[str, Any]) -> bool:
    """Return whether the kubelet may start a container of a pod again.

    With `restartPolicy: Never` it does so only where a container has a policy of its own: a sidecar (KEP-753), or rules
    (KEP-5307), which may restart all containers of the pod (KEP-5532).

    Examples
    --------
    >>> restarts({"spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}})
    False
    """
    spec = pod["spec"]
    every = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return spec.get("restartPolicy") != "Never" or any(one.get("restartPolicy") for one in every)


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
        source(current, run) if current else None, end, previous, end.started if end else _time(detail.get("startedAt")),
    )  # fmt: skip


def _end(terminated: dict[str, Any]) -> End:
    reason = terminated.get("reason") or ("Completed" if terminated.get("exitCode") == 0 else "Error")
    message = plain_text(terminated.get("message") or "")
    started, finished = (_time(terminated.get(name)) for name in ("startedAt", "finishedAt"))
    return End(terminated.get("exitCode", 0), reason, finished, message, started)


def plain_text(text: str, limit: int = MESSAGE_MAX) -> str:
    r"""Return a message of the cluster without control characters, tabs and line ends apart, and bounded in length.

    A container writes its termination message itself, so it may hold escape codes.

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
    """Return why a pod writes no log yet, or `""` where a container runs or has run.

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
        return ""
    for one in blocked:
        if one.reason and one.reason != "PodInitializing":
            return _reason(one.reason, one.message)
    return "ContainerCreating" if pod["spec"].get("nodeName") else "Pending: not scheduled yet"


def _reason(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason


@dataclass(frozen=True, slots=True)
class PodStatus:
    """What `kubectl get pods` shows of a pod, and why.

    Parameters
    ----------
    word : str
        Its STATUS: `Running`, `CrashLoopBackOff`, `Init:0/1`.
    ready, total : int
        Its READY: containers that are ready, and those that it has.
    restarts : int
        Its RESTARTS.
    why : str
        What led to the word, where something is amiss; else nothing.
    """

    word: str
    ready: int
    total: int
    restarts: int
    why: str = ""

    @property
    def is_troubled(self) -> bool:
        """Whether the word says that something is amiss."""
        return self.word not in _QUIET and not self.word.removeprefix("Init:")[:1].isdecimal()

    def __str__(self) -> str:
        """Write the status as one line: `CrashLoopBackOff: main ended with exit 3, Error; 4 restarts`."""
        restarts = f"{self.restarts} restart{'' if self.restarts == 1 else 's'}" if self.restarts else ""
        why = "; ".join(filter(None, (self.why, restarts)))
        return f"{self.word}: {why}" if why else self.word


def status_of(pod: dict[str, Any]) -> PodStatus:
    """Return what `kubectl get pods` shows of a pod.

    The rules are those of `printPod` in kubernetes/pkg/printers/internalversion/printers.go, as of 1.32: the status of the
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
    restartable = [one for one in inits if one["name"] in sidecars]

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
        word, why = next((found for one in mains if (found := _container_word(one))), (word, why))
        if word == "Completed" and any(_is_ready(one) for one in mains):
            word, why = ("Running" if _is_true(conditions, "Ready") else "NotReady"), ""

    if pod["metadata"].get("deletionTimestamp"):
        if reason == "NodeLost":
            word = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            word, why = "Terminating", ""
    ready = sum(_is_ready(one) for one in (restartable if initializing and not is_initialized else counted))
    total = len(spec.get("containers") or []) + len(sidecars)
    return PodStatus(word, ready, total, sum(one.get("restartCount", 0) for one in counted), why)


def _initializing(inits: list[dict[str, Any]], sidecars: set[str], count: int) -> tuple[str, str] | None:
    """Return the word of the first init container that is not done, and why; None where all are."""
    for index, one in enumerate(inits):
        state, detail = _state(one)
        if (state == "terminated" and not detail.get("exitCode")) or (one["name"] in sidecars and one.get("started")):
            continue
        found = _container_word(one)
        if found and found[0] != "PodInitializing":
            return f"Init:{found[0]}", found[1]
        return f"Init:{index}/{count}", ""
    return None


def _container_word(status: dict[str, Any]) -> tuple[str, str] | None:
    """Return the word of a container that waits for a reason or has ended, and why; else None."""
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
    """Word what a container waits for; one that waits to be restarted, how its last run ended."""
    state, detail = _state(status)
    last = (status.get("lastState") or {}).get("terminated")
    if state == "waiting" and not (last and detail.get("reason") == "CrashLoopBackOff"):
        message = in_one_line(detail.get("message") or "")
        return f"{status['name']}: {message}" if message else ""
    end = _end(detail if state == "terminated" else last or {})
    return f"{status['name']} ended with {end}" if end.exit_code or state == "waiting" else ""


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
