"""Custom resources as tasks: the requests for one of them, and tasks that are read with rights on pods alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from cortex_jupyter.cluster import owners as owners_module
from cortex_jupyter.cluster.owners import Owners
from cortex_jupyter.cluster.tasks import PodLists, list_tasks, pods_of, resolve, suggest_name
from cortex_jupyter.cluster.workloads import Workload, collection, state_of
from cortex_jupyter.errors import AmbiguousTask, NotAllowed, TaskNotFound
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster

Object = dict[str, Any]
CREATED = "2023-11-14T22:00:00Z"
KINDS = {
    ("ray.io", "v1"): {"RayJob": "rayjobs", "RayCluster": "rayclusters"},
    ("jobset.x-k8s.io", "v1alpha2"): {"JobSet": "jobsets"},
    ("lab.example.org", "v1"): {"Experiment": "experiments"},
}
RAY, LAB = "/apis/ray.io/v1/namespaces/team", "/apis/lab.example.org/v1/namespaces/team"
JOB_SETS = "/apis/jobset.x-k8s.io/v1alpha2/namespaces/team/jobsets"


class Team:
    """A namespace with custom resources, at the tiny API server."""

    def __init__(self, api: Any) -> None:
        self.api, self.pods = api, list[Object]()
        api.objects["/api"] = {"kind": "APIVersions", "versions": []}
        versions = [{"name": g, "versions": [{"groupVersion": f"{g}/{v}"}]} for g, v in KINDS]
        api.objects["/apis"] = {"kind": "APIGroupList", "groups": versions}
        for (group, version), names in KINDS.items():
            entries = [{"name": plural, "namespaced": True, "kind": kind} for kind, plural in names.items()]
            api.objects[f"/apis/{group}/{version}"] = {"groupVersion": f"{group}/{version}", "resources": entries}
            for plural in names.values():
                api.listing(f"/apis/{group}/{version}/namespaces/team/{plural}")
        for kind in ("job", "cronjob", "deployment", "statefulset", "daemonset", "replicaset"):
            api.listing(collection(kind, "team"))
        api.listing("/api/v1/namespaces/team/events")
        api.objects[collection("pod", "team")] = self._list_pods

    async def _list_pods(self, request: web.Request) -> web.Response:
        label, _, value = request.query.get("labelSelector", "").partition("=")
        items = [pod for pod in self.pods if not label or pod["metadata"]["labels"].get(label) == value]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    def add(
        self, path: str, api_version: str, kind: str, name: str, owner: Object | None = None, **more: Any
    ) -> Object:
        """Add an object to its collection."""
        obj = made(api_version, kind, name, owner, **more)
        listed = self.api.objects[path]
        self.api.listing(path, *(listed["items"] if isinstance(listed, dict) else ()), obj)
        self.api.objects[f"{path}/{name}"] = obj
        return obj

    def pod(
        self, name: str, owner: Object | None = None, labels: dict[str, str] | None = None, **status: Any
    ) -> Object:
        """Add a pod."""
        containers = [{"name": "main"}]
        pod = made("v1", "Pod", name, owner, spec={"containers": containers}, status={"phase": "Running"} | status)
        pod["metadata"]["labels"] = labels or {}
        self.pods.append(pod)
        return pod

    @property
    def requests(self) -> list[str]:
        """The requests since the last call, without discovery and without `limit`."""
        paths = [request.removeprefix("GET ").partition("?limit")[0] for request in self.api.requests]
        self.api.requests.clear()
        return [path.replace("&limit=100", "") for path in paths if "/namespaces/" in path]


def made(api_version: str, kind: str, name: str, owner: Object | None = None, **more: Any) -> Object:
    meta: Object = {"name": name, "namespace": "team", "uid": f"uid-{name}", "creationTimestamp": CREATED}
    if owner:
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
        meta["ownerReferences"] = [
            reference | {k: owner["metadata"][k] for k in ("name", "uid")} | {"controller": True}
        ]
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": {}, "status": {}} | more


def ended(code: int) -> Object:
    terminated = {"exitCode": code, "finishedAt": CREATED, "reason": "Error" if code else "Completed"}
    states = [{"name": "main", "containerID": "x", "restartCount": 0, "state": {"terminated": terminated}}]
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": states}


@pytest.fixture
def team(api: Any) -> Team:
    return Team(api)


def ref(text: str) -> TaskRef:
    return TaskRef.parse(text, "team")


def names(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods]


def ray_job(team: Team) -> None:
    tune = team.add(f"{RAY}/rayjobs", "ray.io/v1", "RayJob", "tune", status={"rayClusterName": "tune-9x2kd"})
    cluster = team.add(f"{RAY}/rayclusters", "ray.io/v1", "RayCluster", "tune-9x2kd", tune)
    for pod in ("head", "worker"):
        team.pod(f"tune-9x2kd-{pod}", cluster, {"ray.io/cluster": "tune-9x2kd"})
    job = team.add(collection("job", "team"), "batch/v1", "Job", "tune", tune)
    job["metadata"]["uid"] = "uid-job"
    team.pod("tune-abcde", job, {"job-name": "tune"})


# ---------------------------------------------------------------- what is read


async def test_only_the_pods_with_its_labels_and_their_owners_are_read(team: Team, cluster: Cluster) -> None:
    ray_job(team)
    for i in range(50):
        team.pod(f"other-{i}")
    task = await resolve(cluster, ref("rayjob/tune"))
    assert team.requests
    assert names(await pods_of(cluster, task)) == ["tune-9x2kd-head", "tune-9x2kd-worker", "tune-abcde"]
    assert sorted(team.requests) == [
        "/api/v1/namespaces/team/pods?labelSelector=job-name%3Dtune",
        "/api/v1/namespaces/team/pods?labelSelector=ray.io/cluster%3Dtune-9x2kd",
        "/apis/batch/v1/namespaces/team/jobs/tune",
        "/apis/ray.io/v1/namespaces/team/rayclusters/tune-9x2kd",
    ]


async def test_an_owner_decides_over_a_label(team: Team, cluster: Cluster) -> None:
    """A user may set the label, and another version of an operator may not set it."""
    train = team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "train")
    other_job_set = team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "other")
    label = {"jobset.sigs.k8s.io/jobset-name": "train"}
    team.pod("stranger", None, label)
    team.pod("of-other", other_job_set, label)
    of_train = team.pod("of-train", train, label)
    task = await resolve(cluster, ref("jobset/train"))
    assert names(await pods_of(cluster, task)) == ["of-train"]
    of_train["metadata"]["labels"] = {}
    assert names(await pods_of(cluster, task)) == ["of-train"]


async def test_a_suspended_task_without_pods_costs_no_list_of_the_namespace(team: Team, cluster: Cluster) -> None:
    suspended = {"conditions": [{"type": "Suspended", "status": "True"}]}
    team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "train", status=suspended)
    task = await resolve(cluster, ref("jobset/train"))
    assert team.requests
    assert await pods_of(cluster, task) == []
    assert team.requests == ["/api/v1/namespaces/team/pods?labelSelector=jobset.sigs.k8s.io/jobset-name%3Dtrain"]


async def test_tasks_that_ask_together_share_the_lists_of_a_namespace(team: Team, cluster: Cluster) -> None:
    """Many tasks without labels may end at once; each must see the pods that exist at its call."""
    path = f"{LAB}/experiments"
    experiments = [team.add(path, "lab.example.org/v1", "Experiment", f"e{i}") for i in range(20)]
    for number, experiment in enumerate(experiments):
        team.pod(f"p{number}", experiment)
    tasks = [await resolve(cluster, ref(f"experiment/e{i}")) for i in range(20)]
    assert team.requests
    lists = PodLists(cluster)

    async def ask(task: Workload) -> list[str]:
        team.pod(f"late-{task.ref.name}", experiments[int(task.ref.name[1:])])
        return names(await pods_of(cluster, task, lists))

    answers = await asyncio.gather(*map(ask, tasks))
    assert answers == [[f"late-e{i}", f"p{i}"] for i in range(20)]
    assert team.requests.count(collection("pod", "team")) <= 2
    assert names(await pods_of(cluster, tasks[0])) == ["late-e0", "p0"]


async def test_a_failure_of_a_shared_list_reaches_all_who_asked(team: Team, cluster: Cluster) -> None:
    team.add(f"{LAB}/experiments", "lab.example.org/v1", "Experiment", "e")
    task, lists = await resolve(cluster, ref("experiment/e")), PodLists(cluster)
    answer = team.api.objects[collection("pod", "team")]
    team.api.deny(collection("pod", "team"), "pods is forbidden")
    failures = await asyncio.gather(*(pods_of(cluster, task, lists) for _ in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [NotAllowed] * 3
    team.api.objects[collection("pod", "team")] = answer


async def test_a_long_name_is_no_label_value(team: Team, cluster: Cluster) -> None:
    train = team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "x" * 64)
    team.pod("p", train)
    assert names(await pods_of(cluster, await resolve(cluster, ref(f"jobset/{'x' * 64}")))) == ["p"]


async def test_few_missing_owners_are_read_one_by_one_and_many_at_once(team: Team, cluster: Cluster) -> None:
    jobs = [team.add(collection("job", "team"), "batch/v1", "Job", f"j{i}") for i in range(10)]
    owners = Owners(cluster)
    for job in jobs:
        await owners.chain(made("v1", "Pod", "p", job))
    path = "/apis/batch/v1/namespaces/team/jobs"
    assert team.requests == [f"{path}/j0", f"{path}/j1", f"{path}/j2", path]


async def test_of_many_owners_only_those_with_the_label_are_listed(team: Team, cluster: Cluster) -> None:
    train = team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "train")
    label = {"jobset.sigs.k8s.io/jobset-name": "train"}
    for i in range(8):
        job = team.add(collection("job", "team"), "batch/v1", "Job", f"train-worker-{i}", train)
        team.pod(f"train-worker-{i}-0", job, label)
    task = await resolve(cluster, ref("jobset/train"))
    assert team.requests
    assert len(await pods_of(cluster, task)) == 8
    jobs = "/apis/batch/v1/namespaces/team/jobs"
    assert [path for path in team.requests if path.startswith(jobs)] == [
        *(f"{jobs}/train-worker-{i}" for i in range(3)),
        f"{jobs}?labelSelector=jobset.sigs.k8s.io/jobset-name%3Dtrain",
    ]


async def test_owners_that_were_read_do_not_grow_for_ever(
    team: Team, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners_module, "_REMEMBERED", 5)
    owners = Owners(cluster)
    watched = made("v1", "Pod", "watched")
    owners.note(watched)
    for i in range(20):
        owner = team.add(f"{LAB}/experiments", "lab.example.org/v1", "Experiment", f"e{i}")
        chain = await owners.chain(made("v1", "Pod", "p", owner))
        assert [each.name for each in chain] == [f"e{i}"]
    remembered = [f"uid-e{i}" for i in range(20) if owners.is_known(f"uid-e{i}")]
    assert remembered == [f"uid-e{i}" for i in range(15, 20)] and owners.is_known("uid-watched")


async def test_a_kind_whose_objects_cannot_be_read_hides_and_holds_up_no_other(team: Team, cluster: Cluster) -> None:
    hangs = asyncio.Event()

    async def broken(_: web.Request) -> web.Response:
        await hangs.wait()
        return web.json_response({"message": "conversion webhook failed"}, status=500)

    ray_job(team)
    experiment = made("lab.example.org/v1", "Experiment", "exp")
    team.api.objects[f"{LAB}/experiments/exp"] = broken
    strangers = [team.pod(f"exp-{number}", experiment) for number in range(3)]
    owners = Owners(cluster)
    async with asyncio.timeout(10):
        waiting = [asyncio.create_task(owners.chain(pod)) for pod in strangers]
        await asyncio.sleep(0)
        assert [owner.name for owner in await owners.chain(team.pods[0])] == ["tune-9x2kd", "tune"]
        hangs.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(answer) for answer in answers} == {"conversion webhook failed"}
    assert team.requests.count(f"{LAB}/experiments/exp") == 1, "its pods ask once for their owner"
    team.api.objects[f"{RAY}/rayjobs/tune"]["status"] = {}  # without labels all pods of the namespace are read
    task = await resolve(cluster, ref("rayjob/tune"))
    assert names(await pods_of(cluster, task)) == ["tune-9x2kd-head", "tune-9x2kd-worker", "tune-abcde"]
    unread = Workload(ref("experiment.lab.example.org/exp"), "uid-exp", experiment, f"{LAB}/experiments")
    assert names(await pods_of(cluster, unread)) == names(strangers), "the direct owner is known without it"


async def test_a_list_reads_each_kind_once_and_no_replica_sets(team: Team, cluster: Cluster) -> None:
    ray_job(team)
    experiment = team.add(f"{LAB}/experiments", "lab.example.org/v1", "Experiment", "exp", status={"phase": "Running"})
    team.pod("exp-0", experiment)
    selector = {"matchLabels": {"app": "web"}}
    team.add(collection("deployment", "team"), "apps/v1", "Deployment", "web", spec={"selector": selector})
    replica_set = made("apps/v1", "ReplicaSet", "web-5d9c")
    for i in range(5):
        team.pod(f"web-5d9c-{i}", replica_set, {"app": "web", "pod-template-hash": "5d9c"})
    rows = {row["task"]: row["pods"] for row in await list_tasks(cluster, "team")}
    assert rows == {
        "team:rayjob.ray.io/tune": 3,
        "team:experiment.lab.example.org/exp": 1,
        "team:deployment/web": 5,
    }
    requests = team.requests
    assert len(requests) == len(set(requests)) == 10 and not any("replicasets" in path for path in requests)


# ---------------------------------------------------------------- rights


async def test_what_a_user_may_not_know_of_hides_none_of_its_jobs(team: Team, cluster: Cluster) -> None:
    train = team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "train")
    job = team.add(collection("job", "team"), "batch/v1", "Job", "train-worker-0", train)
    team.pod("train-worker-0-0-x", job)

    async def is_visible(task: TaskRef) -> bool:
        return not task.is_custom

    assert [row["task"] for row in await list_tasks(cluster, "team")] == ["team:jobset.jobset.x-k8s.io/train"]
    rows = await list_tasks(cluster, "team", is_visible=is_visible)
    assert [row["task"] for row in rows] == ["team:job/train-worker-0"]


def deny(team: Team, path: str, *object_names: str) -> None:
    for denied in (path, *(f"{path}/{name}" for name in object_names)):
        team.api.deny(denied, "rayclusters.ray.io is forbidden")


async def test_with_rights_on_pods_alone_the_direct_owner_is_a_task(team: Team, cluster: Cluster) -> None:
    ray_job(team)
    deny(team, f"{RAY}/rayclusters", "tune-9x2kd")
    deny(team, f"{RAY}/rayjobs", "tune")
    deny(team, collection("job", "team"), "tune")
    task = await resolve(cluster, ref("raycluster/tune-9x2kd"))
    assert (task.ref.key, task.uid, task.lacks) == (
        "team:raycluster.ray.io/tune-9x2kd",
        "uid-tune-9x2kd",
        "get rayclusters.ray.io",
    )
    pods = await pods_of(cluster, task)
    assert names(pods) == ["tune-9x2kd-head", "tune-9x2kd-worker"]
    assert state_of(task, pods).message.endswith("; the right `get rayclusters.ray.io` would tell more")
    submitter = await resolve(cluster, ref("tune"))
    assert (submitter.ref.key, submitter.pod_query) == ("team:job/tune", {"labelSelector": "controller-uid=uid-job"})
    rows = {row["task"]: row for row in await list_tasks(cluster, "team")}
    assert {task: row["pods"] for task, row in rows.items()} == {
        "team:raycluster.ray.io/tune-9x2kd": 2,
        "team:job/tune": 1,
    }
    with pytest.raises(NotAllowed, match="forbidden") as raised:
        await resolve(cluster, ref("rayjob/tune"))
    assert raised.value.hint == (
        "ask for the right `get rayjobs.ray.io`; with rights on pods alone, read what probably belongs to it: "
        "raycluster/tune-9x2kd, -l job-name=tune"
    )


async def test_the_pods_of_a_kind_that_may_not_be_read_can_be_read_by_label(team: Team, cluster: Cluster) -> None:
    deny(team, JOB_SETS, "train")
    with pytest.raises(NotAllowed) as raised:
        await resolve(cluster, ref("jobset/train"))
    assert "-l jobset.sigs.k8s.io/jobset-name=train" in raised.value.hint
    deny(team, collection("pod", "team"))
    with pytest.raises(NotAllowed, match="rayclusters"):
        await resolve(cluster, ref("jobset/train"))


@pytest.mark.parametrize(("codes", "state", "code"), [((0, 0), "succeeded", 0), ((0, 3), "failed", 3)])
async def test_the_end_of_what_may_not_be_read_is_that_of_its_pods(
    team: Team, cluster: Cluster, codes: tuple[int, int], state: str, code: int
) -> None:
    experiment = made("lab.example.org/v1", "Experiment", "exp")
    deny(team, f"{LAB}/experiments", "exp")
    main = {"name": "main", "containerID": "x", "restartCount": 0, "state": {"running": {"startedAt": CREATED}}}
    running = team.pod("exp-r", experiment, containerStatuses=[main])
    (row,) = await list_tasks(cluster, "team")
    assert (row["task"], row["state"]) == ("team:experiment.lab.example.org/exp", "running")
    team.pods.remove(running)
    for i, exit_code in enumerate(codes):
        team.pod(f"exp-{i}", experiment, **ended(exit_code))
    (row,) = await list_tasks(cluster, "team")
    assert (row["state"], row["exit_code"]) == (state, code)
    assert "the right `get experiments.lab.example.org` would tell more" in row["message"]


@pytest.mark.parametrize(("code", "state"), [(0, "succeeded"), (3, "running")])
async def test_a_job_that_may_not_be_read_may_begin_another_attempt(
    team: Team, cluster: Cluster, code: int, state: str
) -> None:
    deny(team, collection("job", "team"), "train")
    team.pod("train-x", made("batch/v1", "Job", "train"), **ended(code))
    (row,) = await list_tasks(cluster, "team")
    assert (row["task"], row["state"]) == ("team:job/train", state)
    assert "the right `get jobs.batch` would tell more" in row["message"]


async def test_a_pod_whose_owner_is_no_controller_has_one_row(team: Team, cluster: Cluster) -> None:
    """As the driver of Apache's Spark operator."""
    experiment = made("lab.example.org/v1", "Experiment", "exp")
    deny(team, f"{LAB}/experiments", "exp")
    pod = team.pod("driver", experiment)
    del pod["metadata"]["ownerReferences"][0]["controller"]
    assert [row["task"] for row in await list_tasks(cluster, "team")] == ["team:experiment.lab.example.org/exp"]


