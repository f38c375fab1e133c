"""A pod's `status`, put together from what is known of its containers.

The rules are those of `pkg/kubelet/kubelet_pods.go` (`getPhase`, `convertToAPIContainerStatuses`) and
`pkg/kubelet/status/generate.go` (conditions) in kubernetes/kubernetes.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.defaults import qos
from cortex_jupyter.sandbox.objects import now

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.process import Process

Object = dict[str, Any]

HOST_IP = "127.0.0.1"
_USER: Object = {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}}
INIT, SIDECAR, MAIN, EPHEMERAL = "init", "sidecar", "main", "ephemeral"


@dataclass
class Container:
    """What the kubelet knows of one container of one pod."""

    spec: Object
    kind: str
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last: Object = field(default_factory=dict)
    restarts: int = 0
    id: str = ""
    process: Process | None = None

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self.spec["name"])

    @property
    def field(self) -> str:
        """How events name it."""
        part = {MAIN: "containers", EPHEMERAL: "ephemeralContainers"}.get(self.kind, "initContainers")
        return f"spec.{part}{{{self.name}}}"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return "running" in self.state

    @property
    def succeeded(self) -> bool:
        """Whether it ended with exit code 0."""
        return bool(self.state.get("terminated", {}).get("exitCode", 1) == 0)

    def wait(self, reason: str, message: str = "") -> None:
        """Enter a waiting state; what ran before becomes `lastState`."""
        if "terminated" in self.state:
            self.last = self.state
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    def run(self) -> None:
        """Enter the running state under a new container ID."""
        if "terminated" in self.state:
            self.last = self.state
        self.id = f"containerd://{uuid.uuid4().hex}{uuid.uuid4().hex}"
        self.state = {"running": {"startedAt": now()}}

    def fail(self, message: str) -> None:
        """Enter the terminated state without having run (`StartError`, containerd's exit code 128)."""
        self.run()
        self.state = {}
        self.end(128, "StartError", message)

    def end(self, code: int, reason: str, message: str = "") -> None:
        """Enter the terminated state."""
        started = self.state.get("running", {}).get("startedAt", "1970-01-01T00:00:00Z")
        ended = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now(), "containerID": self.id}
        self.state = {"terminated": ended | ({"message": message} if message else {})}

    def status(self) -> Object:
        """Give its `containerStatus`."""
        started = self.running
        ready = self.succeeded if self.kind == INIT else started
        image = self.spec.get("image", "")
        found = {
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
            return found
        # KEP-1287 `resources` and KEP-3619 `user`, both 1.33; KEP-3857 `volumeMounts`, 1.31.
        mounts = [
            mount | ({"recursiveReadOnly": "Disabled"} if mount.get("readOnly") else {})
            for mount in self.spec.get("volumeMounts") or []
        ]
        resources = self.spec.get("resources") or {}
        found |= {"containerID": self.id, "resources": resources, "user": _USER}
        found |= {"allocatedResources": resources["requests"]} if "requests" in resources else {}
        return found | ({"volumeMounts": mounts} if mounts else {})


def build(pod: Object, containers: list[Container], phase: str, **extra: str) -> Object:
    """Give the whole `status` of a pod that is bound to the node.

    Parameters
    ----------
    pod : dict
        The pod; its present status says when each condition last changed.
    containers : list of Container
        In the order of the spec.
    phase : str
        Its phase.
    **extra : str
        `reason` and `message` of the pod itself, such as DeadlineExceeded.
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
    ran = any(c.id for c in containers)
    truths = {
        # KEP-3085: whether the pod has its sandbox, which is gone once all containers have ended.
        "PodReadyToStartContainers": (ran and not finished, "", ""),
        "Initialized": (not waiting or phase == "Succeeded", *initialized),
        "Ready": (not unready, *ready),
        "ContainersReady": (not unready, *ready),
        "PodScheduled": (True, "", ""),
    }
    generation = pod["metadata"].get("generation", 1)
    before = {c["type"]: c for c in old.get("conditions") or []}
    address = old.get("podIP") or _address(pod["metadata"]["uid"])
    status: Object = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": [
            {"observedGeneration": generation} | _condition(kind, *truth, before.get(kind))
            for kind, truth in truths.items()
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
        # The kubelet sorts regular containers by name and leaves init containers in their order.
        chosen = [c for c in containers if c.kind in kinds]
        if chosen:
            status[part] = [c.status() for c in (chosen if INIT in kinds else sorted(chosen, key=lambda c: c.name))]
    return status | {k: v for k, v in extra.items() if v}


def _condition(kind: str, truth: bool, reason: str, message: str, before: Object | None) -> Object:  # noqa: FBT001 - a row of the table above
    status = "True" if truth else "False"
    since = before["lastTransitionTime"] if before and before["status"] == status else now()
    found: Object = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since}
    return found | {k: v for k, v in (("reason", reason), ("message", message)) if v}


def restarting(pod: Object, message: str) -> Object:
    """Return the condition that says whether all containers are being restarted at this moment (KEP-5532)."""
    before = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    kind = "AllContainersRestarting"
    return _condition(kind, bool(message), "ContainerExited" if message else "", message, before.get(kind))


def _address(uid: str) -> str:
    digest = hashlib.sha256(uid.encode()).digest()
    return f"10.244.{digest[0]}.{digest[1] % 254 + 1}"
