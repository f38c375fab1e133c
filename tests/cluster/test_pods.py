"""What a Pod and a Job say, as a cluster writes them."""

from __future__ import annotations

from typing import Any

import pytest

from cortex_jupyter.cluster.pods import containers, exit_of, waiting_reason
from cortex_jupyter.cluster.workloads import Workload, state_of
from cortex_jupyter.records import TaskRef

DEFAULT = "kubectl.kubernetes.io/default-container"
Object = dict[str, Any]


def running() -> Object:
    return {"running": {"startedAt": "2023-11-14T22:13:20Z"}}


def ended(code: int = 0, reason: str = "", at: str = "2023-11-14T22:14:20Z", ident: str = "") -> Object:
    why = reason or ("Completed" if code == 0 else "Error")
    return {"terminated": {"exitCode": code, "reason": why, "finishedAt": at, "containerID": ident}}


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def status(name: str, state: Object, ident: str = "", restarts: int = 0, last: Object | None = None) -> Object:
    return {"name": name, "state": state, "containerID": ident, "restartCount": restarts, "lastState": last or {}}


def pod(
    *statuses: Object, init: tuple[Object, ...] = (), ephemeral: tuple[Object, ...] = (), phase: str = "Running",
    node: str = "n1", sidecars: tuple[str, ...] = (), conditions: tuple[Object, ...] = (), default: str = "",
) -> Object:  # fmt: skip
    inits = [{"name": s["name"]} | ({"restartPolicy": "Always"} if s["name"] in sidecars else {}) for s in init]
    spec = {"nodeName": node, "containers": [{"name": s["name"]} for s in statuses], "initContainers": inits}
    spec["ephemeralContainers"] = [{"name": s["name"]} for s in ephemeral]
    known: Object = {"phase": phase, "containerStatuses": list(statuses), "initContainerStatuses": list(init)}
    known |= {"ephemeralContainerStatuses": list(ephemeral), "conditions": list(conditions)}
    meta: Object = {"name": "p", "uid": "u", "annotations": {DEFAULT: default} if default else {}}
    return {"metadata": meta, "spec": spec, "status": known}


def job(*conditions: tuple[str, str], suspend: bool = False) -> Workload:
    doc = [{"type": t, "status": "True", "reason": r} for t, r in conditions]
    return Workload(TaskRef("d", "job", "x"), "u", {"spec": {"suspend": suspend}, "status": {"conditions": doc}})


def state(workload: Workload, *pods: Object) -> tuple[str, str, int | None]:
    found = state_of(workload, list(pods))
    return found.name, found.message, found.exit_code


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: memory"}
PULL = 'Back-off pulling image "nope"'


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (pod(status("m", waiting("ContainerCreating"))), "ContainerCreating"),
        (pod(phase="Pending", node="", conditions=(UNSCHEDULABLE,)), "Unschedulable: 0/1 nodes: memory"),
        (pod(phase="Pending", node=""), "Pending: not scheduled yet"),
        (pod(status("m", waiting("ImagePullBackOff", PULL))), f"ImagePullBackOff: {PULL}"),
        (pod(status("m", waiting("PodInitializing")), init=(status("i", waiting("ErrImagePull", "no")),)), "ErrImagePull: no"),
        (pod(status("m", waiting("PodInitializing")), init=(status("i", running(), "c1"),)), ""),
        (
            pod(
                status("m", waiting("PodInitializing")),
                init=(status("i", waiting("CrashLoopBackOff"), "c2", 2, ended(1, ident="c2")),),
            ),
            "",
        ),
        (pod(status("m", running(), "c1"), status("s", waiting("ErrImagePull", "no"))), "s: ErrImagePull: no"),
        (pod(status("m", running(), "c1")), ""),
    ],
)  # fmt: skip
def test_why_nothing_is_there_yet(one: Object, reason: str) -> None:
    assert waiting_reason(one) == reason


def test_kinds_of_containers() -> None:
    one = pod(
        status("main", running(), "c1"), status("proxy", running(), "c2"),
        init=(status("prepare", ended(ident="c3"), "c3"), status("ship", running(), "c4")),
        ephemeral=(status("debug", running(), "c5"),), sidecars=("ship",), default="main",
    )  # fmt: skip
    kinds = {c.name: c.kind for c in containers(one)}
    assert kinds == {"prepare": "init", "ship": "sidecar", "main": "main", "proxy": "sidecar", "debug": "ephemeral"}
    assert [c.name for c in containers(one)][:2] == ["prepare", "ship"]


