"""Builds a pod's `status` from the states of its containers.

The rules come from `pkg/kubelet/kubelet_pods.go` (`getPhase`, `convertToAPIContainerStatuses`) and
`pkg/kubelet/status/generate.go` (conditions) in kubernetes/kubernetes.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox.defaults import qos
from cortex_jupyter.sandbox.objects import now

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.process import Process


HOST_IP = "127.0.0.1"
_USER: KubeObject = {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}}
INIT, SIDECAR, MAIN, EPHEMERAL = "init", "sidecar", "main", "ephemeral"


@dataclass
class Container:
    """The state of one container of a pod, as the kubelet tracks it."""

    spec: KubeObject
    kind: str
    state: KubeObject = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last: KubeObject = field(default_factory=dict)
    restarts: int = 0
    id: str = ""
    process: Process | None = None

    @property
    def name(self) -> str:
        """The container's name in the pod."""
        return str(self.spec["name"])

    @property
    def field_path(self) -> str:
        """The container as events name it in `fieldPath`."""
        part = {MAIN: "containers", EPHEMERAL: "ephemeralContainers"}.get(self.kind, "initContainers")
        return f"spec.{part}{{{self.name}}}"

    @property
    def running(self) -> bool:
        """Whether the container's process runs."""
        return "running" in self.state

    @property
    def succeeded(self) -> bool:
        """Whether the container ended with exit code 0."""
        return bool(self.state.get("terminated", {}).get("exitCode", 1) == 0)

    def set_waiting(self, reason: str, message: str = "") -> None:
        """Enter the waiting state; a terminated state before it becomes `lastState`."""
        if "terminated" in self.state:
            self.last = self.state
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    def set_running(self) -> None:
        """Enter the running state under a new container ID."""
        if "terminated" in self.state:
            self.last = self.state
        self.id = f"containerd://{uuid.uuid4().hex}{uuid.uuid4().hex}"
        self.state = {"running": {"startedAt": now()}}

    def set_start_failed(self, message: str) -> None:
        """Enter the terminated state of a container that could not start (`StartError`, containerd's exit code 128)."""
        self.set_running()
        self.state = {}
        self.set_terminated(128, "StartError", message)

    def set_terminated(self, code: int, reason: str, message: str = "") -> None:
        """Enter the terminated state."""
        started = self.state.get("running", {}).get("startedAt", "1970-01-01T00:00:00Z")
        details = {
            "exitCode": code,
            "reason": reason,
            "startedAt": started,
            "finishedAt": now(),
            "containerID": self.id,
        }
        self.state = {"terminated": details | ({"message": message} if message else {})}

    def status(self) -> KubeObject:
        """Return the container's `containerStatus`."""
        started = self.running
        ready = self.succeeded if self.kind == INIT else started
        image = self.spec.get("image", "")
        status = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last,
            "ready": ready,
            "restartCount": self.restarts,
            "image": image,
            "imageID": f"sha256:{hashlib.sha256(image.encode()).hexdigest()}" if self.id else "",
            "started": started,
        }
        if not self.id:
            return status
        # `resources` (KEP-1287) and `user` (KEP-3619) exist since 1.33, `volumeMounts` (KEP-3857) since 1.31.
        mounts = [
            mount | ({"recursiveReadOnly": "Disabled"} if mount.get("readOnly") else {})
            for mount in self.spec.get("volumeMounts") or []
        ]
        resources = self.spec.get("resources") or {}
        status |= {"containerID": self.id, "resources": resources, "user": _USER}
        status |= {"allocatedResources": resources["requests"]} if "requests" in resources else {}
        return status | ({"volumeMounts": mounts} if mounts else {})


def build(pod: KubeObject, containers: list[Container], phase: str, **extra: str) -> KubeObject:
    """Return the complete `status` of a pod that is bound to the node.

    Parameters
    ----------
    pod : dict
        The pod; its current status holds the time of each condition's last change.
    containers : list of Container
        The containers in the order of the spec.
    phase : str
        The pod's phase.
    **extra : str
        `reason` and `message` of the pod itself, for example of DeadlineExceeded.
    """
    old = pod.get("status") or {}
    finished = phase in ("Succeeded", "Failed")
    waiting = [
        c.name
        for c in containers
        if (c.kind == INIT and not c.succeeded) or (c.kind == SIDECAR and not (c.running or finished))
    ]
    unready = [c.name for c in containers if c.kind in (MAIN, SIDECAR) and not c.running]
    initialized = (
        ("", "")
        if not waiting
        else ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting)}]")
    )
    ready = (
        ("", "") if not unready else ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    )
    if phase == "Succeeded":
        initialized, ready = ("PodCompleted", ""), ("PodCompleted", "")
    has_run = any(c.id for c in containers)
    conditions = {
        # KEP-3085: whether the pod's own sandbox exists; it is removed when all containers have ended.
        "PodReadyToStartContainers": (has_run and not finished, "", ""),
        "Initialized": (not waiting or phase == "Succeeded", *initialized),
        "Ready": (not unready, *ready),
        "ContainersReady": (not unready, *ready),
        "PodScheduled": (True, "", ""),
    }
    generation = pod["metadata"].get("generation", 1)
    old_conditions = {c["type"]: c for c in old.get("conditions") or []}
    address = old.get("podIP") or _address(pod["metadata"]["uid"])
    status: KubeObject = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": [
            {"observedGeneration": generation} | _condition(kind, *condition, old_conditions.get(kind))
            for kind, condition in conditions.items()
        ],
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": old.get("startTime") or now(),
        "qosClass": qos(pod),
    }
    parts = {
        "initContainerStatuses": (INIT, SIDECAR),
        "containerStatuses": (MAIN,),
        "ephemeralContainerStatuses": (EPHEMERAL,),
    }
    for part, kinds in parts.items():
        # The kubelet sorts regular containers by name, and keeps init containers in order.
        selected = [c for c in containers if c.kind in kinds]
        if selected:
            status[part] = [c.status() for c in (selected if INIT in kinds else sorted(selected, key=lambda c: c.name))]
    return status | {k: v for k, v in extra.items() if v}


def _condition(kind: str, is_true: bool, reason: str, message: str, before: KubeObject | None) -> KubeObject:  # noqa: FBT001 - called with a row of the table in `build`
    status = "True" if is_true else "False"
    since = before["lastTransitionTime"] if before and before["status"] == status else now()
    condition: KubeObject = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since}
    return condition | {k: v for k, v in (("reason", reason), ("message", message)) if v}


def restarting_condition(pod: KubeObject, message: str) -> KubeObject:
    """Return the condition `AllContainersRestarting`, which is true while all containers are restarted (KEP-5532)."""
    old_conditions = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    kind = "AllContainersRestarting"
    return _condition(kind, bool(message), "ContainerExited" if message else "", message, old_conditions.get(kind))


def _address(uid: str) -> str:
    digest = hashlib.sha256(uid.encode()).digest()
    return f"10.244.{digest[0]}.{digest[1] % 254 + 1}"
