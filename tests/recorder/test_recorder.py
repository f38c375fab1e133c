"""On the sandbox, the recorder process records each line of each container once, whatever happens to recorder and container."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import aclosing, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.hand import until
from support.kube import pod_spec, python_container, python_job, python_pod
from support.operators import Custom, create_pod, define
from support.relay import Relay

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import ClusterError
from cortex_jupyter.model import Batch, TaskRef, rfc3339
from cortex_jupyter.reader.pages import newest
from cortex_jupyter.reader.session import Session
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.quotas import read_quotas
from cortex_jupyter.store.settings import write_quota

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.kube import Kube

    from cortex_jupyter.reader.session import Recording

COUNT = "import time\nfor i in range({n}):\n    print(f'line {{i:08}}', flush=True)\n    time.sleep({pause})"


class Seen:
    """Everything that a reader received.

    Attributes
    ----------
    lines : dict
        Texts by (pod, container, run).
    notices : list of dict
        All other events, in order.
    """

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str, int], list[str]] = {}
        self.notices: list[dict[str, Any]] = []
        self.count = 0

    async def read(self, recording: Recording, at: Callable[[Seen], object] = lambda _: None) -> Seen:
        async with recording.keep_wanted():
            async for event in recording.feed.events():
                if event.event == "log":
                    batch = Batch.decode(event.entry.data)
                    for sid, text in zip(batch.sids, batch.texts, strict=True):
                        s = batch.sources[sid]
                        self.lines.setdefault((s["pod"], s["container"], s["run"]), []).append(text)
                    self.count += len(batch)
                else:
                    self.notices.append({"event": event.event} | orjson.loads(event.entry.data))
                at(self)
        return self

    def of(self, event: str) -> list[str]:
        return [n["message"] for n in self.notices if n["event"] == event]


@pytest.fixture
async def recordings(sandbox: Any, tmp_path: Path) -> AsyncIterator[Session]:
    async with open_session(sandbox, tmp_path) as one:
        yield one


@asynccontextmanager
async def open_session(sandbox: Any, folder: Path) -> AsyncIterator[Session]:
    one = await Session.connect(f"sqlite://{folder}/r.sqlite", str(sandbox.kubeconfig))
    try:
        yield one
    finally:
        assert one.cluster is not None
        recorder = one.store.recorder(one.cluster.id)
        if recorder is not None and recorder.pid != os.getpid():
            os.kill(recorder.pid, signal.SIGTERM)
            await until(lambda: one.store.recorder(one.cluster.id) is None)  # type: ignore[union-attr]
        await one.close()


async def follow(recordings: Session, name: str, at: Callable[[Seen], object] = lambda _: None) -> Seen:
    recording = await recordings.find(TaskRef.parse(name))
    return await asyncio.wait_for(Seen().read(recording, at), 120)


def counted(n: int) -> list[str]:
    return [f"line {i:08}" for i in range(n)]


def exactly(seen: Seen, n: int) -> bool:
    """Return whether a reader received exactly `n` lines; fail with a short message that names the first wrong ones."""
    (texts,) = seen.lines.values()
    odd = [f"{text} at {i}" for i, text in enumerate(texts) if text != f"line {i:08}"][:3]
    missing = sorted(set(counted(n)) - set(texts))
    assert not odd and not missing, (len(texts), odd, len(missing), missing[:3], seen.notices)
    return len(texts) == n


async def test_all_lines_of_a_job_of_two_pods_arrive(recordings: Session, kube: Kube, unique: Any) -> None:
    name = unique("whole")
    program = "import sys\nfor i in range(20000): print(f'line {i:08}')"
    kube.create(python_job(name, program, parallelism=2, init="print('prepare')"))
    seen = await follow(recordings, name)
    mains = [texts for (_, container, _), texts in seen.lines.items() if container == "main"]
    assert mains == [counted(20_000)] * 2
    assert [t for (_, c, _), t in seen.lines.items() if c == "prepare"] == [["prepare"]] * 2
    assert seen.of("end") == ["Job complete exit 0"] and not seen.of("gap")
    recording = await recordings.find(TaskRef.parse(name))
    complete = recordings.store.complete(recording.id)
    assert (complete.records, complete.sources, complete.gaps) == (40_002, 4, [])
    assert len(newest(recordings.store, recording.id, limit=1000).records) == 1000
    kube.delete("jobs", name)


async def test_a_recorder_that_is_killed_in_mid_stream_loses_no_line(
    recordings: Session, kube: Kube, unique: Any
) -> None:
    name = unique("killed")
    kube.create(python_job(name, COUNT.format(n=4000, pause=0.0005), parallelism=2))
    killed: set[int] = set()

    def kill(seen: Seen) -> None:
        if len(killed) < 3 and seen.count > 1500 * (len(killed) + 1):
            assert recordings.cluster is not None
            found = recordings.store.recorder(recordings.cluster.id)
            if found is not None and found.pid not in killed:
                os.kill(found.pid, signal.SIGKILL)
                killed.add(found.pid)

    seen = await follow(recordings, name, kill)
    assert killed
    assert list(seen.lines.values()) == [counted(4000)] * 2
    assert not seen.of("gap")
    kube.delete("jobs", name)


async def test_two_recorders_at_once(recordings: Session, kube: Kube, unique: Any, sandbox: Any) -> None:
    name = unique("two")
    command = [sys.executable, "-P", "-m", "cortex_jupyter.recorder", "--store", recordings.store.url]
    command += ["--kubeconfig", str(sandbox.kubeconfig), "--idle", "3"]
    stopped: list[int] = []
    both = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]  # noqa: ASYNC220
    try:
        kube.create(python_job(name, COUNT.format(n=3000, pause=0.0005)))

        def stop(seen: Seen) -> None:
            # Stop the working recorder for longer than its lease, then let it continue.
            if seen.count > 1000 and not stopped:
                working = recordings.store.recorder(recordings.cluster.id)  # type: ignore[union-attr]
                if working is not None:
                    stopped.append(working.pid)
                    os.kill(working.pid, signal.SIGSTOP)
                    asyncio.get_running_loop().call_later(5, os.kill, working.pid, signal.SIGCONT)

        seen = await follow(recordings, name, stop)
        assert list(seen.lines.values()) == [counted(3000)]
        assert not seen.of("gap")

        # On a busy machine one of the recorders may still be starting, and could not end with status 0 yet.
        def started() -> bool:
            known = {one.pid for one in recordings.store.recorders(recordings.cluster.id)}  # type: ignore[union-attr]
            return all(p.pid in known or p.poll() is not None for p in both)

        await asyncio.to_thread(kube.wait_for, started, "both to be at work")
    finally:
        for pid in stopped:  # a stopped recorder can also be a third one, which the reader started
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for process in both:
            process.terminate()
        assert [p.wait(120) for p in both] == [0, 0]
    kube.delete("jobs", name)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut", "after_bytes": 20_011, "count": 6},
        {"kind": "abort", "after_bytes": 30_007, "count": 6},
        {"kind": "garbage", "count": 2},
        {"kind": "status", "code": 500, "path": "/log", "count": 3},
        {"kind": "status", "code": 503, "path": "watch=1", "count": 2},
    ],
    ids=lambda f: f["kind"] + str(f.get("code", "")),
)
async def test_no_line_is_lost_under_network_faults(
    recordings: Session, kube: Kube, unique: Any, sandbox: Any, fault: dict[str, Any]
) -> None:
    name = unique("fault")
    matched = {} if fault["kind"] == "status" else {"pod": f"{name}.*"}
    sandbox.fault(**fault, **matched)
    kube.create(python_job(name, COUNT.format(n=3000, pause=0.0003)))
    seen = await follow(recordings, name)
    assert exactly(seen, 3000) and not seen.of("gap")
    kube.delete("jobs", name)


async def test_a_restart_is_another_run(recordings: Session, kube: Kube, unique: Any) -> None:
    name = unique("again")
    program = (
        COUNT.format(n=50, pause=0.01)
        + "\nimport os\nos._exit(0 if os.path.exists('/tmp/%s') else (open('/tmp/%s', 'w').close(), 3)[1])"
    )
    kube.create(python_pod(name, program % (name, name), restart="OnFailure"))
    try:
        seen = await follow(recordings, f"pod/{name}")
    finally:
        if os.path.exists(f"/tmp/{name}"):  # noqa: PTH110, ASYNC240
            os.unlink(f"/tmp/{name}")  # noqa: PTH108
    assert {key[2]: texts for key, texts in seen.lines.items()} == {0: counted(50), 1: counted(50)}
    assert not seen.of("gap")
    kube.delete("pods", name)


async def test_a_failure_ends_with_its_exit_code(recordings: Session, kube: Kube, unique: Any) -> None:
    name = unique("three")
    kube.create(python_job(name, "print('no'); raise SystemExit(3)"))
    seen = await follow(recordings, name)
    assert list(seen.lines.values()) == [["no"]]
    assert seen.of("end") == ["Job failed exit 3: BackoffLimitExceeded"]
    info = await (await recordings.find(TaskRef.parse(name))).info()
    assert (info.state, info.exit_code, info.done) == ("failed", 3, True)
    kube.delete("jobs", name)


async def test_an_image_that_is_missing_at_first(recordings: Session, kube: Kube, unique: Any, sandbox: Any) -> None:
    name, image = unique("image"), f"registry.local/{unique('none')}:1"
    sandbox.fault("image", image=image, present=False)
    kube.create(python_job(name, "print('here')", image=image))
    messages: list[str] = []

    def mend(seen: Seen) -> None:
        messages[:] = seen.of("status")
        if any("ErrImage" in m or "ImagePull" in m for m in messages) and len(sandbox.faults()) == 1:
            sandbox.fault("image", image=image)

    seen = await follow(recordings, name, mend)
    assert list(seen.lines.values()) == [["here"]]
    assert any(m.startswith("Log not available yet: ErrImage") for m in messages)
    kube.delete("jobs", name)


async def test_readers_are_told_why_the_log_of_a_container_that_started_late_cannot_be_read(
    recordings: Session, kube: Kube, unique: Any, sandbox: Any
) -> None:
    """A pending container has no log yet. A failure to read the log after its start must still be reported."""
    name, image = unique("late"), f"registry.local/{unique('slow')}:1"
    sandbox.fault("pull", image=image, seconds=3)
    sandbox.fault("status", path="/log", code=500, text="the node is away")
    kube.create(python_job(name, "print('here')\nimport time; time.sleep(5)", image=image))
    messages: list[str] = []

    def mend(seen: Seen) -> None:
        messages[:] = seen.of("status")
        if any("the node is away" in message for message in messages):
            sandbox.clear()

    seen = await follow(recordings, name, mend)
    assert any(m.startswith("Log not available yet: ContainerCreating") for m in messages), messages
    assert any(m.startswith("Log not available yet: the node is away") for m in messages), messages
    assert list(seen.lines.values()) == [["here"]] and not seen.of("gap")
    kube.delete("jobs", name)


async def test_readers_are_told_why_nothing_can_be_recorded(
    recordings: Session, kube: Kube, unique: Any, sandbox: Any
) -> None:
    name = unique("denied")
    kube.create(python_job(name, "print('here')"))
    sandbox.fault("deny", verb="list", resource="pods")

    def allow(seen: Seen) -> None:
        if any("forbidden" in message for message in seen.of("status")):
            sandbox.clear()

    seen = await follow(recordings, name, allow)
    assert list(seen.lines.values()) == [["here"]]
    assert seen.of("end") == ["Job complete exit 0"]
    kube.delete("jobs", name)


async def test_a_pod_that_is_deleted(recordings: Session, kube: Kube, unique: Any) -> None:
    name = unique("gone")
    kube.create(python_pod(name, "import time\nprint('a', flush=True)\ntime.sleep(60)"))

    def delete(seen: Seen) -> None:
        if seen.count == 1:
            kube.delete("pods", name)

    seen = await follow(recordings, f"pod/{name}", delete)
    assert list(seen.lines.values()) == [["a"]]
    assert len(seen.of("end")) == 1


async def test_a_sidecar_and_a_second_container(recordings: Session, kube: Kube, unique: Any) -> None:
    name = unique("side")
    spec = pod_spec([python_container("main", "print('m')"), python_container("other", "print('o')")])
    kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    seen = await follow(recordings, f"pod/{name}")
    assert {key[1]: texts for key, texts in seen.lines.items()} == {"main": ["m"], "other": ["o"]}
    kube.delete("pods", name)


async def test_events_from_before_are_recorded_for_the_second_task_as_well(
    recordings: Session, kube: Kube, unique: Any
) -> None:
    """One watch serves all tasks of a namespace, so its events are known before the second task starts."""
    names = [unique("nowhere"), unique("nowhere")]
    for name in names:
        job = python_job(name, "print(1)")
        job["spec"]["template"]["spec"]["nodeSelector"] = {"no": "such"}
        kube.create(job)
        kube.wait_for(lambda name=name: _has_scheduling_event(kube, name), "the event")
    for name in names:
        recording = await recordings.find(TaskRef.parse(name))
        async with recording.keep_wanted(), asyncio.timeout(120), aclosing(recording.feed.events()) as events:
            async for event in events:
                if b"FailedScheduling: 0/1 nodes" in event.entry.data:
                    break
    for name in names:
        kube.delete("jobs", name)


async def test_the_state_comes_before_the_events_that_led_to_it(recordings: Session, kube: Kube, unique: Any) -> None:
    """This also holds if the recorder knows the events before it knows the pods' containers."""
    names = [unique("half"), unique("half")]
    for name in names:
        job = python_job(name, "import time; time.sleep(600)", containers=2)
        job["spec"]["template"]["spec"]["containers"][1]["image"] = "docker.io/local/missing:1"
        kube.create(job)
        kube.wait_for(lambda name=name: all(s in str(kube.pods_of(name)) for s in ("running", "ErrImage")), "its state")
    for name in names:
        recording, notices = await recordings.find(TaskRef.parse(name)), list[str]()
        async with recording.keep_wanted(), asyncio.timeout(120), aclosing(recording.feed.events()) as events:
            async for event in events:
                notices.append(orjson.loads(event.entry.data).get("notice", ""))
                if "event" in notices:
                    break
        assert "state" in notices, notices
    for name in names:
        kube.delete("jobs", name)


