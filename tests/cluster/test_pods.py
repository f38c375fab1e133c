"""The state of Pods and Jobs, from objects as a cluster writes them."""

from __future__ import annotations

from typing import Any

import pytest

from cortex_jupyter.cluster.pods import MESSAGE_MAX, containers, decisive_end, status_of, waiting_reason
from cortex_jupyter.cluster.workloads import Workload, state_of
from cortex_jupyter.model import TaskRef

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
    *statuses: Object,
    init: tuple[Object, ...] = (),
    ephemeral: tuple[Object, ...] = (),
    phase: str = "Running",
    node: str = "n1",
    sidecars: tuple[str, ...] = (),
    conditions: tuple[Object, ...] = (),
    default: str = "",
) -> Object:
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
        (
            pod(status("m", waiting("PodInitializing")), init=(status("i", waiting("ErrImagePull", "no")),)),
            "ErrImagePull: no",
        ),
        (pod(status("m", waiting("PodInitializing")), init=(status("i", running(), "c1"),)), ""),
        (
            pod(
                status("m", waiting("PodInitializing")),
                init=(status("i", waiting("CrashLoopBackOff"), "c2", 2, ended(1, ident="c2")),),
            ),
            "",
        ),
        (pod(status("m", running(), "c1"), status("s", waiting("ErrImagePull", "no"))), ""),
        (pod(status("m", running(), "c1")), ""),
    ],
)
def test_why_a_pod_has_no_log_yet(one: Object, reason: str) -> None:
    assert waiting_reason(one) == reason


def test_kinds_of_containers() -> None:
    one = pod(
        status("main", running(), "c1"),
        status("proxy", running(), "c2"),
        init=(status("prepare", ended(ident="c3"), "c3"), status("ship", running(), "c4")),
        ephemeral=(status("debug", running(), "c5"),),
        sidecars=("ship",),
        default="main",
    )
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
    # The run that crashed is still the same source.
    assert again.previous is not None and again.previous[0] == loop.source and again.previous[0].run == 0
    (oom,) = containers(pod(status("m", ended(137, "OOMKilled", ident="c3"), "c3")))
    assert oom.end is not None and (oom.end.exit_code, oom.end.reason) == (137, "OOMKilled")
    (none,) = containers(pod(status("m", waiting("ContainerCreating"))))
    assert none.source is None and none.end is None


def test_the_start_of_a_run_that_has_ended() -> None:
    crashed = ended(1, ident="c1")
    crashed["terminated"]["startedAt"] = "2023-11-14T22:13:20Z"
    (loop,) = containers(pod(status("m", waiting("CrashLoopBackOff"), "c1", 0, crashed)))
    (again,) = containers(pod(status("m", running(), "c2", 1, crashed)))
    assert loop.started == 1_700_000_000 * 10**9
    assert again.previous is not None and again.previous[1].started == loop.started


def test_states_of_a_job() -> None:
    good, bad = pod(status("m", ended(), "c1"), phase="Succeeded"), pod(status("m", ended(3), "c1"), phase="Failed")
    assert state(job()) == ("pending", "Log not available yet: no pod has been created", None)
    assert state(job(suspend=True))[:2] == ("pending", "Log not available yet: the Job is suspended")
    assert state(job(), pod(status("m", running(), "c1"))) == ("running", "Running", None)
    assert state(job(), bad)[0] == "running"  # the next pod will follow
    assert state(job(("Complete", "")), good) == ("succeeded", "Job complete exit 0", 0)
    assert state(job(("Complete", "")), bad, good) == ("succeeded", "Job complete exit 0", 0)  # retried
    assert state(job(("Failed", "BackoffLimitExceeded")), bad) == (
        "failed",
        "Job failed exit 3: BackoffLimitExceeded",
        3,
    )
    # No container has ended, so there is no exit code.
    assert state(job(("Failed", "DeadlineExceeded"))) == ("failed", "Job failed: DeadlineExceeded", None)
    oom = pod(status("m", ended(137, "OOMKilled"), "c1"), phase="Failed")
    assert (
        state(job(("Failed", "BackoffLimitExceeded")), oom)[1] == "Job failed exit 137: OOMKilled, BackoffLimitExceeded"
    )
    # Newer servers first announce the end, while pods may still write.
    assert state(job(("FailureTarget", "DeadlineExceeded")), pod(status("m", running(), "c1")))[0] == "running"


