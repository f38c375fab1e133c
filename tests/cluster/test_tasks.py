"""Finding a workload by name: every kind, ambiguous and missing names, and missing rights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from cortex_jupyter.cluster.tasks import has_namespace, list_tasks, pods_of, resolve, suggest_name
from cortex_jupyter.cluster.workloads import COLLECTIONS, Workload, collection, fetch
from cortex_jupyter.errors import AmbiguousTask, BadQuery, ClusterError, NotAllowed, NotFound, TaskNotFound
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.recorder.watching.unseen import unseen_containers

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster

KINDS = [k for k in COLLECTIONS if k != "cronjob"]


def obj(name: str, uid: str = "", created: str = "2023-11-14T22:00:00Z", **extra: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": uid or f"uid-{name}", "creationTimestamp": created, "labels": {}}
    return {"metadata": meta | extra.pop("metadata", {}), "spec": {"containers": []}, "status": {}} | extra


def put(api: Any, kind: str, *objects: dict[str, Any]) -> None:
    api.listing(collection(kind, "team"), *objects)
    for one in objects:
        api.objects[f"{collection(kind, 'team')}/{one['metadata']['name']}"] = one


def ref(text: str) -> TaskRef:
    return TaskRef.parse(text, "team")


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind(api: Any, cluster: Cluster, kind: str) -> None:
    put(api, kind, obj("x"))
    for text in (f"{kind}/x", "x"):
        found = await resolve(cluster, ref(text))
        assert (found.ref.key, found.uid) == (f"team:{kind}/x", "uid-x")


async def test_a_bare_name_is_a_job_first(api: Any, cluster: Cluster) -> None:
    put(api, "job", obj("x", "j"))
    put(api, "deployment", obj("x", "d"))
    assert (await resolve(cluster, ref("x"))).uid == "j"


async def test_a_bare_name_of_two_kinds_is_ambiguous(api: Any, cluster: Cluster) -> None:
    put(api, "deployment", obj("x"))
    put(api, "pod", obj("x"))
    with pytest.raises(AmbiguousTask, match=r"deployment/x, pod/x"):
        await resolve(cluster, ref("x"))


async def test_a_cron_job_is_its_newest_job(api: Any, cluster: Cluster) -> None:
    put(api, "cronjob", obj("nightly", "c", spec={"schedule": "0 1 * * *"}))
    own = {"metadata": {"ownerReferences": [{"uid": "c"}]}}
    put(
        api,
        "job",
        obj("nightly-1", created="2023-11-14T01:00:00Z", **own),
        obj("other", created="2023-12-01T00:00:00Z"),
        obj("nightly-2", created="2023-11-15T01:00:00Z", **own),
    )
    assert (await resolve(cluster, ref("nightly"))).ref.key == "team:job/nightly-2"
    put(api, "job")
    with pytest.raises(TaskNotFound, match="has no Job: schedule"):
        await resolve(cluster, ref("cronjob/nightly"))


async def test_a_missing_task_of_a_known_kind_takes_one_request(api: Any, cluster: Cluster) -> None:
    with pytest.raises(TaskNotFound, match="no job 'zzz' in namespace 'team'"):
        await resolve(cluster, ref("job/zzz"))
    assert len(api.requests) == 1
    with pytest.raises(TaskNotFound, match="no task 'zzz' in namespace 'team'"):
        await resolve(cluster, ref("zzz"))


async def test_a_similar_name_is_suggested_for_a_missing_task(api: Any, cluster: Cluster) -> None:
    for kind in KINDS:
        put(api, kind)
    put(api, "job", obj("train-1"), obj("eval"))
    put(api, "pod", obj("trian-x"))
    assert await suggest_name(cluster, ref("trian-1")) == "trian-x"
    assert await suggest_name(cluster, ref("job/trian-1")) == "train-1"
    assert await suggest_name(cluster, ref("job/zzz")) is None
    api.deny(collection("pod", "team"))
    assert await suggest_name(cluster, ref("trian-1")) is None


async def test_a_user_who_may_read_only_some_kinds(api: Any, cluster: Cluster) -> None:
    api.deny(f"{collection('job', 'team')}/x", "jobs.batch is forbidden")
    with pytest.raises(NotAllowed, match="jobs"):
        await resolve(cluster, ref("x"))
    # The name belongs to a kind that the user may read.
    put(api, "deployment", obj("x"))
    assert (await resolve(cluster, ref("x"))).ref.kind == "deployment"
    with pytest.raises(NotAllowed):
        await resolve(cluster, ref("job/x"))


async def test_an_error_does_not_count_as_a_missing_task(api: Any, cluster: Cluster) -> None:
    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError

    api.objects[f"{collection('job', 'team')}/x"] = broken
    with pytest.raises(ClusterError):
        await resolve(cluster, ref("x"))


async def test_a_selector_is_a_task(api: Any, cluster: Cluster) -> None:
    found = await resolve(cluster, ref("-l app=x"))
    assert found.ref.key == "team:selector/app=x"
    put(api, "pod", obj("b", created="2023-11-14T22:00:01Z"), obj("a"))
    assert [p["metadata"]["name"] for p in await pods_of(cluster, found)] == ["a", "b"]
    assert "labelSelector=app%3Dx" in api.requests[-1]


async def test_a_task_label_of_a_platform(api: Any, cluster: Cluster) -> None:
    for kind in KINDS:
        put(api, kind)
    put(api, "pod", obj("p"))
    found = await resolve(cluster, ref("t-77"), "example.org/task")
    assert found.ref == TaskRef("team", "selector", "example.org/task=t-77")
    # A recorder finds the same task by its resolved name.
    assert (await resolve(cluster, found.ref)).uid == found.uid
    put(api, "job", obj("launched-by-it"))
    assert (await resolve(cluster, ref("t-77"), "example.org/task")).ref.key == "team:job/launched-by-it"


async def test_the_list_counts_pods_at_their_workload(api: Any, cluster: Cluster) -> None:
    owner = {"ownerReferences": [{"uid": "u", "controller": True}], "labels": {"job-name": "x"}}
    put(api, "job", obj("x", spec={"selector": {"matchLabels": {"job-name": "x"}}}))
    put(api, "pod", obj("x-1", metadata=owner), obj("bare"))
    api.deny(collection("deployment", "team"))
    rows = {row["task"]: row for row in await list_tasks(cluster, "team")}
    assert set(rows) == {"team:job/x", "team:pod/bare"}
    assert rows["team:job/x"]["pods"] == 1
    api.deny(collection("pod", "team"))
    with pytest.raises(NotAllowed):
        await list_tasks(cluster, "team")


async def test_a_job_that_failed_while_its_pods_succeeded_has_no_exit_code(api: Any, cluster: Cluster) -> None:
    """This happens after `activeDeadlineSeconds` if one of two pods has succeeded. Its exit code 0 would look like success."""
    end = {"exitCode": 0, "reason": "Completed", "containerID": "c1"}
    main = {"name": "main", "containerID": "c1", "restartCount": 0, "state": {"terminated": end}}
    pod = obj("x-1", metadata={"labels": {"job-name": "x"}}, spec={"containers": [{"name": "main"}]})
    pod["status"] = {"phase": "Succeeded", "containerStatuses": [main]}
    pod["metadata"]["ownerReferences"] = [{"uid": "uid-x", "controller": True}]
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    put(api, "job", obj("x", spec={"selector": {"matchLabels": {"job-name": "x"}}}, status=failed))
    put(api, "pod", pod)
    (row,) = await list_tasks(cluster, "team")
    assert (row["state"], row["exit_code"], row["pods"]) == ("failed", None, 1)


async def test_an_event_without_a_reason_is_no_evidence_of_a_pod(api: Any, cluster: Cluster) -> None:
    """Any user may write events, and core/v1 does not require `reason`."""
    job = Workload(ref("job/x"), "uid-x", {})
    about = {"name": "x-1", "uid": "p", "fieldPath": "spec.containers{main}"}
    when = {"firstTimestamp": "2023-11-14T22:00:01Z", "lastTimestamp": "2023-11-14T22:00:02Z"}
    made = {"reason": "SuccessfulCreate", "message": "Created pod: x-1"}
    items = [{**when, **more, "involvedObject": about} for more in (made, {}, {"reason": "Started"})]
    api.listing("/api/v1/namespaces/team/events", *items)
    ((source, _, runs),) = await unseen_containers(cluster, job, {}, 0)
    assert (source.pod, source.container, runs) == ("x-1", "main", 1)


@pytest.mark.parametrize(
    ("about_the_pod", "unseen"),
    [
        ([], ["init", "side", "main"]),
        (["Scheduled", "Pulled main"], ["init", "side", "main"]),
        (["FailedScheduling", "Scheduled", "FailedMount"], ["init", "side", "main"]),
        (["Scheduled", "Created init", "Started init", "Created main"], ["init", "side", "main"]),
        (["Scheduled", "Failed main"], ["init", "side"]),
        (["Scheduled", "Created main", "Failed main"], ["init", "side"]),
        (["Scheduled", "Failed main", "", "Created main"], ["init", "side", "main"]),
        (["FailedScheduling"], []),
    ],
)
async def test_a_pod_whose_end_nobody_saw_may_have_run(
    cluster: Cluster, about_the_pod: list[str], unseen: list[str]
) -> None:
    """A kubelet before 1.27 sends five events a second, so `Started` may come after the end of the task."""
    job = Workload(ref("job/x"), "uid-x", obj("x"))
    inits = [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}]
    job.obj["spec"]["template"] = {"spec": {"initContainers": inits, "containers": [{"name": "main"}]}}
    kinds = {"init": "init", "side": "sidecar", "main": "main"}

    def event(text: str, second: int = 5) -> dict[str, Any]:
        reason, _, container = text.partition(" ")
        field = "containers" if container == "main" else "initContainers"
        about = {"name": "x-1", "uid": "p"} | ({"fieldPath": f"spec.{field}{{{container}}}"} if container else {})
        at = f"2023-11-14T22:00:{second:02}Z"
        return {"reason": reason, "involvedObject": about, "firstTimestamp": at, "lastTimestamp": at}

    made = event("SuccessfulCreate") | {"message": "Created pod: x-1"}
    # An empty text stands for a second in which nothing was reported.
    seconds = [5 + about_the_pod[:i].count("") for i in range(len(about_the_pod))]
    of_pod = [event(text, second) for text, second in zip(about_the_pod, seconds, strict=True) if text]

    async def events(path: str, query: dict[str, str]) -> Any:
        return {"items": of_pod if query["fieldSelector"] == "involvedObject.name=x-1" else [made]}

    cluster.json = events  # type: ignore[assignment, method-assign]
    found = await unseen_containers(cluster, job, {}, 0)
    started = [text.removeprefix("Started ") for text in about_the_pod if text.startswith("Started ")]
    assert {source.container: (source.kind, runs) for source, _, runs in found} == {
        name: (kinds[name], int(name in started)) for name in unseen
    }
    if not started:
        assert await unseen_containers(cluster, job, {}, 0, {"x-1"}) == [], "its last state is known"
    assert await unseen_containers(cluster, job, {}, parse_rfc3339("2023-11-14T22:01:00Z")) == []


async def test_an_unseen_run_may_have_begun_when_its_pod_was_created(api: Any, cluster: Cluster) -> None:
    """An event comes after the fact, so a gap from `Started` on would not cover the first lines."""
    job = Workload(ref("job/x"), "uid-x", {})
    about = {"name": "x-1", "uid": "p", "fieldPath": "spec.containers{main}"}
    made = {"reason": "SuccessfulCreate", "message": "Created pod: x-1", "firstTimestamp": "1970-01-01T00:00:05.7Z"}
    started = {"reason": "Started", "eventTime": "1970-01-01T00:00:09.5Z"}
    api.listing("/api/v1/namespaces/team/events", *({**e, "involvedObject": about} for e in (made, started)))
    ((_, began, _),) = await unseen_containers(cluster, job, {}, 0)
    assert began == 5_000_000_000


async def test_unseen_pods_are_found_when_kubernetes_combines_their_events(api: Any, cluster: Cluster) -> None:
    """The tenth event within ten minutes stands for all later ones, and names only the newest pod."""
    job = Workload(ref("job/x"), "uid-x", obj("x"))
    job.obj["metadata"]["creationTimestamp"] = "2023-11-14T22:00:00Z"

    def event(reason: str, pod: str = "x", message: str = "", at: str = "22:00:05") -> dict[str, Any]:
        about = {"name": pod, "uid": f"uid-{pod}", "fieldPath": "spec.containers{main}"}
        when = f"2023-11-14T{at}Z"
        return {
            "reason": reason,
            "message": message,
            "involvedObject": about,
            "firstTimestamp": when,
            "lastTimestamp": when,
        }

    combined = event("SuccessfulCreate", message="(combined from similar events): Created pod: x-newst")
    started = [
        event("Started", "x-fcnd5"),
        event("Started", "x-older", at="21:59:59"),  # of another Job with this name
        event("Started", "x-y-fcnd5"),  # of the Job x-y
        event("Started", "x-0-fcnd5"),  # of the Job x-0: this one is not indexed
    ]
    scheduled = event("Scheduled", "x-fcnd5", at="22:00:03")
    by_selector = {
        "involvedObject.uid=uid-x,reason=SuccessfulCreate": [
            event("SuccessfulCreate", message="Created pod: x-4seen"),
            combined,
        ],
        "involvedObject.kind=Pod,reason=Started": started,
        "involvedObject.kind=Pod,reason=Scheduled": [scheduled, event("Scheduled", "x-bcdfg")],
        "involvedObject.name=x-newst": [],
        "involvedObject.name=x-bcdfg": [],
        "involvedObject.name=x-fcnd5": [scheduled, started[0]],
    }

    async def events(path: str, query: dict[str, str]) -> Any:
        return {"items": by_selector[query["fieldSelector"]]}

    cluster.json = events  # type: ignore[assignment, method-assign]
    ((source, began, _),) = await unseen_containers(cluster, job, {"x-4seen": {"main"}}, 0)
    assert (source.pod, began) == ("x-fcnd5", parse_rfc3339("2023-11-14T22:00:03Z"))
    job.obj["spec"]["template"] = {"spec": {"containers": [{"name": "main"}]}}
    found = await unseen_containers(cluster, job, {"x-4seen": {"main"}}, 0)
    assert {source.pod: runs for source, _, runs in found} == {"x-fcnd5": 1, "x-bcdfg": 0, "x-newst": 0}
    del job.obj["spec"]["template"]
    job.obj["spec"]["completionMode"] = "Indexed"
    by_selector["involvedObject.name=x-0-fcnd5"] = [started[3]]
    assert [found.pod for found, *_ in await unseen_containers(cluster, job, {"x-4seen": {"main"}}, 0)] == ["x-0-fcnd5"]


async def test_each_unseen_run_of_a_container_counts(api: Any, cluster: Cluster) -> None:
    job = Workload(ref("job/x"), "uid-x", {})
    about = {"name": "x-1", "uid": "p", "fieldPath": "spec.containers{main}"}
    when = {"firstTimestamp": "2023-11-14T22:00:01Z", "lastTimestamp": "2023-11-14T22:00:02Z"}
    made = {"reason": "SuccessfulCreate", "message": "Created pod: x-1"}
    started = {"reason": "Started", "message": "Started container main", "count": 3}
    api.listing("/api/v1/namespaces/team/events", *({**when, **e, "involvedObject": about} for e in (made, started)))
    ((source, _, runs),) = await unseen_containers(cluster, job, {}, 0)
    assert (source.run, runs) == (0, 3)


@pytest.mark.parametrize("selector", ["app in (a,b)", "app!=c,app", "app", "app==a", "!tier"])
async def test_tasks_are_selected_by_the_labels_of_their_pods(api: Any, cluster: Cluster, selector: str) -> None:
    template = {"metadata": {"labels": {"app": "a"}}}
    only_the_object = {
        "spec": {"template": {"metadata": {"labels": {"tier": "b"}}}},
        "metadata": {"labels": {"app": "a"}},
    }
    put(api, "job", obj("made", spec={"template": template}), obj("marked", **only_the_object))
    put(api, "cronjob", obj("nightly", spec={"jobTemplate": {"spec": {"template": template}}}))
    # A user or an operator has added this label: the template does not have it.
    put(
        api,
        "statefulset",
        obj(
            "by-pod",
            spec={"template": {"metadata": {"labels": {"tier": "b"}}}, "selector": {"matchLabels": {"set": "1"}}},
        ),
    )
    owned = {"ownerReferences": [{"uid": "u", "controller": True}], "labels": {"set": "1", "app": "a"}}
    put(
        api,
        "pod",
        obj("by-pod-0", metadata=owned),
        obj("a", metadata={"labels": {"app": "a"}}),
        obj("z", metadata={"labels": {"tier": "b"}}),
    )
    names = {row["name"] for row in await list_tasks(cluster, "team", selector)}
    assert names == {"made", "nightly", "by-pod", "a"}


async def test_an_invalid_selector_is_refused(cluster: Cluster) -> None:
    with pytest.raises(BadQuery, match="no label requirement"):
        await list_tasks(cluster, "team", "app=(x")


async def test_an_opened_selector_has_the_state_of_its_pods(api: Any, cluster: Cluster) -> None:
    running = {
        "phase": "Running",
        "containerStatuses": [{"name": "main", "state": {"running": {}}, "containerID": "c1"}],
    }
    spec = {"containers": [{"name": "main"}]}
    put(api, "pod", obj("a", metadata={"labels": {"app": "a"}}, spec=spec, status=running))
    opened = {ref(text): f"selector:{text}" for text in ("-l app=a", "-l app=b", "selector/app=(")}
    rows = {row["task"]: row for row in await list_tasks(cluster, "team", "", opened)}
    assert (rows["team:selector/app=a"]["state"], rows["team:selector/app=a"]["pods"]) == ("running", 1)
    assert rows["team:selector/app=b"]["message"] == "Log not available yet: no pod has the labels app=b"
    assert "team:selector/app=(" not in rows


async def test_a_cron_job_is_listed_as_its_newest_job(api: Any, cluster: Cluster) -> None:
    last = {"lastScheduleTime": "2023-11-15T01:00:00Z"}
    put(
        api,
        "cronjob",
        obj("nightly", "c", spec={"schedule": "0 1 * * *"}, status=last),
        obj("paused", spec={"schedule": "0 2 * * *", "suspend": True}),
    )
    own = {"metadata": {"ownerReferences": [{"uid": "c"}]}}
    done = {"conditions": [{"type": "Complete", "status": "True"}], "completionTime": "2023-11-15T01:02:00Z"}
    put(
        api,
        "job",
        obj("nightly-1", created="2023-11-14T01:00:00Z", **own),
        obj("nightly-2", created="2023-11-15T01:00:00Z", status=done, **own),
    )
    put(api, "pod")
    rows = {row["task"]: row for row in await list_tasks(cluster, "team")}
    nightly, paused = rows["team:cronjob/nightly"], rows["team:cronjob/paused"]
    assert paused["uid"]  # it has not run yet
    assert (nightly["state"], nightly["status"], nightly["exit_code"]) == ("succeeded", "Complete", 0)
    assert (nightly["started"], nightly["finished"]) == ("2023-11-15T01:00:00Z", "2023-11-15T01:02:00Z")
    assert nightly["message"] == (
        'job/nightly-2: Job complete exit 0; schedule "0 1 * * *", last schedule time 2023-11-15T01:00:00Z'
    )
    assert (paused["state"], paused["status"], paused["pods"]) == ("pending", "Suspended", 0)
    with pytest.raises(TaskNotFound, match=r"suspended \(spec.suspend is true\), not scheduled so far") as raised:
        await resolve(cluster, ref("cronjob/paused"))
    assert "resume it" in raised.value.hint and "create job --from=cronjob/paused" in raised.value.hint


async def test_events_are_read_only_for_workloads_without_pods(api: Any, cluster: Cluster) -> None:
    quota = 'pods "x-1" is forbidden: exceeded quota: none'
    about = {"uid": "uid-x", "kind": "Job", "name": "x"}
    api.listing(
        "/api/v1/namespaces/team/events",
        {"metadata": {}, "involvedObject": about, "lastTimestamp": "2023-11-14T22:00:05Z", "message": quota},
    )
    put(api, "pod")
    put(api, "job", obj("done", status={"conditions": [{"type": "Complete", "status": "True"}]}))
    await list_tasks(cluster, "team")
    assert not any("events" in request for request in api.requests)
    put(api, "job", obj("x"))
    (row,) = await list_tasks(cluster, "team")
    assert (row["status"], row["message"]) == ("FailedCreate", f"Log not available yet: FailedCreate: {quota}")
    api.deny("/api/v1/namespaces/team/events")
    (row,) = await list_tasks(cluster, "team")
    assert row["message"] == "Log not available yet: no pod has been created"


async def test_has_namespace(api: Any, cluster: Cluster) -> None:
    assert await has_namespace(cluster, "team") is False
    api.objects["/api/v1/namespaces/team"] = {"metadata": {"name": "team"}}
    assert await has_namespace(cluster, "team") is True
    api.deny("/api/v1/namespaces/team")
    assert await has_namespace(cluster, "team") is None


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("team/../../nodes/n1/proxy", ""),
        ("..", ""),
        (".", "x"),
        ("team", "../../nodes"),
        ("team", ".."),
        ("team", "x/log?y"),
    ],
)
async def test_a_name_is_one_segment_of_a_path(api: Any, cluster: Cluster, namespace: str, name: str) -> None:
    asked: list[str] = []

    async def anything(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response({"items": []})

    for path in (
        "/api/v1/nodes/n1/proxy/pods",
        "/api/v1/pods",
        "/api/v1/namespaces/nodes",
        "/api/v1/namespaces/team/pods/x/log",
    ):
        api.objects[path] = anything
    for path in ("/api/v1/namespaces", "/api/v1/nodes", "/api/v1/namespaces/pods/x", "/api/v1/namespaces/team"):
        api.objects[path] = anything
    with pytest.raises((BadQuery, NotFound)):
        await fetch(cluster, "pod", namespace, name)
    assert not asked
