"""On the sandbox: when the recording of a custom resource or a label selector ends, and what happens if the task runs again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.hand import until
from support.kube import python_job, python_pod
from support.operators import Custom, condition, create_pod, define

from cortex_jupyter.cluster.ends import state_by_pods
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.cluster.tasks import pods_of
from cortex_jupyter.model import Batch, TaskRef
from cortex_jupyter.reader.session import Session
from cortex_jupyter.reader.task_list import describe_task, list_tasks
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.watching.watches import Watches
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.kube import Kube

    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import RecordingInfo

WAIT = "import os, time\nprint('{0}', flush=True)\nwhile not os.path.exists({1!r}): time.sleep(0.05)\nprint('{0} ends')"


@pytest.fixture
async def session(sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Session]:
    """A session whose recorder runs in this process, with short waits."""
    monkeypatch.setattr("cortex_jupyter.recorder.task._QUIET_S", 1.0)
    monkeypatch.setattr("cortex_jupyter.recorder.task._CHECK_S", 0.2)
    async with session_of(sandbox, tmp_path) as connected:
        yield connected


@asynccontextmanager
async def session_of(sandbox: Any, folder: Path) -> AsyncIterator[Session]:
    connected = await Session.connect(f"sqlite://{folder}/r.sqlite", str(sandbox.kubeconfig))
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        recorder = asyncio.create_task(Recorder(connected.store, cluster, idle=600).run())
        await until(lambda: connected.store.recorder(cluster.id))
        try:
            yield connected
        finally:
            recorder.cancel()
            await asyncio.wait([recorder])
            await connected.close()


def texts(recording: Recording) -> list[str]:
    entries = recording.store.entries(recording.id, 0, 1 << 24)
    return sorted(text for e in entries if e.event == "log" for text in Batch.decode(e.data).texts)


def notices(recording: Recording) -> list[str]:
    """Return the kinds of the notices of the recorder itself, in order."""
    entries = recording.store.entries(recording.id, 0, 1 << 24)
    kinds = [orjson.loads(e.data).get("notice") for e in entries if e.event == "status"]
    return [kind for kind in kinds if kind in ("form", "end_of_pods", "left", "goes_on")]


async def ended(recording: Recording) -> RecordingInfo:
    async with recording.keep_wanted():
        await until(lambda: recording.read_info().done)
    return recording.read_info()


@pytest.fixture
def trial(kube: Kube, unique: Callable[[str], str]) -> Custom:
    define(kube, "bench.example.org", "v1beta1", "Trial", "trials")
    return Custom(kube, "bench.example.org/v1beta1", "Trial", "trials", unique("exp"))


async def find(session: Session, kind: str, name: str) -> Recording:
    return await session.find(TaskRef("default", kind, name))


async def test_a_status_of_unknown_form_is_running_and_the_pods_show_the_end(
    session: Session, kube: Kube, trial: Custom, tmp_path: Path
) -> None:
    name, go = trial.name, tmp_path / "go"
    trial.set_status(stage=["warming", {"percent": 4}])
    create_pod(kube, f"{name}-0", WAIT.format("first", str(go)), trial.reference)
    create_pod(kube, f"{name}-1", "print('second'); raise SystemExit(3)", trial.reference)
    recording = await find(session, "trial", name)
    async with recording.keep_wanted():
        await until(lambda: notices(recording) == ["form"] and "first" in texts(recording))
        await until(lambda: recording.read_info().state == "running")
        trial.set_status(stage=["done"])
        go.touch()
        info = await ended(recording)
    assert (info.state, info.message) == ("failed", f"Trial failed exit 3: pod {name}-1 failed first")
    last = recording.store.entry(recording.id, info.last_seq)
    assert last is not None and last.event == "end" and orjson.loads(last.data)["pod"] == f"{name}-1"
    assert texts(recording) == ["first", "first ends", "second"]
    assert notices(recording) == ["form", "end_of_pods"]
    listed, _ = await list_tasks(session, "default")
    (row,) = [row for row in listed if row["name"] == name]
    described = await describe_task(session, recording.ref)
    assert {row["state"], described["state"]} == {"failed"} and {row["exit_code"], described["exit_code"]} == {3}


async def test_a_new_pod_begins_the_wait_anew_and_a_suspended_object_does_not_end(
    session: Session, kube: Kube, unique: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(kube, "bench.example.org", "v1beta1", "Trial", "trials")
    trial = Custom(kube, "bench.example.org/v1beta1", "Trial", "trials", unique("exp"), suspend=False)
    monkeypatch.setattr("cortex_jupyter.recorder.task._QUIET_S", 3600.0)
    name, go = trial.name, tmp_path / "go"
    create_pod(kube, f"{name}-0", "print('first')", trial.reference)
    recording = await find(session, "trial", name)
    async with recording.keep_wanted():
        kube.wait_pod(f"{name}-0", lambda pod: pod["status"]["phase"] == "Succeeded")
        create_pod(kube, f"{name}-1", WAIT.format("second", str(go)), trial.reference)
        await until(lambda: "second" in texts(recording))
        monkeypatch.setattr("cortex_jupyter.recorder.task._QUIET_S", 1.0)
        path = f"/apis/bench.example.org/v1beta1/namespaces/default/trials/{name}"
        headers = {"Content-Type": "application/merge-patch+json"}
        kube.request("PATCH", path, json={"spec": {"suspend": True}}, headers=headers)
        go.touch()
        await until(lambda: recording.read_info().reason == "Suspended")
        kube.request("PATCH", path, json={"spec": {"suspend": False}}, headers=headers)
        info = await ended(recording)
    assert info.state == "succeeded" and texts(recording) == ["first", "second", "second ends"]


async def test_an_object_that_takes_its_end_back_is_recorded_on(
    session: Session, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    """`argo retry` does so: while a remaining pod is still read, and after the recording has ended."""
    define(kube, "argoproj.io", "v1alpha1", "Workflow", "workflows", status=False)
    workflow = Custom(kube, "argoproj.io/v1alpha1", "Workflow", "workflows", unique("etl"))

    def set_phase(phase: str) -> None:
        workflow.set_status(has_subresource=False, phase=phase)

    name, go = workflow.name, tmp_path / "go"
    create_pod(kube, f"{name}-0", WAIT.format("first", str(go)), workflow.reference)
    set_phase("Running")
    recording = await find(session, "workflow", name)
    async with recording.keep_wanted():
        await until(lambda: "first" in texts(recording))
        for _ in range(2):
            set_phase("Failed")
            await asyncio.sleep(1)  # the recorder waits for the pod that still runs
            set_phase("Running")
            await asyncio.sleep(1)
        assert not recording.read_info().done and not notices(recording)
        create_pod(kube, f"{name}-1", "print('retry')", workflow.reference)
        await until(lambda: "retry" in texts(recording))
        go.touch()
        set_phase("Failed")
        info = await ended(recording)
    assert info.state == "failed" and texts(recording) == ["first", "first ends", "retry"]

    reopened = await find(session, "workflow", name)
    assert reopened.id == recording.id, "it shows its end, and so it has nothing new"
    set_phase("Running")
    create_pod(kube, f"{name}-2", "print('third')", workflow.reference)
    reopened = await find(session, "workflow", name)
    assert reopened.id != recording.id and (await find(session, "workflow", name)).id == reopened.id
    async with reopened.keep_wanted():
        await until(lambda: "third" in texts(reopened))
        set_phase("Succeeded")
        info = await ended(reopened)
    assert info.state == "succeeded" and texts(reopened) == ["first", "first ends", "retry", "third"]
    assert notices(reopened) == ["goes_on"]
    assert (await find(session, "workflow", name)).id == reopened.id


async def test_without_readers_what_shows_no_end_is_recorded_on_unless_it_makes_pods_for_ever(
    session: Session, kube: Kube, unique: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.reader.session.WANTED_S", 3.0)
    define(kube, "bench.example.org", "v1beta1", "Trial", "trials")
    recordings: dict[str, Recording] = {}
    specs: dict[str, dict[str, Any]] = {"Never": {}, "Always": {}, "schedule": {"schedule": "@daily", "suspend": False}}
    for name, spec in specs.items():
        trial = Custom(kube, "bench.example.org/v1beta1", "Trial", "trials", unique("exp"), **spec)
        trial.set_status(phase="Cluster in healthy state")
        restart = "Always" if name == "Always" else "Never"
        pod = python_pod(f"{trial.name}-0", WAIT.format("up", str(tmp_path / "go")), restart=restart)
        kube.create(pod | {"metadata": pod["metadata"] | {"ownerReferences": [trial.reference]}})
        recordings[name] = await find(session, "trial", trial.name)
    async with AsyncExitStack() as readers:
        for recording in recordings.values():
            await readers.enter_async_context(recording.keep_wanted())
        for recording in recordings.values():
            await until(lambda recording=recording: texts(recording) == ["up"])  # type: ignore[misc]
            await until(lambda recording=recording: recording.read_info().caught_up)  # type: ignore[misc]
    for name in ("Always", "schedule"):
        await until(lambda name=name: not recordings[name].read_info().caught_up)  # type: ignore[misc]
    (tmp_path / "go").touch()
    await until(lambda: recordings["Never"].read_info().done)
    assert texts(recordings["Never"]) == ["up", "up ends"]


async def test_a_task_without_pods_says_in_its_own_words_what_it_waits_for(
    session: Session, kube: Kube, unique: Callable[[str], str]
) -> None:
    define(kube, "bench.example.org", "v1beta1", "Trial", "trials")
    trial = Custom(kube, "bench.example.org/v1beta1", "Trial", "trials", unique("exp"))
    trial.set_status(phase="Pending")
    recording = await find(session, "trial", trial.name)
    async with recording.keep_wanted():
        await until(lambda: recording.read_info().message == "Log not available yet: Pending")
        trial.set_status(phase="Pending", reason="QuotaExceeded", message="waiting for 8 GPUs")
        words = "Log not available yet: QuotaExceeded: waiting for 8 GPUs"
        await until(lambda: recording.read_info().message == words)
    assert (await describe_task(session, recording.ref))["message"] == words


async def test_a_selector_ends_with_its_pods_and_goes_on_with_new_ones(
    session: Session, kube: Kube, unique: Callable[[str], str]
) -> None:
    name = unique("sweep")
    recording = await find(session, "selector", f"sweep={name}")

    def run(number: int) -> None:
        job = python_job(f"{name}-{number}", f"print('run {number}')")
        job["spec"]["template"]["metadata"] = {"labels": {"sweep": name}}
        kube.create(job)

    async with recording.keep_wanted():
        await until(lambda: recording.read_info().reason == "NoPods")
        run(1)
        info = await ended(recording)
    assert (info.state, info.message) == ("succeeded", "Selector complete exit 0")
    assert (await find(session, "selector", f"sweep={name}")).id == recording.id
    run(2)
    await until(lambda: kube.pods_of(f"{name}-2"))
    reopened = await find(session, "selector", f"sweep={name}")
    await ended(reopened)
    listed, _ = await list_tasks(session, "default")
    assert [row["state"] for row in listed if row["name"] == f"sweep={name}"] == ["succeeded"]
    assert texts(recording) == ["run 1"] and texts(reopened) == ["run 1", "run 2"]


async def test_a_selector_of_a_cron_job_does_not_end_although_its_jobs_are_deleted(
    session: Session, kube: Kube, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("nightly")
    ends, pods_of_tasks = list[Any](), list[Pods]()
    begin = Pods.__init__

    def remember(pods: Pods) -> None:
        begin(pods)
        pods_of_tasks.append(pods)

    async def ask(*args: Any, **options: Any) -> Any:
        ends.append(await state_by_pods(*args, **options))
        return ends[-1]

    monkeypatch.setattr(Pods, "__init__", remember)
    monkeypatch.setattr("cortex_jupyter.recorder.task.state_by_pods", ask)
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": python_job("x", "pass")["spec"]}}
    cron_job = await asyncio.to_thread(
        kube.create, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}
    )
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cron_job["metadata"]["uid"]}

    def run(number: int) -> None:
        job = python_job(f"{name}-{number}", f"print('run {number}')")
        job["metadata"]["ownerReferences"] = [owner | {"controller": True}]
        job["spec"]["template"]["metadata"] = {"labels": {"nightly": name}}
        kube.create(job)
        kube.wait_for(lambda: f"run {number}" in texts(recording), "the line")
        kube.delete("jobs", f"{name}-{number}")

    recording = await find(session, "selector", f"nightly={name}")
    async with recording.keep_wanted():
        await until(lambda: recording.read_info().reason == "NoPods")
        for number in range(3):
            await asyncio.to_thread(run, number)
        await until(lambda: texts(recording) == [f"run {number}" for number in range(3)])
        await until(lambda: recording.read_info().done or not pods_of_tasks[-1].all)
        # A slow recorder may look before the next Job is there; then it has found no end.
        assert not recording.read_info().done and not any(ends)
    await asyncio.to_thread(kube.delete, "cronjobs", name)


async def test_a_pod_that_waits_keeps_a_selector_open_also_if_the_watch_has_not_shown_it(
    session: Session, kube: Kube, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("sweep")
    is_behind, watch_pods, listed = True, Watches.pods, list[str]()

    async def late(watches: Watches, workload: Any) -> AsyncIterator[Any]:
        async for kind, pod in watch_pods(watches, workload):
            if not (is_behind and pod.get("metadata", {}).get("name") == f"{name}-2"):
                yield kind, pod

    async def list_pods(*args: Any) -> list[Any]:
        pods = await pods_of(*args)
        listed[:] = [pod["metadata"]["name"] for pod in pods]
        return pods

    monkeypatch.setattr(Watches, "pods", late)
    monkeypatch.setattr("cortex_jupyter.recorder.task.pods_of", list_pods)

    def run(number: int, **spec: Any) -> None:
        pod = python_pod(f"{name}-{number}", f"print('run {number}')", **spec)
        kube.create(pod | {"metadata": pod["metadata"] | {"labels": {"sweep": name}}})

    await asyncio.to_thread(run, 2, nodeSelector={"pool": "none"})
    await asyncio.to_thread(run, 1)
    recording = await find(session, "selector", f"sweep={name}")
    async with recording.keep_wanted():
        await until(lambda: len(listed) == 2)
        await until(lambda: recording.read_info().done or recording.read_info().reason == "Unschedulable")
        assert not recording.read_info().done
        await asyncio.to_thread(kube.delete, "pods", f"{name}-2")
        is_behind = False


async def test_a_condition_that_ends_an_object_ends_its_recording_at_once(
    session: Session, kube: Kube, trial: Custom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.task._QUIET_S", 3600.0)
    create_pod(kube, f"{trial.name}-0", "print('x')", trial.reference)
    recording = await find(session, "trial", trial.name)
    async with recording.keep_wanted():
        await until(lambda: texts(recording) == ["x"])
        trial.set_status(conditions=[condition("Succeeded")])
        assert (await ended(recording)).state == "succeeded"


async def test_a_collector_records_on_what_takes_its_end_back(
    sandbox: Any, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    define(kube, "argoproj.io", "v1alpha1", "Workflow", "workflows", status=False)
    space = unique("retry")
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    store = open_store(f"sqlite://{tmp_path}/r.sqlite")
    workflow = Custom(kube, "argoproj.io/v1alpha1", "Workflow", "workflows", "etl", namespace=space)

    def texts_by_uid() -> dict[str, list[str]]:
        """Return the lines of the complete recordings."""
        return {
            info.uid: sorted(
                text
                for e in store.entries(info.id, 0, 1 << 24)
                if e.event == "log"
                for text in Batch.decode(e.data).texts
            )
            for info in store.recordings(space)
            if info.done
        }

    def attempt(number: int) -> None:
        workflow.set_status(has_subresource=False, phase="Running")
        create_pod(kube, f"etl-{number}", f"print('line {number}')", workflow.reference, namespace=space)
        kube.wait_pod(f"etl-{number}", lambda pod: pod["status"]["phase"] == "Succeeded", namespace=space)
        workflow.set_status(has_subresource=False, phase="Failed")

    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        selection = Selection(cluster, store, namespaces=(space,))
        collector = asyncio.create_task(Recorder(store, cluster, selection=selection).run())
        uid = workflow.obj["metadata"]["uid"]
        for number, recorded in ((1, uid), (2, f"{uid}@@2"), (3, f"{uid}@@3")):
            await asyncio.to_thread(attempt, number)
            await until(lambda recorded=recorded: recorded in texts_by_uid())  # type: ignore[misc]
        collector.cancel()
        await asyncio.wait([collector])
        lines = [f"line {number}" for number in (1, 2, 3)]
        assert texts_by_uid() == {uid: lines[:1], f"{uid}@@2": lines[:2], f"{uid}@@3": lines}
    store.close()
    kube.delete("namespaces", space)


async def test_what_was_read_and_exists_is_listed_as_it_is_and_a_part_not_at_all(
    session: Session, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    for kind, plural in (("RayJob", "rayjobs"), ("RayCluster", "rayclusters")):
        define(kube, "ray.io", "v1", kind, plural)
    define(kube, "bench.example.org", "v1beta1", "Trial", "trials")
    waiting = Custom(kube, "bench.example.org/v1beta1", "Trial", "trials", unique("cells"))
    ray_job = Custom(kube, "ray.io/v1", "RayJob", "rayjobs", unique("tune"))
    ray = Custom(kube, "ray.io/v1", "RayCluster", "rayclusters", f"{ray_job.name}-x", ray_job.reference)
    ray_job.set_status(rayClusterName=ray.name, jobStatus="RUNNING")
    create_pod(kube, f"{ray.name}-head", WAIT.format("head", str(tmp_path / "go")), ray.reference)
    submitter = python_job(ray_job.name, "print('submitted')")
    submitter["metadata"]["ownerReferences"] = [ray_job.reference]
    kube.create(submitter)
    kube.wait_job(ray_job.name)
    for kind, name in (
        ("trial", waiting.name),
        ("raycluster", ray.name),
        ("pod", f"{ray.name}-head"),
        ("job", ray_job.name),
    ):
        recording = await find(session, kind, name)
        async with recording.keep_wanted():
            await until(lambda recording=recording: recording.read_info().last_seq)  # type: ignore[misc]
    await until(lambda: recording.read_info().done)

    async def states() -> dict[str, str]:
        listed, _ = await list_tasks(session, "default")
        assert not any({"uid", "is_part"} & row.keys() for row in listed)
        return {row["task"]: row["state"] for row in listed if row["name"].startswith((waiting.name, ray_job.name))}

    trial, top = f"default:trial.bench.example.org/{waiting.name}", f"default:rayjob.ray.io/{ray_job.name}"
    assert await states() == {trial: "pending", top: "running"}
    kube.request("DELETE", f"/apis/bench.example.org/v1beta1/namespaces/default/trials/{waiting.name}")
    assert await states() == {trial: "gone", top: "running"}
    (tmp_path / "go").touch()


async def test_a_task_is_listed_with_its_end_also_when_its_pods_and_its_object_are_deleted(
    session: Session, kube: Kube, unique: Callable[[str], str]
) -> None:
    define(kube, "kubeflow.org", "v1", "PyTorchJob", "pytorchjobs")
    bert = Custom(kube, "kubeflow.org/v1", "PyTorchJob", "pytorchjobs", unique("bert"))
    for index in range(2):
        labels = {
            f"training.kubeflow.org/replica-{key}": value for key, value in (("type", "worker"), ("index", index))
        }
        program = f"raise SystemExit({3 * index})"
        pod = python_pod(f"{bert.name}-worker-{index}", program)
        labels = {"training.kubeflow.org/job-name": bert.name} | {k: str(v) for k, v in labels.items()}
        meta = {"ownerReferences": [bert.reference], "labels": labels}
        kube.create(pod | {"metadata": pod["metadata"] | meta})
    message = f"PyTorchJob failed exit 3: worker-1 (pod {bert.name}-worker-1) failed first: PyTorchJobFailed"
    sweep = f"sweep={bert.name}"
    job = python_job(f"{bert.name}-plain", "print(1)")
    job["spec"]["template"]["metadata"] = {"labels": {"sweep": bert.name}}
    kube.create(job)
    for index in range(2):
        kube.wait_pod(f"{bert.name}-worker-{index}", lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"))
    bert.set_status(conditions=[condition("Failed", reason="PyTorchJobFailed")])
    for kind, name in (("pytorchjob", bert.name), ("selector", sweep)):
        await ended(await find(session, kind, name))

    async def ends() -> dict[str, tuple[str, str, str]]:
        listed, _ = await list_tasks(session, "default")
        ends = {row["name"]: (row["state"], row["status"], row["message"]) for row in listed}
        described = [await describe_task(session, TaskRef("default", *task)) for task in tasks]
        assert [(doc["state"], doc["message"]) for doc in described] == [
            (ends[name][0], ends[name][2]) for _, name in tasks
        ]
        return {name: ends[name] for _, name in tasks}

    tasks = [("pytorchjob", bert.name), ("selector", sweep)]
    expected = {
        bert.name: ("failed", "Failed", message),
        sweep: ("succeeded", "Completed", "Selector complete exit 0"),
    }
    assert await ends() == expected
    for name in (f"{bert.name}-worker-0", f"{bert.name}-worker-1"):
        kube.delete("pods", name)
    kube.delete("jobs", f"{bert.name}-plain")
    kube.wait_for(lambda: not kube.pods_of(f"{bert.name}-plain"))
    assert await ends() == expected
    path = f"/apis/kubeflow.org/v1/namespaces/default/pytorchjobs/{bert.name}"
    assert kube.request("DELETE", path).is_success
    assert await ends() == expected


async def test_pods_that_run_on_after_the_end_are_counted_in_a_note(
    session: Session, kube: Kube, unique: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.task._LEFT_OVER_S", 0.5)
    define(kube, "argoproj.io", "v1alpha1", "Workflow", "workflows", status=False)
    workflow = Custom(kube, "argoproj.io/v1alpha1", "Workflow", "workflows", unique("etl"))
    for index in range(2):
        create_pod(kube, f"{workflow.name}-{index}", WAIT.format(index, str(tmp_path / "go")), workflow.reference)
    recording = await find(session, "workflow", workflow.name)
    async with recording.keep_wanted():
        await until(lambda: texts(recording) == ["0", "1"])
        workflow.set_status(has_subresource=False, phase="Succeeded")
        await ended(recording)
    entries = recording.store.entries(recording.id, 0, 1 << 24)
    (note,) = [n for e in entries if e.event == "status" and (n := orjson.loads(e.data)).get("notice") == "left"]
    assert note["message"].startswith("2 pods still run after the end of the task; what they write from here on")
    (tmp_path / "go").touch()


async def test_an_object_of_a_kind_that_may_not_be_listed_is_not_listed_as_deleted(
    session: Session, sandbox: Any, kube: Kube, unique: Callable[[str], str]
) -> None:
    define(kube, "bench.example.org", "v1beta1", "Trial", "trials")
    trial = Custom(kube, "bench.example.org/v1beta1", "Trial", "trials", unique("cells"))
    recording = await find(session, "trial", trial.name)
    async with recording.keep_wanted():
        await until(lambda: recording.read_info().state == "pending" and recording.read_info().last_seq)
    sandbox.fault("deny", verb="list", resource="trials", namespace="default")
    listed, _ = await list_tasks(session, "default")
    (row,) = [row for row in listed if row["name"] == trial.name]
    assert row["state"] == "pending" and row["recorded"]
    assert "trials" in row["message"] and row["message"].endswith("this is what is recorded")
