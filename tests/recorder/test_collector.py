"""`cortex-jupyter record --all` in real processes: collectors select tasks themselves, and share them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from support.hand import until
from support.jupyter import Home
from support.kube import pod_spec, python_container, python_job

from cortex_jupyter._version import __version__
from cortex_jupyter.cli.doctor.store import judge_recorder
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import NotAllowed
from cortex_jupyter.model import Batch, TaskRef
from cortex_jupyter.recorder.collector import selection as selecting
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.store import RecorderInfo
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import SandboxProcess
    from support.kube import Kube
    from support.valkey import Server

    from cortex_jupyter.store import Store

CLUSTER = "a cluster of many names"
COUNT = "import time\nfor i in range({n}): print(f'line {{i:05}}', flush=True); time.sleep({pause})"
#: Writes lines until a file exists.
UNTIL = """
import os, time
i = 0
while not os.path.exists({flag!r}):
    print(f'line {{i:05}}', flush=True)
    i += 1
    time.sleep(0.02)
print(f'{{i}} lines', flush=True)
"""


def labelled(manifest: dict[str, Any], team: str) -> dict[str, Any]:
    """Label the pods of a manifest: a pod itself, or the template of a Job."""
    labels = manifest["spec"].get("template", manifest)["metadata"].setdefault("labels", {})
    labels["team"] = team
    return manifest


class Collectors:
    """Collectors of one store."""

    def __init__(self, url: str, home: Home, log: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--all", *options]
        self._env = home.env | {"CORTEX_CLUSTER": CLUSTER}
        self.log = log
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as file:
            process = subprocess.Popen(self._command, env=self._env, stdout=file, stderr=file)
        self.running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        self.running.remove(process)
        process.send_signal(number)
        return process.wait(120)


@contextmanager
def collectors(url: str, home: Home, *options: str) -> Iterator[Collectors]:
    made = Collectors(url, home, home.path / "collectors.log", *options)
    try:
        yield made
    finally:
        for process in [*made.running]:
            made.end(process)


def texts(store: Store, recording: int) -> list[str]:
    return [
        text for e in store.entries(recording, 0, 1 << 30) if e.event == "log" for text in Batch.decode(e.data).texts
    ]


def lines(n: int) -> list[str]:
    return [f"line {i:05}" for i in range(n)]


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path) -> Home:
    return Home(tmp_path, sandbox.kubeconfig)


def test_tasks_without_readers_are_recorded_from_their_first_line(
    kube: Kube, home: Home, unique: Callable[[str], str]
) -> None:
    team = unique("team")
    early, late, other, bare = (unique(name) for name in ("early", "late", "other", "bare"))
    url = f"sqlite:///{home.path}/store.sqlite"
    store = open_store(url)
    find = lambda kind, name: store.find(TaskRef("default", kind, name), CLUSTER)  # noqa: E731
    done = lambda kind, name: (info := find(kind, name)) and info.done and info  # noqa: E731
    try:
        kube.create(labelled(python_job(early, COUNT.format(n=50, pause=0)), team))
        kube.wait_job(early)  # no collector runs yet
        with collectors(url, home, "-n", "default", "-n", "elsewhere", "-l", f"team={team}") as running:
            running.start()
            kube.wait_for(lambda: done("job", early), "the Job that had ended to be recorded")
            kube.create(python_job(other, COUNT.format(n=5, pause=0)))
            kube.create(labelled(python_job(late, COUNT.format(n=100, pause=0.01)), team))
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": bare, "namespace": "default"}}
            spec = pod_spec([python_container("main", COUNT.format(n=20, pause=0))])
            kube.create(labelled(pod | {"spec": spec}, team))
            for kind, name, n in (("job", late, 100), ("pod", bare, 20), ("job", early, 50)):
                info = kube.wait_for(lambda kind=kind, name=name: done(kind, name), f"{name} to be recorded")
                assert info.state == "succeeded" and texts(store, info.id) == lines(n)
            assert find("job", other) is None, "a Job without the label is recorded"
            assert {info.ref.name for info in store.recordings()} == {early, late, bare}, (
                "a Job's pods are recorded as tasks"
            )
            assert running.end(running.running[0]) == 0
    finally:
        store.close()


def test_collectors_share_take_over_and_drain(
    kube: Kube, home: Home, unique: Callable[[str], str], valkey_server: Server
) -> None:
    team, n, flag = unique("shared"), 9, home.path / "flag"
    valkey_server.ask("FLUSHALL")
    store = open_store(valkey_server.url)

    def held() -> Counter[str]:
        return Counter(store.holders(info.id for info in store.recordings()).values())

    def even(recorders: int) -> Counter[str] | None:
        counts = held()
        all_held = "" not in counts and len(counts) == recorders and sum(counts.values()) == n
        return counts if all_held and max(counts.values()) - min(counts.values()) <= 1 else None

    try:
        with collectors(valkey_server.url, home, "-l", f"team={team}") as running:
            first, second = running.start(), running.start()
            for i in range(n):
                kube.create(labelled(python_job(f"{team}-{i}", UNTIL.format(flag=str(flag))), team))
            kube.wait_for(lambda: even(2), "two to share evenly")
            third = running.start()
            kube.wait_for(lambda: even(3), "a third to have its share")
            os.kill(first.pid, signal.SIGSTOP)  # as if its machine had gone: its process can still be found
            kube.wait_for(lambda: even(2), "the others to take over")
            assert running.end(first, signal.SIGKILL) == -signal.SIGKILL
            assert running.end(second) == 0, running.log.read_text()
            assert second.pid not in {r.pid for r in store.recorders(CLUSTER)}
            assert len(held()) <= 2 and third.poll() is None
            kube.wait_for(lambda: even(1), "the last to have all")
            running.start()
            flag.touch()
            kube.wait_for(lambda: store.recordings() and all(i.done for i in store.recordings()), "all to be recorded")
        for info in store.recordings():
            assert info.state == "succeeded"
            *all_, last = texts(store, info.id)
            assert all_ == lines(len(all_)) and last == f"{len(all_)} lines", "lines are missing or duplicated"
            assert not store.complete(info.id).gaps
        assert len(store.recordings()) == n
    finally:
        store.close()


def test_unfinished_recordings_are_adopted_only_if_selected_or_gone(
    kube: Kube, home: Home, unique: Callable[[str], str], valkey_server: Server
) -> None:
    team, flag = unique("left"), home.path / "flag"
    theirs, ours, gone = (unique(name) for name in ("theirs", "ours", "gone"))
    valkey_server.ask("FLUSHALL")
    store = open_store(valkey_server.url)
    ids = {}
    try:
        command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", store.url]
        with subprocess.Popen(command, env=home.env | {"CORTEX_CLUSTER": CLUSTER}) as user:
            for name in (theirs, ours, gone):
                job = kube.create(labelled(python_job(name, UNTIL.format(flag=str(flag))), team * (name == ours)))
                ids[name] = store.open(CLUSTER, TaskRef("default", "job", name), job["metadata"]["uid"])

            def begun() -> bool:
                for id_ in ids.values():
                    store.want(id_, 2)
                return all(texts(store, id_) for id_ in ids.values())

            kube.wait_for(begun, "somebody's recorder to record what he reads")
            user.kill()
        kube.delete("jobs", gone)
        kube.wait_for(lambda: not store.wanted(CLUSTER), "the tasks to have no reader any more")
        with collectors(store.url, home, "-l", f"team={team}") as running:
            running.start()
            done = lambda name: (info := store.info(ids[name])) and info.done and info  # noqa: E731
            assert kube.wait_for(lambda: done(gone), "the end of the deleted task").state == "gone"
            kube.wait_for(lambda: store.holders(ids.values())[ids[ours]], "the selected task to be recorded")
            assert store.holders(ids.values())[ids[theirs]] == "", "a task without the selected label was taken"
            flag.touch()
            kube.wait_for(lambda: done(ours), "its end")
    finally:
        store.close()


@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
def test_a_lease_can_be_given_back(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "valkey":
        server = request.getfixturevalue("valkey_server")
        server.ask("FLUSHALL")
    store = open_store(server.url if kind == "valkey" else f"sqlite:///{tmp_path}/store.sqlite")
    try:
        ids = [store.open(CLUSTER, TaskRef("default", "job", name), name) for name in ("a", "b")]
        for name in ("me", "you"):
            store.beat(RecorderInfo(name, CLUSTER, "elsewhere", 1, 0))
        assert {r.id for r in store.recorders(CLUSTER)} == {"me", "you"} and store.recorders("another") == []
        lease = store.lease(ids[0], "me")
        assert lease and store.holders([*ids, 17]) == {ids[0]: "me", ids[1]: ""}
        store.release(lease)
        assert store.holders(ids) == dict.fromkeys(ids, "")
        assert store.lease(ids[0], "you")
        store.release(lease)
        assert store.holders(ids)[ids[0]] == "you", "another recorder's lease was given back"
        assert [i.id for i in sorted(store.unfinished(CLUSTER), key=lambda i: i.id)] == ids
        assert store.unfinished("another") == []
    finally:
        store.close()


def test_an_api_server_that_is_too_busy_is_given_time(
    sandbox: SandboxProcess, kube: Kube, home: Home, unique: Callable[[str], str]
) -> None:
    team, name, url = unique("team"), unique("busy"), f"sqlite:///{home.path}/store.sqlite"
    store = open_store(url)
    try:
        # For the list, for the watch, and for the log.
        for path in (r"/v1/jobs(?!.*watch)", r"/v1/jobs\?(?=.*watch)", "/log"):
            sandbox.fault("status", code=429, retry_after=1, path=path, count=1)
        with collectors(url, home, "-l", f"team={team}") as running:
            running.start()
            kube.create(labelled(python_job(name, COUNT.format(n=30, pause=0)), team))
            done = lambda: [i for i in store.recordings() if i.done]  # noqa: E731
            (info,) = kube.wait_for(done, "the task to be recorded")
            assert texts(store, info.id) == lines(30) and not sandbox.faults()
            said = [e.data for e in store.entries(info.id, 0, 1 << 30) if e.event != "log"]
            assert not any(b"ReadFailed" in data for data in said), "a busy API server is reported as a failure"
        assert "not watched" not in running.log.read_text()
    finally:
        store.close()


def test_a_missing_right_to_list_the_selection_is_reported(
    sandbox: SandboxProcess, home: Home, unique: Callable[[str], str]
) -> None:
    space = unique("forbidden")
    sandbox.fault("deny", verb="list", resource="jobs", namespace=space)
    with collectors(f"sqlite:///{home.path}/store.sqlite", home, "-n", space) as running:
        process = running.start()
        assert process.wait(120) == 1
        assert f'namespace "{space}"' in running.log.read_text() and "Traceback" not in running.log.read_text()
        running.running.remove(process)


def test_a_task_without_readers_is_committed_rarely_and_one_with_readers_at_once(
    kube: Kube, home: Home, unique: Callable[[str], str], valkey_server: Server
) -> None:
    team, flag = unique("unread"), home.path / "flag"
    store = open_store(valkey_server.url)

    def batches() -> list[int]:
        return [e.n for e in store.entries(info.id, 0, 1 << 30) if e.event == "log"]

    try:
        with collectors(valkey_server.url, home, "-l", f"team={team}") as running:
            running.start()
            kube.create(labelled(python_job(team, UNTIL.format(flag=str(flag))), team))
            info = kube.wait_for(lambda: store.find(TaskRef("default", "job", team), CLUSTER), "its recording")
            kube.wait_for(lambda: any(n > 25 for n in batches()), "half a second's lines in one batch")
            rare = len(batches())
            store.want(info.id, 600)
            kube.wait_for(lambda: sum(n < 4 for n in batches()[rare:]) > 5, "each line as it comes")
            flag.touch()
            done = kube.wait_for(lambda: (i := store.info(info.id)) and i.done and i, "its end")
            recorded = texts(store, done.id)
            assert recorded[:-1] == lines(len(recorded) - 1) and recorded[-1] == f"{len(recorded) - 1} lines"
    finally:
        store.close()


async def test_a_namespace_without_rights_is_skipped_named_and_tried_again(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted namespace takes the collector's RoleBinding along. All others are recorded on."""
    monkeypatch.setattr(selecting, "_REFUSED_NAMESPACE_S", 0.2)
    monkeypatch.setattr(selecting, "_RIGHTS_S", 0.2)
    space, first, second = unique("space"), unique("first"), unique("second")
    url, health = f"sqlite://{tmp_path}/store.sqlite", Health()
    named = lambda: "".join(problem for problem in health.readiness() if space in problem)  # noqa: E731
    await asyncio.to_thread(kube.create, {"kind": "Namespace", "metadata": {"name": space}})
    sandbox.fault("deny", verb="list", resource="jobs", namespace=space)
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        with contextlib.closing(open_store(url)) as store:
            refs = [TaskRef("default", "job", first), TaskRef(space, "job", first), TaskRef(space, "job", second)]
            selection = Selection(cluster, store, namespaces=("default", space), health=health)
            run = asyncio.create_task(selection.run(lambda: None))
            try:
                for namespace in ("default", space):
                    await asyncio.to_thread(kube.create, python_job(first, "print('a line')", namespace=namespace))
                await until(lambda: store.find(refs[0], cluster.id))
                await until(named)
                assert selection.refused_namespaces == (space,) and store.find(refs[1], cluster.id) is None
                assert REGISTRY.get_sample_value("cortex_jupyter_refused_namespaces") == 1
                await asyncio.to_thread(sandbox.clear)
                await until(lambda: store.find(refs[1], cluster.id))
                await until(lambda: not named())
                assert not selection.refused_namespaces
                # The watches go on for minutes after the rights are gone, but no log can be read.
                sandbox.fault("deny", verb="get", resource="pods/log", namespace=space)
                await until(lambda: "get pods/log" in named())
                assert REGISTRY.get_sample_value("cortex_jupyter_refused_namespaces") == 1
                await asyncio.to_thread(sandbox.clear)
                await until(lambda: not named() and not selection.refused_namespaces)
                await asyncio.to_thread(kube.create, python_job(second, "print('a line')", namespace=space))
                await until(lambda: store.find(refs[2], cluster.id))
            finally:
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)
                await asyncio.to_thread(sandbox.clear)
                await asyncio.to_thread(kube.delete, "namespaces", space)


async def test_a_collector_without_rights_in_any_namespace_ends(
    sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path
) -> None:
    spaces = (unique("one"), unique("two"))
    for space in spaces:
        sandbox.fault("deny", verb="list", resource="pods", namespace=space)
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        with contextlib.closing(open_store(f"sqlite://{tmp_path}/store.sqlite")) as store, pytest.raises(NotAllowed):
            await asyncio.wait_for(Selection(cluster, store, namespaces=spaces).run(lambda: None), 120)


def test_the_doctor_names_a_namespace_that_a_collector_may_not_read() -> None:
    alive = RecorderInfo("1", CLUSTER, "node-1", 1, 1000.0, __version__, selection="ml,vision ", refused=("vision",))
    found = judge_recorder(alive, 3, now=1000.0)
    assert found.judged == "bad" and "vision" in found.text and "RoleBinding" in found.todo
