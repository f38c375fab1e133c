"""Jobs and other controllers: their status, pods and events while they run and after they end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import pod_spec, python_container, python_job
from support.ports import free_port

if TYPE_CHECKING:
    from conformance.conftest import Create, Specimens
    from conftest import Target


SLEEP = "import time; print('up'); time.sleep(600)"


def conditions(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in job["status"]["conditions"] if c["status"] == "True"}


def test_complete(target: Target, specimens: Specimens) -> None:
    job = target.kube.wait_job(specimens.names["good-job"])
    status = job["status"]
    assert status["succeeded"] == 2 and not status.get("active") and not status.get("failed")
    assert status["startTime"] <= status["completionTime"]
    assert "Failed" not in conditions(job)
    # Short pod names rely on this alphabet of the random suffix.
    ends = [pod["metadata"]["name"].rpartition("-")[2] for pod in target.kube.pods_of(specimens.names["good-job"])]
    assert ends and all(re.fullmatch("[bcdfghjklmnpqrstvwxz2456789]{5}", end) for end in ends), ends


def test_failed(target: Target, specimens: Specimens) -> None:
    job = target.kube.wait_job(specimens.names["bad-job"], "Failed")
    failed = conditions(job)["Failed"]
    assert (failed["reason"], failed["message"]) == (
        "BackoffLimitExceeded",
        "Job has reached the specified backoff limit",
    )
    assert job["status"]["failed"] == 1 and "completionTime" not in job["status"]
    (pod,) = target.kube.pods_of(specimens.names["bad-job"])
    assert pod["status"]["phase"] == "Failed"
    assert target.kube.logs(pod["metadata"]["name"]) == b"bad\n"


def test_events_of_created_pods_are_combined_from_the_tenth_on(target: Target, unique: Any) -> None:
    """From then on only the pods' own events name the pods, which the recorder's `watching.unseen` relies on."""
    name = unique("many")
    target.kube.create(python_job(name, SLEEP, parallelism=12, completions=12))
    job = target.kube.get("jobs", name)
    selector = f"involvedObject.uid={job['metadata']['uid']},reason=SuccessfulCreate"

    def events() -> list[dict[str, Any]]:
        path = target.kube.path("events") + f"?fieldSelector={selector}"
        items: list[dict[str, Any]] = target.kube.request("GET", path).json()["items"]
        return items

    def all_counted() -> bool:
        return sum(event["count"] for event in events()) == 12

    target.kube.wait_for(all_counted, "the events of all pods")
    target.kube.delete("jobs", name)
    groups = sorted((event["message"].partition("Created pod: ")[0], event["count"]) for event in events())
    assert groups == [("", 1)] * 9 + [("(combined from similar events): ", 3)]


def test_deadline(target: Target, specimens: Specimens) -> None:
    failed = conditions(target.kube.wait_job(specimens.names["late-job"], "Failed"))["Failed"]
    assert (failed["reason"], failed["message"]) == (
        "DeadlineExceeded",
        "Job was active longer than specified deadline",
    )


def test_pods_name_their_job(target: Target, specimens: Specimens) -> None:
    job = target.kube.wait_job(specimens.names["good-job"])
    pods = target.kube.pods_of(specimens.names["good-job"])
    assert len(pods) == 2
    for pod in pods:
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", job["metadata"]["name"], job["metadata"]["uid"])
        assert owner["controller"] is True and owner["apiVersion"] == "batch/v1"
        assert pod["metadata"]["labels"]["controller-uid"] == job["metadata"]["uid"]
        assert pod["metadata"]["name"].startswith(job["metadata"]["name"] + "-")
    selector = ",".join(f"{k}={v}" for k, v in job["spec"]["selector"]["matchLabels"].items())
    assert len(target.kube.list("pods", labelSelector=selector)["items"]) == 2


def test_events_of_job_and_pod(target: Target, specimens: Specimens) -> None:
    job = target.kube.wait_job(specimens.names["good-job"])
    pod = target.kube.pods_of(job["metadata"]["name"])[0]

    def reasons(name: str, uid: str) -> set[str]:
        query = f"involvedObject.name={name},involvedObject.uid={uid}"
        return {e["reason"] for e in target.kube.list("events", fieldSelector=query)["items"]}

    meta = pod["metadata"]
    target.kube.wait_for(
        lambda: {"Scheduled", "Pulled", "Created", "Started"} <= reasons(meta["name"], meta["uid"]), "events of the pod"
    )
    target.kube.wait_for(
        lambda: "SuccessfulCreate" in reasons(job["metadata"]["name"], job["metadata"]["uid"]), "events of the job"
    )


def test_event_of_an_unschedulable_pod(target: Target, specimens: Specimens) -> None:
    query = f"involvedObject.name={specimens.names['unschedulable']},reason=FailedScheduling"
    events = target.kube.wait_for(lambda: target.kube.list("events", fieldSelector=query)["items"], "FailedScheduling")
    assert events[0]["type"] == "Warning"
    assert events[0]["message"].startswith("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity")


def test_second_attempt_is_a_new_pod(target: Target, create: Create) -> None:
    job = create(python_job("again", "raise SystemExit(1)", backoff=1))
    target.kube.wait_job(job, "Failed")
    pods = target.kube.pods_of(job)
    assert [p["status"]["phase"] for p in pods] == ["Failed", "Failed"]
    assert target.kube.get("jobs", job)["status"]["failed"] == 2


def test_background_deletion_deletes_the_pods(target: Target, create: Create) -> None:
    job = create(python_job("cascade", SLEEP))
    target.kube.wait_for(lambda: target.kube.pods_of(job), "a pod")
    target.kube.delete("jobs", job, propagation="Background")
    target.kube.wait_for(lambda: not target.kube.pods_of(job), "the pods' end")


def test_deleting_a_job_without_a_policy_orphans_its_pods(target: Target, create: Create) -> None:
    job = create(python_job("orphan", SLEEP))
    (pod,) = target.kube.wait_for(lambda: target.kube.pods_of(job), "a pod")
    target.kube.delete("jobs", job, grace=None, propagation=None)
    name = pod["metadata"]["name"]
    target.kube.wait_pod(name, lambda p: not p["metadata"].get("ownerReferences"), "orphaning")
    target.kube.delete("pods", name)


def test_indexed_job(target: Target, create: Create) -> None:
    target.needs(24, "stable Indexed Jobs")
    job = create(
        python_job(
            "indexed", "import os; print(os.environ['JOB_COMPLETION_INDEX'])", parallelism=2, completionMode="Indexed"
        )
    )
    assert target.kube.wait_job(job)["status"]["completedIndexes"] == "0-1"
    key = "batch.kubernetes.io/job-completion-index"
    logs = {
        p["metadata"]["annotations"][key]: target.kube.logs(p["metadata"]["name"]) for p in target.kube.pods_of(job)
    }
    assert logs == {"0": b"0\n", "1": b"1\n"}


def test_suspended_job_starts_when_resumed(target: Target, create: Create) -> None:
    target.needs(24, "stable suspended Jobs")
    job = create(python_job("suspended", "print('go')", suspend=True))
    target.kube.wait_job(job, "Suspended")
    assert not target.kube.pods_of(job)
    target.kube.patch("jobs", job, {"spec": {"suspend": False}})
    target.kube.wait_job(job)


def test_finished_job_is_deleted_after_its_ttl(target: Target, create: Create) -> None:
    target.needs(23, "stable ttlSecondsAfterFinished")
    job = create(python_job("ttl", "print('bye')", ttlSecondsAfterFinished=0))
    target.kube.wait_for(
        lambda: target.kube.request("GET", target.kube.path("jobs", job)).status_code == 404, "the job's end"
    )
    target.kube.wait_for(lambda: not target.kube.pods_of(job), "the pods' end")


def test_sidecar_does_not_delay_completion(target: Target, create: Create) -> None:
    target.needs(29, "sidecars by `restartPolicy: Always`")
    # The main container ends once the sidecar has printed its line.
    port = free_port()
    sidecar = f"import socket, time; print('up', flush=True); s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    main = f"""import socket, time