def _has_scheduling_event(kube: Kube, job: str) -> bool:
    events = kube.list("events", fieldSelector="reason=FailedScheduling")["items"]
    return any(event["involvedObject"]["name"].startswith(job) for event in events)


def report(kube: Kube, reason: str, about: dict[str, str], message: str) -> None:
    """Create an event."""
    now = rfc3339(time.time_ns())[:19] + "Z"
    event = {"involvedObject": about, "reason": reason, "message": message, "type": "Normal"}
    times = {"firstTimestamp": now, "lastTimestamp": now, "count": 1}
    metadata = {"name": f"{about['name']}-{reason.lower()}", "namespace": "default"}
    kube.create({"apiVersion": "v1", "kind": "Event", "metadata": metadata} | event | times)


def report_ghost(kube: Kube, job: dict[str, Any]) -> str:
    """Report that a Job has created a pod, which there is not; return the pod's name."""
    name = job["metadata"]["name"]
    about_job = {"kind": "Job", "namespace": "default", "name": name, "uid": job["metadata"]["uid"]}
    report(kube, "SuccessfulCreate", about_job, f"Created pod: {name}-ghost")
    return f"{name}-ghost"


async def test_an_event_that_comes_after_the_end_of_the_task_still_counts(
    sandbox: Any, tmp_path: Path, kube: Kube, unique: Any
) -> None:
    """A kubelet before 1.27 sends five events a second, so those of a pod that nobody saw may be late."""
    name, requests = unique("late"), list[bytes]()
    port = int(re.findall(r":(\d+)", kube.server)[0])
    with Relay(port) as relay:
        relay.on_request = requests.append
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(sandbox.kubeconfig.read_text().replace(f":{port}", f":{relay.port}"))
        async with open_session(SimpleNamespace(kubeconfig=kubeconfig), tmp_path) as recordings:
            job = kube.create(python_job(name, COUNT.format(n=30, pause=0.05)))
            recording = await recordings.find(TaskRef.parse(name))  # what was reported before does not count
            ghost = await asyncio.to_thread(report_ghost, kube, job)
            reading = asyncio.create_task(Seen().read(recording))
            # The recorder asks when the task is over.
            await until(lambda: any(ghost.encode() in request for request in requests))
            about = {"kind": "Pod", "namespace": "default", "name": ghost, "uid": "uid-ghost"}
            about["fieldPath"] = "spec.containers{main}"
            await asyncio.to_thread(report, kube, "Started", about, "Started container main")
            seen = await asyncio.wait_for(reading, 120)
    kube.delete("jobs", name)
    (gap,) = [notice for notice in seen.notices if notice["event"] == "gap"]
    assert (gap["source"]["pod"], gap["reason"]) == (ghost, "its pod came and went before it could be seen")