async def test_a_missing_right_on_one_kind_hides_nothing_of_the_others(team: Team, cluster: Cluster) -> None:
    train = team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "train")
    job = team.add(collection("job", "team"), "batch/v1", "Job", "train-worker-0", train)
    team.pod("train-worker-0-0-x", job)
    ray_job(team)
    team.pod("bare")
    deny(team, JOB_SETS, "train")
    assert {row["task"] for row in await list_tasks(cluster, "team")} == {
        "team:job/train-worker-0",
        "team:rayjob.ray.io/tune",
        "team:pod/bare",
    }


async def test_a_config_map_that_owns_a_pod_is_no_task_and_is_not_read(team: Team, cluster: Cluster) -> None:
    path = "/api/v1/namespaces/team/configmaps"
    team.api.objects["/api"]["versions"] = ["v1"]
    entry = {"name": "configmaps", "namespaced": True, "kind": "ConfigMap"}
    team.api.objects["/api/v1"] = {"groupVersion": "v1", "resources": [entry]}
    team.api.listing(path)
    owner = team.add(path, "v1", "ConfigMap", "settings", data={"big": "x" * 1000})
    pod = team.pod("worker", owner)
    del pod["metadata"]["ownerReferences"][0]["controller"]
    assert [row["task"] for row in await list_tasks(cluster, "team")] == ["team:pod/worker"]
    assert path not in team.requests


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"trainerStatus": {"progressPercentage": 45, "estimatedRemainingSeconds": 120}}, "Running: 45 % done"),
        ({"trainerStatus": {}}, "Running"),
        ({"trainerStatus": "odd"}, "Running"),
    ],
)
def test_a_train_job_says_how_much_is_done(status: Object, message: str) -> None:
    task = Workload(ref("trainjob.trainer.kubeflow.org/bert"), "u", made("x/v1", "TrainJob", "bert", status=status))
    main = {"name": "main", "containerID": "x", "restartCount": 0, "state": {"running": {"startedAt": CREATED}}}
    pod = made("v1", "Pod", "bert-node-0", spec={"containers": [{"name": "main"}]})
    pod["status"] = {"phase": "Running", "containerStatuses": [main]}
    assert state_of(task, [pod]).message == message