while True:
    try: socket.create_connection(('127.0.0.1', {port})).close(); break
    except OSError: time.sleep(0.1)
print('main')"""
    job = create(python_job("sidecar", main, sidecar=sidecar))
    target.kube.wait_job(job)
    (pod,) = target.kube.pods_of(job)
    assert target.kube.logs(pod["metadata"]["name"], container="sidecar") == b"up\n"


def workload(kind: str, name: str, image: str = "docker.io/local/busybox:1") -> dict[str, Any]:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": pod_spec([python_container("main", SLEEP, image=image)], restart="Always"),
    }
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
    spec |= {"serviceName": name} if kind == "StatefulSet" else {}
    spec |= {"replicas": 1} if kind != "DaemonSet" else {}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@pytest.mark.parametrize(
    ("kind", "chain"),
    [("Deployment", ["ReplicaSet", "Deployment"]), ("StatefulSet", ["StatefulSet"]), ("DaemonSet", ["DaemonSet"])],
)
def test_owners_lead_from_the_pod_to_the_workload(target: Target, create: Create, kind: str, chain: list[str]) -> None:
    name = create(workload(kind, kind.lower()))
    label = f"app={kind.lower()}"

    def running() -> list[dict[str, Any]]:
        items = target.kube.list("pods", labelSelector=label)["items"]
        return [p for p in items if p["status"]["phase"] == "Running" and p["metadata"]["name"].startswith(name)]

    obj = target.kube.wait_for(running, "a running pod")[0]
    for step in chain:
        owner = next(r for r in obj["metadata"]["ownerReferences"] if r.get("controller"))
        assert owner["kind"] == step
        obj = target.kube.get(step.lower() + "s", owner["name"])
        assert obj["metadata"]["uid"] == owner["uid"]
    assert obj["metadata"]["name"] == name


def test_self_subject_access_review(target: Target) -> None:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "default"}
        },
    }
    response = target.kube.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=review)
    assert response.status_code == 201 and response.json()["status"]["allowed"] is True