@pytest.mark.parametrize("events", ["silent", "failing"])
async def test_a_task_ends_although_it_is_not_known_whether_a_pod_ran(
    sandbox: Any, tmp_path: Path, kube: Kube, unique: Any, monkeypatch: pytest.MonkeyPatch, events: str
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.task._EVENTS_S", 0)
    store = open_store(f"sqlite://{tmp_path}/r.sqlite")
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        name = unique("silent")
        job = kube.create(python_job(name, COUNT.format(n=3, pause=0)))
        id_ = store.open(cluster.id, TaskRef.parse(f"job/{name}"), job["metadata"]["uid"])
        store.want(id_, 120)
        ghost = await asyncio.to_thread(report_ghost, kube, job)
        answer = cluster.json

        async def fail(path: str, query: dict[str, str] | None = None, **options: Any) -> Any:
            if "reason=SuccessfulCreate" in (query or {}).get("fieldSelector", ""):
                raise ClusterError("the server is out of order")
            return await answer(path, query, **options)

        if events == "failing":
            monkeypatch.setattr(cluster, "json", fail)
        await asyncio.wait_for(Recorder(store, cluster, idle=0).run(), 120)
    statement = store.complete(id_)
    notices = [orjson.loads(e.data) for e in store.entries(id_, 0, 1 << 20) if e.event == "status"]
    store.close()
    kube.delete("jobs", name)
    unchecked = [notice["message"] for notice in notices if notice.get("notice") == "unchecked"]
    if events == "failing":
        assert unchecked == ["It could not be checked whether pods came and went unseen: the server is out of order"]
        assert not statement.gaps
    else:
        (gap,) = statement.gaps
        assert gap["source"]["pod"] == ghost and gap["reason"].endswith("no event says whether it ran")
        assert not unchecked


async def test_unseen_pods_of_a_custom_resource_are_gaps(
    sandbox: Any, tmp_path: Path, kube: Kube, unique: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events of its Jobs name their pods. KubeRay's events about an owner name the pods that the operator creates."""
    monkeypatch.setattr("cortex_jupyter.recorder.task._EVENTS_S", 0)
    define(kube, "ray.io", "v1", "RayJob", "rayjobs")
    define(kube, "ray.io", "v1", "RayCluster", "rayclusters")
    name = unique("tune")
    ray_job = Custom(kube, "ray.io/v1", "RayJob", "rayjobs", name)
    ray_cluster = Custom(kube, "ray.io/v1", "RayCluster", "rayclusters", f"{name}-9x2kd", ray_job.reference)
    store = open_store(f"sqlite://{tmp_path}/r.sqlite")
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        id_ = store.open(cluster.id, TaskRef.parse(f"rayjob.ray.io/{name}"), ray_job.obj["metadata"]["uid"])
        store.want(id_, 120)
        head = f"{ray_cluster.name}-head"
        create_pod(kube, head, "print('head')", ray_cluster.reference)
        submitter = python_job(name, "print('submitted')")
        submitter["metadata"]["ownerReferences"] = [ray_job.reference]
        job = kube.create(submitter)
        ghost_of_job = report_ghost(kube, job)
        ghosts = [f"{ray_cluster.name}-worker-{end}" for end in ("abcde", "fghij", "klmno")]
        about = {
            "kind": "RayCluster",
            "namespace": "default",
            "name": ray_cluster.name,
            "uid": ray_cluster.obj["metadata"]["uid"],
        }
        report(kube, "CreatedHeadPod", about, f"Created head Pod default/{head}")
        report(kube, "CreatedService", about, f"Created service default/{ray_cluster.name}-head-svc")
        # Kubernetes combines the events of many pods, and names only the newest one.
        combined = f"(combined from similar events): Created worker Pod default/{ghosts[0]}"
        report(kube, "CreatedWorkerPod", about, combined)
        for pod, reason in (*((ghost, "Started") for ghost in ghosts[:2]), (ghosts[2], "Pulling")):
            container = {"fieldPath": "spec.containers{main}"}
            pod_reference = {"kind": "Pod", "namespace": "default", "name": pod, "uid": f"uid-{pod}"}
            report(kube, reason, pod_reference | container, f"{reason} container main")
        other_pod = {"kind": "Pod", "namespace": "default", "name": f"{name}-other-x", "uid": "uid-other"}
        report(kube, "Started", other_pod | {"fieldPath": "spec.containers{main}"}, "Started container main")
        recorder = asyncio.create_task(Recorder(store, cluster, idle=0).run())
        await until(lambda: len(store.sources(id_)) == 2)
        ray_job.set_status(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
        await asyncio.wait_for(recorder, 120)
    gaps = {gap["source"]["pod"]: gap["reason"] for gap in store.complete(id_).gaps}
    store.close()
    ray_job.delete()
    unseen = "its pod came and went before it could be seen"
    assert gaps == {
        ghost_of_job: f"{unseen}; no event says whether it ran",
        ghosts[0]: unseen,
        ghosts[1]: unseen,
    }


async def test_a_task_over_its_namespaces_lines_per_second_is_read_later(
    recordings: Session, kube: Kube, unique: Any
) -> None:
    """It goes on at once when its administrator takes the limit away; at one line a second it would take minutes."""
    write_quota(recordings.store, "default", {"max-lines-per-s": "1"}, "the test")
    name = unique("limited")
    # Far more than one read returns, so that most of it has to wait.
    kube.create(python_job(name, "for i in range(400):\n    print(f'line {i:08}', 'x' * 4000)"))

    def take_limit_away(seen: Seen) -> None:
        if any("lines may come late" in text for text in seen.of("status")) and read_quotas(recordings.store):
            write_quota(recordings.store, "default", {"max-lines-per-s": ""}, "the test")

    seen = await follow(recordings, name, take_limit_away)
    (texts,) = seen.lines.values()
    assert [text.rstrip("x ") for text in texts] == counted(400) and not seen.of("gap")
    (late,) = (text for text in seen.of("status") if "lines may come late" in text)
    assert "no more than 1 lines a second, the limit of namespace default" in late
    kube.delete("jobs", name)
