"""A shared watch yields the same changes to each task as a separate watch."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.hand import until
from support.kube import python_job
from support.operators import Custom, create_pod, define

from cortex_jupyter.cluster import watch as watch_lib
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.cluster.tasks import resolve
from cortex_jupyter.cluster.workloads import Workload
from cortex_jupyter.errors import NotFound
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.watching.watches import SharedWatches, Watches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conftest import SandboxProcess
    from support.kube import Kube


class Follower:
    """Applies the changes of a watch: `objects` are the present ones, `lists` counts full lists."""

    def __init__(self, changes: AsyncIterator[tuple[str, dict[str, Any]]]) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.lists = 0
        self.task = asyncio.create_task(self._run(changes))

    async def _run(self, changes: AsyncIterator[tuple[str, dict[str, Any]]]) -> None:
        async for kind, obj in changes:
            if kind == "SYNC":
                self.lists += 1
            elif kind == "DELETED":
                del self.objects[obj["metadata"]["name"]]
            elif kind != "LOST":
                self.objects[obj["metadata"]["name"]] = obj

    async def until(self, test: Callable[[Follower], object]) -> None:
        async with asyncio.timeout(120):
            while not test(self):
                assert not self.task.done(), self.task.exception()
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_a_shared_watch_yields_the_same_changes_as_a_watch_alone(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    names = [unique("one"), unique("two")]
    for name in names:
        await asyncio.to_thread(kube.create, python_job(name, "import time; time.sleep(60)", parallelism=2))
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        jobs = [await resolve(cluster, TaskRef("default", "job", name)) for name in names]
        shared, separate = SharedWatches(cluster, whole=True), Watches(cluster)
        pods = [Follower(watches.pods(job)) for job in jobs for watches in (shared, separate)]
        workloads = [Follower(watches.workload(job)) for job in jobs for watches in (shared, separate)]
        for one in pods:
            await one.until(lambda one: one.lists and len(one.objects) == 2)
        for one, name in zip(workloads, (n for n in names for _ in range(2)), strict=True):
            await one.until(lambda one: one.lists and len(one.objects) == 1)
            assert list(one.objects) == [name] and one.objects[name]["spec"]["selector"]
        late = Follower(shared.pods(jobs[0]))
        await late.until(lambda one: one.lists == 1 and one.objects.keys() == pods[1].objects.keys())
        assert late.objects.keys() == pods[0].objects.keys(), "a late follower lacks present pods"

        sandbox.fault("expire")
        gone = next(iter(late.objects))
        await asyncio.to_thread(kube.delete, "pods", gone)
        for one in (late, *pods[:2]):
            await one.until(lambda one: gone not in one.objects)
        assert pods[2].objects.keys() == pods[3].objects.keys(), "the followers of the other task differ"
        for one in (late, *pods, *workloads):
            await one.end()

        again = Follower(shared.pods(jobs[1]))
        await again.until(lambda one: one.lists == 1 and len(one.objects) == 2)
        sandbox.fault("deny", verb="list", resource="pods")  # without a count, since other tests use this sandbox too
        await again.end()
        refused = Follower(shared.pods(jobs[1]))
        async with asyncio.timeout(120):
            await asyncio.wait([refused.task])
        sandbox.clear()
        assert refused.task.exception(), "a follower does not get the refusal as an error"
    for name in names:
        await asyncio.to_thread(kube.delete, "jobs", name)


async def test_the_events_of_a_namespace_are_watched_once_for_all_tasks() -> None:
    """The server cannot select events by task. Each of 200 watches would receive the events of all 200 tasks."""
    asked: list[str] = []

    class Api:
        async def read_list(self, path: str, _: object, cut: Callable[[Any], Any]) -> tuple[list[Any], str]:
            asked.append(path)
            about = [{"metadata": {"name": uid, "uid": f"e-{uid}"}, "involvedObject": {"uid": uid}} for uid in "abc"]
            return list(map(cut, about)), "1"

        @contextlib.asynccontextmanager
        async def request(self, *_: object, **__: object) -> AsyncIterator[None]:
            await asyncio.Event().wait()
            yield

    watches = Watches(cast("Cluster", Api()))
    follows = [Follower(watches.events("ml", uid.__eq__)) for uid in "abc"]
    for one, uid in zip(follows, "abc", strict=True):
        await one.until(lambda one: one.lists)
        assert list(one.objects) == [uid]
    assert asked == ["/api/v1/namespaces/ml/events"]
    for one in follows:
        await one.end()


async def test_pods_are_followed_by_the_labels_that_an_object_names_later(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    """A RayJob names another RayCluster with each attempt; here RayClusters may not be read, so only labels show it."""
    space = unique("ray")
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    define(kube, "ray.io", "v1", "RayJob", "rayjobs")
    define(kube, "ray.io", "v1", "RayCluster", "rayclusters")
    for verb in ("get", "list", "watch"):
        sandbox.fault("deny", verb=verb, resource="rayclusters.ray.io", namespace=space)
    ray_job = Custom(kube, "ray.io/v1", "RayJob", "rayjobs", "tune", namespace=space)
    heads = [f"tune-{attempt}-head" for attempt in "ab"]
    for head in heads:
        name = head.removesuffix("-head")
        cluster = Custom(kube, "ray.io/v1", "RayCluster", "rayclusters", name, ray_job.reference, namespace=space)
        create_pod(kube, head, "print('x')", cluster.reference, {"ray.io/cluster": name}, namespace=space)
    async with await Cluster.open(str(sandbox.kubeconfig)) as api:
        task = await resolve(api, TaskRef(space, "rayjob", "tune"))
        for watches in (SharedWatches(api, whole=True), SharedWatches(api), Watches(api)):
            await asyncio.to_thread(ray_job.set_status, rayClusterName="none")
            pods = Follower(watches.pods(task))
            await pods.until(lambda follower: follower.lists)
            job = Follower(watches.workload(task))
            await job.until(lambda follower: follower.lists)
            assert not pods.objects
            for count, head in enumerate(heads, 1):
                await asyncio.to_thread(ray_job.set_status, rayClusterName=head.removesuffix("-head"))
                await pods.until(lambda follower, count=count: len(follower.objects) == count)  # type: ignore[misc]
            assert sorted(pods.objects) == heads, "the pods of the first attempt stay the task's"
            for follower in (pods, job):
                await follower.end()
    sandbox.clear()
    kube.delete("namespaces", space)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_list_is_complete_also_if_all_owners_are_known_at_once(count: int) -> None:
    class Api:
        async def read_list(self, _: str, __: object, cut: Callable[[Any], Any]) -> tuple[list[Any], str]:
            return [cut({"metadata": {"name": f"j{i}", "uid": f"uid-{i}"}}) for i in range(count)], "1"

        @contextlib.asynccontextmanager
        async def request(self, *_: object, **__: object) -> AsyncIterator[None]:
            await asyncio.Event().wait()
            yield

    watches = Watches(cast("Cluster", Api()))
    task = Workload(TaskRef("ml", "rayjob.ray.io", "tune"), "uid-tune", {"metadata": {}})
    follower = Follower(watches.jobs(task))
    async with asyncio.timeout(20):
        await follower.until(lambda each: each.lists)
    await follower.end()


async def test_what_names_the_uid_of_a_task_of_another_namespace_joins_it_not() -> None:
    """A user may write any UID into the owner references of a pod, and into an event."""
    namespaces = ("ours", "theirs")

    def pod(namespace: str, name: str, owner: str) -> dict[str, Any]:
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": owner, "uid": owner}
        meta = {"name": f"{namespace}-{name}", "uid": f"{namespace}-{name}", "namespace": namespace}
        return {"metadata": meta | {"ownerReferences": [reference]}}

    def event(namespace: str) -> dict[str, Any]:
        meta = {"name": f"{namespace}-e", "uid": f"{namespace}-e", "namespace": namespace}
        return {"metadata": meta, "involvedObject": {"uid": "uid-job", "namespace": namespace}}

    objects = {
        "pods": [
            *(pod(namespace, "a", "uid-job") for namespace in namespaces),
            *(pod(namespace, "b", "uid-tune") for namespace in namespaces),
            pod("theirs", "c", "ours/ray.io/cluster=x"),
            *(pod(namespace, "d", "uid-part") for namespace in reversed(namespaces)),  # their Job does not exist
        ],
        "events": [event(namespace) for namespace in namespaces],
    }

    class Api:
        async def read_list(self, path: str, _: object, cut: Callable[[Any], Any], *__: str) -> tuple[list[Any], str]:
            return [cut(copy.deepcopy(obj)) for obj in objects.get(path.rpartition("/")[2], ())], "1"

        async def json(self, path: str, **_: str) -> Any:
            if path.endswith("/namespaces/ours/jobs/uid-part"):
                return {"metadata": {"uid": "uid-part"} | {"ownerReferences": [{"uid": "uid-tune"}]}}
            raise NotFound(f'"{path.rpartition("/")[2]}" not found')

        @contextlib.asynccontextmanager
        async def request(self, *_: object, **__: object) -> AsyncIterator[None]:
            await asyncio.Event().wait()
            yield

    watches = SharedWatches(cast("Cluster", Api()), whole=True)
    job = Workload(TaskRef("ours", "job", "train"), "uid-job", {"metadata": {}})
    meta = {"name": "tune", "namespace": "ours", "uid": "uid-tune"}
    ray_job = Workload(
        TaskRef("ours", "rayjob.ray.io", "tune"), "uid-tune", {"metadata": meta, "status": {"rayClusterName": "x"}}
    )
    early = Follower(watches.pods(job))
    await early.until(lambda follower: follower.lists)
    late = Follower(watches.pods(job))
    custom = Follower(watches.pods(ray_job))
    events = Follower(watches.events("ours", "uid-job".__eq__))
    async with asyncio.timeout(20):
        for follower in (early, late, custom, events):
            await follower.until(lambda each: each.lists)
    assert [list(follower.objects) for follower in (early, late)] == [["ours-a"]] * 2
    assert sorted(custom.objects) == ["ours-b", "ours-d"] and list(events.objects) == ["ours-e"]
    for follower in (early, late, custom, events):
        await follower.end()


class Silent:
    """An API server without objects, whose watches are silent. `opened` counts how often each was opened."""

    status = 200

    def __init__(self) -> None:
        self.opened: dict[str, int] = {}
        self.content = self

    async def read_list(self, *_: object) -> tuple[list[Any], str]:
        return [], "1"

    @contextlib.asynccontextmanager
    async def request(self, path: str, *_: object, **__: object) -> AsyncIterator[Silent]:
        kind = path.rpartition("/")[2]
        self.opened[kind] = self.opened.get(kind, 0) + 1
        yield self

    async def readany(self) -> bytes:
        return await asyncio.Future()

    async def until(self, opened: int) -> None:
        await until(lambda: self.opened == {"pods": opened, "jobs": opened})


async def test_hundreds_of_doubts_reopen_a_shared_watch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Job in back-off has no log, so its reader doubts every few seconds that the watch is alive."""
    monkeypatch.setattr(watch_lib, "_SHORT_S", 0.0)
    monkeypatch.setattr(watch_lib, "_REOPEN_INTERVAL_S", 600.0)
    api = Silent()
    watches = SharedWatches(cast("Cluster", api))
    jobs = [Workload(TaskRef("ml", "job", f"job-{i}"), f"uid-{i}", {}) for i in range(300)]
    follows = [Follower(watches.pods(jobs[0])), Follower(watches.workload(jobs[0]))]
    await api.until(opened=1)
    for job in jobs:
        watches.doubt(job)
        for _ in range(5):
            await asyncio.sleep(0)
    await api.until(opened=2)
    for one in follows:
        await one.end()


async def test_a_doubt_soon_after_another_is_handled_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_lib, "_SHORT_S", 0.0)
    monkeypatch.setattr(watch_lib, "_REOPEN_INTERVAL_S", 0.5)
    api = Silent()
    watches = SharedWatches(cast("Cluster", api))
    job = Workload(TaskRef("ml", "job", "a"), "uid-a", {})
    follows = [Follower(watches.pods(job)), Follower(watches.workload(job))]
    await api.until(opened=1)
    for opened in (2, 3, 4):
        watches.doubt(job)
        await api.until(opened=opened)
    for one in follows:
        await one.end()