def test_a_sidecar_beside_a_container_that_has_ended() -> None:
    one = pod(status("m", ended(3), "c1"), init=(status("ship", running(), "c2"),), sidecars=("ship",), phase="Running")
    assert state(job(), one)[0] == "running"
    assert decisive_end([one]).exit_code == 3  # type: ignore[union-attr]
    killed = pod(
        status("m", ended(), "c1"), init=(status("ship", ended(143), "c2"),), sidecars=("ship",), phase="Succeeded"
    )
    assert decisive_end([killed]).exit_code == 0  # type: ignore[union-attr]


def test_an_ephemeral_container_does_not_count() -> None:
    one = pod(status("m", ended(), "c1"), ephemeral=(status("debug", ended(1), "c2"),), phase="Succeeded")
    assert decisive_end([one]).exit_code == 0  # type: ignore[union-attr]


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


def test_the_first_failure_counts_and_not_the_pods_that_were_deleted_for_it() -> None:
    failed = pod(status("m", ended(3, at="2023-11-14T22:14:20Z"), "c1"), phase="Failed")
    deleted = pod(status("m", ended(143, at="2023-11-14T22:14:22Z"), "c2"))
    deleted["metadata"]["deletionTimestamp"] = "2023-11-14T22:14:21Z"
    assert state(job(("Failed", "BackoffLimitExceeded")), failed, deleted)[2] == 3
    assert state(job(("Failed", "DeadlineExceeded")), deleted)[2] == 143


def rank(name: str, code: int, at: int, *, born: int = 0, role: str = "worker", index: str = "") -> Object:
    """Return a pod of a PyTorchJob that was created `born` seconds and ended `at` seconds after a time."""
    rank_pod = pod(
        status("m", ended(code, at=f"2023-11-14T22:14:{at:02}Z"), name), phase="Failed" if code else "Succeeded"
    )
    labels = {"training.kubeflow.org/replica-type": role, "training.kubeflow.org/replica-index": index}
    rank_pod["metadata"] |= {"name": name, "uid": f"{name}-{born}", "creationTimestamp": f"2023-11-14T22:14:{born:02}Z"}
    rank_pod["metadata"]["labels"] = labels if index else {}
    return rank_pod