async def test_a_bare_name_means_the_topmost_owner_of_the_job_of_that_name(team: Team, cluster: Cluster) -> None:
    ray_job(team)
    assert (await resolve(cluster, ref("tune"))).ref == ref("rayjob.ray.io/tune")
    assert (await resolve(cluster, ref("job/tune"))).ref == ref("job/tune")
    # Kubeflow Trainer: a TrainJob without a row here, its JobSet, and its Jobs
    exp = team.add(f"{LAB}/experiments", "lab.example.org/v1", "Experiment", "exp", status={"phase": "Running"})
    job_set = team.add(JOB_SETS, "jobset.x-k8s.io/v1alpha2", "JobSet", "exp", exp)
    job_set["metadata"]["uid"] = "uid-jobset"
    team.add(collection("job", "team"), "batch/v1", "Job", "exp-node-0", job_set)
    assert (await resolve(cluster, ref("exp-node-0"))).ref == ref("experiment.lab.example.org/exp")


async def test_a_bare_name_means_the_job_if_no_owner_of_it_is_a_task_that_may_be_read(
    team: Team, cluster: Cluster
) -> None:
    async def all_but_ray_jobs(task: TaskRef) -> bool:
        return task.kind != "rayjob.ray.io"

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"message": "rayjobs is forbidden"}, status=403)

    ray_job(team)
    assert (await resolve(cluster, ref("tune"), "", all_but_ray_jobs)).ref == ref("job/tune")
    team.api.objects[f"{RAY}/rayjobs/tune"] = refuse
    assert (await resolve(cluster, ref("tune"))).ref == ref("job/tune")
    del team.api.objects[f"{RAY}/rayjobs/tune"]
    assert (await resolve(cluster, ref("tune"))).ref == ref("job/tune"), "the RayJob was deleted a moment ago"
    scaled = team.add(f"{LAB}/experiments", "lab.example.org/v1", "Experiment", "scaled")  # shows no end
    team.add(collection("job", "team"), "batch/v1", "Job", "scaled-1", scaled)
    assert (await resolve(cluster, ref("scaled-1"))).ref == ref("job/scaled-1")