def test_runs_of_a_container() -> None:
    crashed = ended(1, ident="c1")
    (loop,) = containers(pod(status("m", waiting("CrashLoopBackOff"), "c1", 0, crashed)))
    assert loop.source is not None and loop.source.container_id == "c1"
    assert loop.end is not None and loop.end.exit_code == 1 and loop.previous is None
    (again,) = containers(pod(status("m", running(), "c2", 1, crashed)))
    assert again.source is not None and again.source.run == 1 and again.end is None
    # The run that crashed is the same source as before.
    assert again.previous is not None and again.previous[0] == loop.source and again.previous[0].run == 0
    (oom,) = containers(pod(status("m", ended(137, "OOMKilled", ident="c3"), "c3")))
    assert oom.end is not None and (oom.end.exit_code, oom.end.reason) == (137, "OOMKilled")
    (none,) = containers(pod(status("m", waiting("ContainerCreating"))))
    assert none.source is None and none.end is None


def test_states_of_a_job() -> None:
    good, bad = pod(status("m", ended(), "c1"), phase="Succeeded"), pod(status("m", ended(3), "c1"), phase="Failed")
    assert state(job()) == ("pending", "Log not available yet: no pod has been created", None)
    assert state(job(suspend=True))[:2] == ("pending", "Log not available yet: the Job is suspended")
    assert state(job(), pod(status("m", running(), "c1"))) == ("running", "Running", None)
    assert state(job(), bad)[0] == "running"  # the next pod is to come
    assert state(job(("Complete", "")), good) == ("succeeded", "Job complete exit 0", 0)
    assert state(job(("Complete", "")), bad, good) == ("succeeded", "Job complete exit 0", 0)  # retried
    assert state(job(("Failed", "BackoffLimitExceeded")), bad) == (
        "failed",
        "Job failed exit 3: BackoffLimitExceeded",
        3,
    )
    assert state(job(("Failed", "DeadlineExceeded"))) == ("failed", "Job failed: DeadlineExceeded", 1)
    oom = pod(status("m", ended(137, "OOMKilled"), "c1"), phase="Failed")
    assert (
        state(job(("Failed", "BackoffLimitExceeded")), oom)[1] == "Job failed exit 137: OOMKilled, BackoffLimitExceeded"
    )
    # Newer servers say first that it will be; pods may still write.
    assert state(job(("FailureTarget", "DeadlineExceeded")), pod(status("m", running(), "c1")))[0] == "running"


def test_a_sidecar_beside_what_has_ended() -> None:
    one = pod(status("m", ended(3), "c1"), init=(status("ship", running(), "c2"),), sidecars=("ship",), phase="Running")
    assert state(job(), one)[0] == "running"
    assert exit_of([one]).exit_code == 3  # type: ignore[union-attr]
    killed = pod(
        status("m", ended(), "c1"), init=(status("ship", ended(143), "c2"),), sidecars=("ship",), phase="Succeeded"
    )
    assert exit_of([killed]).exit_code == 0  # type: ignore[union-attr]


def test_a_debugging_container_does_not_count() -> None:
    one = pod(status("m", ended(), "c1"), ephemeral=(status("debug", ended(1), "c2"),), phase="Succeeded")
    assert exit_of([one]).exit_code == 0  # type: ignore[union-attr]


def test_states_of_a_pod_and_others() -> None:
    bare = Workload(TaskRef("d", "pod", "p"), "u", {"spec": {}})
    assert state(bare, pod(status("m", ended(), "c1"), phase="Succeeded"))[:2] == ("succeeded", "Pod complete exit 0")
    assert state(bare, pod(status("m", ended(2), "c1"), phase="Failed"))[:2] == ("failed", "Pod failed exit 2")
    evicted = pod(status("m", ended(137), "c1"), phase="Failed")
    evicted["status"]["reason"] = "Evicted"
    assert state(bare, evicted)[1] == "Pod failed exit 137: Evicted"
    some = Workload(TaskRef("d", "selector", "a=b"), "s", {})
    assert state(some, pod(status("m", ended(), "c1"), phase="Succeeded"))[0] == "running"
    one = pod(status("m", waiting("ImagePullBackOff", PULL)), phase="Pending")
    assert state(some, one)[:2] == ("pending", f"Log not available yet: ImagePullBackOff: {PULL}")


def test_the_failure_counts_and_not_what_it_brought_upon_the_other_pods() -> None:
    failed = pod(status("m", ended(3, at="2023-11-14T22:14:20Z"), "c1"), phase="Failed")
    deleted = pod(status("m", ended(143, at="2023-11-14T22:14:22Z"), "c2"))
    deleted["metadata"]["deletionTimestamp"] = "2023-11-14T22:14:21Z"
    assert state(job(("Failed", "BackoffLimitExceeded")), failed, deleted)[2] == 3
    assert state(job(("Failed", "DeadlineExceeded")), deleted)[2] == 143