FAILED_JOB = Workload(
    TaskRef("d", "pytorchjob.kubeflow.org", "bert"),
    "u",
    {"kind": "PyTorchJob", "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "JobFailed"}]}},
)


def test_a_failed_distributed_task_names_the_rank_that_failed_first() -> None:
    """The other ranks fail because that one is gone."""
    ranks = [
        rank("bert-worker-0", 1, 31, index="0"),
        rank("bert-worker-2", 3, 30, index="2"),
        rank("bert-worker-1", 1, 32, index="1"),
    ]
    message = "PyTorchJob failed exit 3: worker-2 (pod bert-worker-2) failed first: JobFailed"
    assert state(FAILED_JOB, *ranks)[1:] == (message, 3)
    assert state_of(FAILED_JOB, ranks).pod == "bert-worker-2"
    # Times are whole seconds: a container that was killed in the same second is no cause, unless it took too much memory.
    killed = [rank("bert-worker-0", 143, 30, index="0"), *ranks[1:]]
    assert state(FAILED_JOB, *killed)[1] == message
    killed[1]["status"]["containerStatuses"][0]["state"]["terminated"] |= {"exitCode": 137, "reason": "OOMKilled"}
    assert state(FAILED_JOB, *killed[1:])[1] == (
        "PyTorchJob failed exit 137: worker-2 (pod bert-worker-2) failed first: OOMKilled, JobFailed"
    )


def test_ranks_that_failed_in_the_same_second_are_not_called_the_first() -> None:
    ranks = [rank(f"bert-worker-{i}", 1, 30 + (i == 2), index=str(i)) for i in range(3)]
    assert state(FAILED_JOB, *ranks)[1] == (
        "PyTorchJob failed exit 1: worker-0 (pod bert-worker-0) and 1 other pod failed in the same second: JobFailed"
    )


RUNNING_JOB = Workload(
    FAILED_JOB.ref, "u", {"kind": "PyTorchJob", "status": {"conditions": [{"type": "Running", "status": "True"}]}}
)


def test_a_rank_that_failed_while_the_others_go_on_is_named() -> None:
    """Nothing is retried: no pod waits, and the last pods to end ended well."""
    failed = rank("bert-worker-3", 1, 15, index="3")
    others = [rank(f"bert-worker-{i}", 0, 30 + i, index=str(i)) for i in (0, 1, 2, 4, 5, 6, 7)]
    alive = [one | {"status": pod(status("m", running(), "c"))["status"]} for one in others]
    for workload in (RUNNING_JOB, Workload(FAILED_JOB.ref, "u", {"kind": "PyTorchJob"})):
        found = state_of(workload, [*alive, failed])
        assert (found.name, found.reason) == ("running", "PodFailed")
        assert found.message == "1 of 8 pods failed: worker-3 (pod bert-worker-3) with exit 1, Error"
        found = state_of(workload, [*others, failed])
        assert (found.name, found.reason, found.exit_code) == ("running", "Ended", None)
        assert found.message == (
            "Every pod has ended, and the PyTorchJob shows no end yet; "
            "1 of 8 pods failed: worker-3 (pod bert-worker-3) with exit 1, Error"
        )
        found = state_of(workload, others)
        assert found.message == "Every pod has ended, and the PyTorchJob shows no end yet"
    second = rank("bert-worker-5", 1, 16, index="5")
    evicted = rank("bert-worker-6", 1, 15, index="6")
    evicted["status"] = {"phase": "Failed", "reason": "Evicted"}
    assert state(RUNNING_JOB, *alive[:6], failed, second)[1] == (
        "2 of 8 pods failed, first worker-3 (pod bert-worker-3) with exit 1, Error"
    )
    assert (
        state(RUNNING_JOB, *alive[:7], evicted)[1]
        == "1 of 8 pods failed: worker-6 (pod bert-worker-6) with reason Evicted"
    )


def test_a_rank_that_was_made_anew_is_not_called_failed() -> None:
    again = rank("bert-worker-3", 0, 40, born=20, index="3")
    again["status"] = pod(status("m", running(), "c"))["status"]
    assert state(RUNNING_JOB, rank("bert-worker-3", 1, 15, index="3"), again)[1] == "Running"


def test_a_job_waits_for_its_next_attempt() -> None:
    assert state(job(), rank("x-1", 1, 15))[1] == "Running: the last pod ended with exit 1, Error, waiting for the next"


def test_failures_of_earlier_attempts_do_not_count() -> None:
    attempts = [
        rank("bert-worker-0", 7, 10, index="0"),
        rank("bert-worker-0", 1, 32, born=11, index="0"),
        rank("bert-worker-1", 5, 31, index="1"),
    ]
    assert state(FAILED_JOB, *attempts)[2] == 5, "worker 0 was made anew"
    unnamed = [rank("a", 7, 10), rank("b", 7, 11), rank("c", 4, 30, born=12), rank("d", 3, 31, born=12)]
    assert state(FAILED_JOB, *unnamed)[1] == "PyTorchJob failed exit 4: pod c failed first: JobFailed"
    groups = [rank("gpu-0", 3, 20, born=1, index="0"), rank("cpu-0", 1, 21, born=2, index="0")]
    assert state(FAILED_JOB, *groups)[2] == 3, "two groups of workers may each have a rank 0"


CRASHED = ended(3, ident="c1")
LOOP = pod(status("m", waiting("CrashLoopBackOff", "back-off 40s restarting failed container"), "c1", 4, CRASHED))
NO_PROGRAM = 'exec: "/nope": stat /nope: no such file or directory'


def no_start(**extra: Any) -> Object:
    one = pod(status("m", ended(128, "StartError", ident="c1"), "c1"), **extra)
    one["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = NO_PROGRAM
    return one


def test_a_crash_looping_pod_has_kubectls_status() -> None:
    for kind, name in (("pod", "p"), ("deployment", "x"), ("selector", "app=x")):
        found = state_of(Workload(TaskRef("d", kind, name), "u", {}), [LOOP])
        assert (found.name, found.reason) == ("running", "CrashLoopBackOff")
        assert found.message == "CrashLoopBackOff: m ended with exit 3, Error; 4 restarts"
    fine = pod(status("m", running(), "c1"))
    found = state_of(Workload(TaskRef("d", "deployment", "x"), "u", {}), [fine, LOOP, fine])
    assert found.message == "1 of 3 pods: CrashLoopBackOff: m ended with exit 3, Error; 4 restarts"


def test_the_failing_one_of_two_containers_is_the_reason() -> None:
    bare = Workload(TaskRef("d", "pod", "p"), "u", {})
    for other, message in (
        (status("s", waiting("ErrImagePull", "no")), "ErrImagePull: s: no"),
        (status("s", ended(5, ident="c2"), "c2"), "Error: s ended with exit 5, Error"),
        (status("s", ended(ident="c2"), "c2"), "Running"),
    ):
        assert state(bare, pod(status("m", running(), "c1"), other))[:2] == ("running", message)


def test_why_a_pod_waits_after_its_init_containers() -> None:
    done = status("i", ended(ident="c1"), "c1")
    one = pod(status("m", waiting("ErrImagePull", "no")), init=(done,), phase="Pending")
    assert state(job(), one)[:2] == ("pending", "ErrImagePull: m: no")
    failing = status("i", waiting("CrashLoopBackOff", "back-off"), "c1", 2, ended(4, ident="c1"))
    one = pod(status("m", waiting("PodInitializing")), init=(failing,), phase="Pending")
    assert state(job(), one)[:2] == ("running", "Init:CrashLoopBackOff: i ended with exit 4, Error; 2 restarts")


def test_a_container_that_cannot_start_says_why() -> None:
    bare = Workload(TaskRef("d", "pod", "p"), "u", {})
    assert state(bare, no_start(phase="Failed"))[1] == f"Pod failed exit 128: StartError: {NO_PROGRAM}"
    (one,) = containers(no_start())
    assert one.end is not None and one.end.message == NO_PROGRAM
    assert state(job(("Failed", "BackoffLimitExceeded")), no_start(phase="Failed"))[1] == (
        f"Job failed exit 128: StartError, BackoffLimitExceeded: {NO_PROGRAM}"
    )


def test_a_termination_message_is_plain_text_of_bounded_length() -> None:
    one = no_start()
    one["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = "\x1b[2Jlost\r\nGPU\x00" + "x" * 10_000
    message = containers(one)[0].end.message  # type: ignore[union-attr]
    assert message.startswith("lost\nGPUxxx") and message.endswith("…") and len(message) == MESSAGE_MAX


def test_why_a_workload_has_no_pods() -> None:
    def why(kind: str, obj: Object, refusal: str = "") -> tuple[str, str]:
        found = state_of(Workload(TaskRef("d", kind, "x"), "u", obj), [], refusal)
        assert found.name == "pending"
        return found.reason, found.message.removeprefix("Log not available yet: ")

    queue = {"spec": {"managedBy": "example.com/queue"}}
    left = "no pod has been created: the Job is left to example.com/queue (spec.managedBy)"
    assert why("job", queue) == ("NoPods", left)
    own = {"spec": {"managedBy": "kubernetes.io/job-controller"}}
    assert why("job", own) == ("NoPods", "no pod has been created")
    assert why("job", {"spec": {"parallelism": 0}}) == ("NoPods", "no pod is wanted (spec.parallelism is 0)")
    for kind in ("deployment", "statefulset", "replicaset"):
        assert why(kind, {"spec": {"replicas": 0}}) == ("NoPods", "no pod is wanted (spec.replicas is 0)")
    none = {"spec": {}, "status": {"desiredNumberScheduled": 0}}
    assert why("daemonset", none) == ("NoPods", "no node is to run it (status.desiredNumberScheduled is 0)")
    assert why("selector", {}) == ("NoPods", "no pod has the labels x")
    quota = 'pods "x-1" is forbidden: exceeded quota: none'
    assert why("job", {"spec": {}}, quota) == ("FailedCreate", f"FailedCreate: {quota}")
    failing = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": quota}
    assert why("deployment", {"spec": {}, "status": {"conditions": [failing]}}) == (
        "FailedCreate",
        f"FailedCreate: {quota}",
    )
    deleted = {"metadata": {"deletionTimestamp": "2023-11-14T22:13:20Z"}, "spec": {}}
    assert why("job", deleted) == ("Terminating", "it is being deleted")


@pytest.mark.parametrize(
    ("target", "reason", "message"),
    [
        (
            "FailureTarget",
            "BackoffLimitExceeded",
            "Running: the Job fails when its pods have stopped: BackoffLimitExceeded",
        ),
        (
            "SuccessCriteriaMet",
            "SuccessPolicy",
            "Running: the Job is complete when its pods have stopped: SuccessPolicy",
        ),
    ],
)
def test_a_job_whose_end_is_announced_has_not_ended(target: str, reason: str, message: str) -> None:
    failed = pod(status("c", ended(3), "one"), phase="Failed")
    stopping = pod(status("c", running(), "two"), phase="Running") | {"metadata": {"name": "q", "uid": "v"} | DELETED}
    for pods in ((failed, stopping), (failed,), ()):
        assert state(job((target, reason)), *pods) == ("running", message, None)
    final = "Failed" if target == "FailureTarget" else "Complete"
    assert state(job((target, reason), (final, reason)), failed)[0] == ("failed" if final == "Failed" else "succeeded")


def test_a_rule_of_a_pod_failure_policy_is_named() -> None:
    message = "Container m for pod d/x-1 failed with exit code 42 matching FailJob rule at index 0"
    doc = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": message}
    found = state_of(Workload(TaskRef("d", "job", "x"), "u", {"status": {"conditions": [doc]}}), [])
    assert found.message == f"Job failed: PodFailurePolicy: {message}"


GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
READY = {"type": "Ready", "status": "True"}
DELETED = {"deletionTimestamp": "2023-11-14T22:13:20Z"}


@pytest.mark.parametrize(
    ("one", "word", "ready", "restarts"),
    [
        (pod(phase="Pending", node=""), "Pending", 0, 0),
        (pod(phase="Pending", node="", conditions=(GATED,)), "SchedulingGated", 0, 0),
        (pod(status("m", waiting("ContainerCreating")), phase="Pending"), "ContainerCreating", 0, 0),
        (pod(status("m", running(), "c1") | {"ready": True}), "Running", 1, 0),
        (LOOP, "CrashLoopBackOff", 0, 4),
        (pod(status("m", ended(137, "OOMKilled"), "c1"), phase="Failed"), "OOMKilled", 0, 0),
        (pod(status("m", {"terminated": {"exitCode": 3}}, "c1"), phase="Failed"), "ExitCode:3", 0, 0),
        (pod(status("m", {"terminated": {"exitCode": 1, "signal": 9}}, "c1"), phase="Failed"), "Signal:9", 0, 0),
        # The first of several containers that wait or have ended; ready ones do not count.
        (pod(status("a", ended(2), "c1"), status("b", waiting("ErrImagePull"))), "Error", 0, 0),
        (pod(status("a", ended(), "c1"), status("b", running(), "c2") | {"ready": True}), "NotReady", 1, 0),
        (
            pod(status("a", ended(), "c1"), status("b", running(), "c2") | {"ready": True}, conditions=(READY,)),
            "Running",
            1,
            0,
        ),
        # Restarts of finished init containers count only until all init containers are done.
        (pod(status("m", waiting("PodInitializing")), init=(status("i", running(), "c1", 2),)), "Init:0/1", 0, 2),
        (pod(status("m", waiting("PodInitializing")), init=(status("i", ended(4), "c1"),)), "Init:Error", 0, 0),
        (pod(status("m", running(), "c2"), init=(status("i", ended(), "c1", 2),)), "Running", 0, 0),
        (
            pod(
                status("m", running(), "c2") | {"ready": True},
                sidecars=("s",),
                init=(status("s", running(), "c1", 3) | {"started": True, "ready": True},),
            ),
            "Running",
            2,
            3,
        ),
    ],
)
def test_the_status_of_kubectl_get_pods(one: Object, word: str, ready: int, restarts: int) -> None:
    found = status_of(one)
    assert (found.word, found.ready, found.restarts) == (word, ready, restarts)


def test_a_pod_that_is_being_deleted() -> None:
    one = pod(status("m", running(), "c1"))
    one["metadata"] |= DELETED
    assert status_of(one).word == "Terminating" and not status_of(one).is_troubled
    one["status"]["reason"] = "NodeLost"
    assert status_of(one).word == "Unknown" and status_of(one).is_troubled
    over = pod(status("m", ended(), "c1"), phase="Succeeded")
    over["metadata"] |= DELETED
    assert status_of(over).word == "Completed"