async def test_the_name_of_a_job_without_a_custom_owner_costs_one_request(team: Team, cluster: Cluster) -> None:
    jobs = collection("job", "team")
    nightly = made("batch/v1", "CronJob", "nightly")
    for name, owner in (("plain", None), ("nightly-1", nightly)):
        team.add(jobs, "batch/v1", "Job", name, owner)
        await resolve(cluster, ref(name))
        assert team.requests == [f"{jobs}/{name}"]


async def test_labels_tell_the_task_of_pods_whose_owners_may_not_be_read(team: Team, cluster: Cluster) -> None:
    ray_job(team)
    team.pod(
        "other-head", team.add(f"{RAY}/rayclusters", "ray.io/v1", "RayCluster", "other"), {"ray.io/cluster": "other"}
    )
    deny(team, f"{RAY}/rayclusters", "tune-9x2kd", "other")
    deny(team, collection("job", "team"), "tune")
    rows = {row["task"]: row["pods"] for row in await list_tasks(cluster, "team")}
    assert rows == {"team:rayjob.ray.io/tune": 3, "team:raycluster.ray.io/other": 1}


async def test_owners_that_may_not_be_read_are_reported_once_with_the_right_that_is_missing(
    team: Team, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cortex_jupyter")
    ray_job(team)
    deny(team, f"{RAY}/rayclusters", "tune-9x2kd")
    for _ in range(3):  # each task has its own `Owners`
        await pods_of(cluster, await resolve(cluster, ref("rayjob/tune")))
    (message,) = [record.getMessage() for record in caplog.records if "RayCluster" in record.getMessage()]
    assert "`get rayclusters.ray.io`" in message and "pods/log" not in message


BIO = "/apis/bio.example.org/v1/namespaces/team"


@pytest.fixture
def two_groups(api: Any, monkeypatch: pytest.MonkeyPatch) -> Team:
    """A cluster with the kind Experiment in two API groups."""
    monkeypatch.setitem(KINDS, ("bio.example.org", "v1"), {"Experiment": "experiments"})
    return Team(api)


async def test_of_several_kinds_of_a_name_the_one_that_has_the_object_is_meant(
    two_groups: Team, cluster: Cluster
) -> None:
    two_groups.add(f"{BIO}/experiments", "bio.example.org/v1", "Experiment", "sweep")
    assert (await resolve(cluster, ref("experiment/sweep"))).ref == ref("experiment.bio.example.org/sweep")
    two_groups.add(f"{LAB}/experiments", "lab.example.org/v1", "Experiment", "sweep")
    with pytest.raises(AmbiguousTask) as ambiguous:
        await resolve(cluster, ref("experiment/sweep"))
    for group in ("bio", "lab"):
        assert f"experiment.{group}.example.org/sweep" in ambiguous.value.message
    with pytest.raises(TaskNotFound) as missing:
        await resolve(cluster, ref("experiment/none"))
    assert "experiment.lab.example.org" in missing.value.message and "experiment.bio" in missing.value.message


async def test_a_refusal_by_one_of_several_kinds_hides_no_object_of_the_others(
    two_groups: Team, cluster: Cluster
) -> None:
    two_groups.add(f"{BIO}/experiments", "bio.example.org/v1", "Experiment", "sweep")
    deny(two_groups, f"{LAB}/experiments", "sweep", "none")
    assert (await resolve(cluster, ref("experiment/sweep"))).ref == ref("experiment.bio.example.org/sweep")
    with pytest.raises(NotAllowed) as refused:
        await resolve(cluster, ref("experiment/none"))
    assert "`get experiments.lab.example.org`" in refused.value.hint
    two_groups.pod("none-0", made("lab.example.org/v1", "Experiment", "none"))
    assert (await resolve(cluster, ref("experiment/none"))).ref == ref("experiment.lab.example.org/none")


async def test_a_suggested_custom_resource_is_named_with_its_kind(team: Team, cluster: Cluster) -> None:
    """Its bare name does not name it, not even if it is exact."""
    team.add(f"{RAY}/rayjobs", "ray.io/v1", "RayJob", "tune")
    with pytest.raises(TaskNotFound):
        await resolve(cluster, ref("tune"))
    for missing in ("tune", "tuen", "rayjob/tuen"):
        suggested = await suggest_name(cluster, ref(missing))
        assert suggested == "rayjob/tune"
        assert (await resolve(cluster, ref(suggested))).ref == TaskRef("team", "rayjob.ray.io", "tune")
    team.add(collection("job", "team"), "batch/v1", "Job", "tune")
    assert await suggest_name(cluster, ref("tuen")) == "tune"
