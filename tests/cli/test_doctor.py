"""The doctor checks real parts, working and broken ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.hand import Hand
from support.operators import Custom, create_pod, define
from support.ports import free_port
from support.valkey import Server

from cortex_jupyter._version import __version__
from cortex_jupyter.cli import doctor
from cortex_jupyter.cli.doctor import archive, collectors, jupyter, store
from cortex_jupyter.cli.doctor import cluster as kubernetes
from cortex_jupyter.cli.doctor import settings as settings_check
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.writing.commit_retrier import STOPPED
from cortex_jupyter.store import Commit, RecorderInfo
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.liveness import HOST
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from cli.conftest import Cli
    from conftest import SandboxProcess
    from support.filled import Filled
    from support.kube import Kube

    from cortex_jupyter.cli.doctor.finding import Finding
    from cortex_jupyter.store import Store


def texts_of(findings: Iterable[Finding], judged: str) -> str:
    """Return the texts of all findings with this judgement."""
    return "\n".join(f"{f.text} -> {f.todo}" for f in findings if f.judged == judged)


def test_the_report_as_json(cli: Cli, filled: Filled) -> None:
    filled.end()
    done = cli("doctor", "--json", "--timeout", "60")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["ok"] is False and done.stderr == ""
    by_part = {f["part"]: f for f in report["findings"] if f["judged"] == "bad"}
    assert by_part.keys() == {"cluster"} and "KUBECONFIG" in by_part["cluster"]["todo"]
    assert {f["part"] for f in report["findings"]} == {"cluster", "store", "archive", "jupyter", "packages", "settings"}


async def test_a_missing_permission_is_named_with_its_consequence(sandbox: SandboxProcess, kube: Kube) -> None:
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        findings = await kubernetes.judge(cluster, ("default",))
        assert not texts_of(findings, "bad") + texts_of(findings, "warn") and "apart" in texts_of(findings, "ok")
        sandbox.fault("deny", verb="get", resource="nodes/proxy")
        sandbox.fault("deny", verb="watch", resource="pods", namespace="default")
        findings = await kubernetes.judge(cluster, ("default",))
    assert texts_of(findings, "bad") == (
        "you may not watch pods in namespace default -> ask for `watch` on `pods`: without it no log can be read"
    )
    assert "ask for `get` on `nodes/proxy`: without it lines in log files that the node has rotated" in texts_of(
        findings, "warn"
    )


async def test_in_a_collectors_pod_the_rights_are_judged_that_its_collector_needs(
    sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a healthy pod of `record --manifests -n A -n B`, which may read nothing in its own namespace."""
    spaces = [unique("first"), unique("second")]
    process = tmp_path / "cmdline"
    monkeypatch.setattr(collectors, "_MAIN_PROCESS", process)
    monkeypatch.setenv("CORTEX_CLUSTER", "prod-1")

    def collector(*options: str) -> None:
        words = (
            "python",
            "/usr/local/bin/cortex-jupyter",
            "record",
            "--all",
            "--host",
            "*",
            "--port",
            "9464",
            *options,
        )
        process.write_text("\0".join(words) + "\0")

    async def judged(*namespaces: str) -> list[Finding]:
        findings = await doctor.examine(str(sandbox.kubeconfig), None, namespaces, 60.0)
        return [f for f in findings if f.part in ("cluster", "collectors")]

    sandbox.fault("deny", namespace="default")
    sandbox.fault("deny", resource="cronjobs")
    sandbox.fault("deny", resource="namespaces")
    sandbox.fault("deny", resource="nodes/proxy")
    with Server(tmp_path / "valkey") as server:
        monkeypatch.setenv("CORTEX_STORE", server.url)
        process.write_text("/sbin/init\0")
        assert "you may not get pods/log in namespace default" in texts_of(await judged(), "bad")

        collector("--namespace", spaces[0], "--namespace", spaces[1])
        findings = await judged()
        assert not texts_of(findings, "bad") + texts_of(findings, "warn")
        told = texts_of(findings, "told")
        assert f"the collector in this pod records tasks in the namespaces {spaces[0]}, {spaces[1]}" in told
        assert "get nodes/proxy" in told and "cronjobs" not in told
        assert f"you may get pods/log in the namespaces {spaces[0]}, {spaces[1]}" in texts_of(findings, "ok")

        sandbox.fault("deny", verb="watch", resource="pods", namespace=spaces[1])
        bad = texts_of(await judged(), "bad")
        assert bad.startswith(f"you may not watch pods in namespace {spaces[1]} -> ask") and "\n" not in bad
        assert not texts_of(await judged(spaces[0]), "bad"), "-n counts before the collector's options"

        collector()
        findings = await judged()
        assert "you may get pods/log in all namespaces" in texts_of(findings, "ok")
        assert not texts_of(findings, "bad"), "no right is missing in all namespaces"
        sandbox.fault("deny", verb="get", resource="pods/log", namespace="")
        assert "you may not get pods/log in all namespaces" in texts_of(await judged(), "bad")


async def test_a_shared_store_needs_a_name_for_a_cluster_with_an_ambiguous_address(
    sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEX_STORE", f"sqlite://{tmp_path}/store.sqlite")

    async def warned(*, name: bool = False) -> str:
        monkeypatch.setenv("CORTEX_CLUSTER", "prod-1") if name else monkeypatch.delenv("CORTEX_CLUSTER", raising=False)
        findings = await doctor.examine(str(sandbox.kubeconfig), None, (), 60.0)
        return texts_of([f for f in findings if f.part == "cluster"], "warn")

    assert "CORTEX_CLUSTER" not in await warned()  # the store is not shared
    with contextlib.closing(open_store(f"sqlite://{tmp_path}/store.sqlite")) as kept:
        kept.set_setting("archive", "s3://127.0.0.1:9/logs")
    assert "s3://127.0.0.1:9/logs is shared" in await warned() and "set CORTEX_CLUSTER" in await warned()
    with Server(tmp_path / "valkey") as server:
        monkeypatch.setenv("CORTEX_STORE", server.url)
        sandbox.fault("deny", verb="get", resource="namespaces")
        text = await warned()
        assert f"{server.url} is shared" in text and "set CORTEX_CLUSTER" in text
        assert "ask for `get` on `namespaces`: without it a user who creates a deleted namespace again can read" in text
        assert "CORTEX_CLUSTER" not in await warned(name=True)


async def test_checks_that_hang_time_out_and_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster, a store and an archive that accept connections and never answer."""
    held = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append((reader, writer))
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
        "current-context": "c",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("CORTEX_STORE", f"valkey://127.0.0.1:{port}")
    monkeypatch.setenv("CORTEX_ARCHIVE", f"http://127.0.0.1:{port}/logs")
    findings = await doctor.examine(str(tmp_path / "config"), None, (), 1.0)
    for _, writer in held:
        writer.close()
    server.close()
    late = {f.part for f in findings if f.judged == "bad" and "no answer within 1 s" in f.text and f.todo}
    assert late == {"cluster", "store", "archive"}


@pytest.fixture
def valkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    with Server(tmp_path / "valkey", appendonly="yes", maxmemory="100mb") as server:
        yield server


def test_a_valkey_server_is_judged_by_its_settings(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = list(store.judge(valkey.url, "c"))
    assert not texts_of(findings, "bad") + texts_of(findings, "warn")
    assert "appendonly everysec" in texts_of(findings, "ok") and "of 105 MB of memory" in texts_of(findings, "ok")
    for settings, doubt in (
        (("maxmemory", "0"), "no memory limit"),
        (("maxmemory-policy", "volatile-lru"), "evicts heartbeats"),
        (("appendfsync", "no"), "half a minute"),
        (("appendonly", "no"), "loses everything since its last snapshot"),
    ):
        valkey.ask("CONFIG", "SET", *settings)
        assert doubt in texts_of(store.judge(valkey.url, "c"), "warn")
    valkey.ask("CONFIG", "SET", "maxmemory", valkey.client().info("memory")["used_memory"] + 100_000)
    assert "of its memory limit is used" in texts_of(store.judge(valkey.url, "c"), "warn")
    shared = open_store(valkey.url)
    try:
        shared.set_budget(Budget(max_age_s=60))
        hand = Hand(shared)
        shared.commit(hand.lease, Commit(update={"message": STOPPED}))
    finally:
        shared.close()
    findings = list(store.judge(valkey.url, "c"))
    assert "and 1 min after a task's end" in texts_of(findings, "told"), "an age is no number of days with decimals"
    (full,) = (finding for finding in findings if STOPPED in finding.text)
    assert "`maxmemory`" in full.todo and "disk" not in full.todo
    assert "0 of 2 replicas are connected" in texts_of(store.judge(f"{valkey.url}/0?replicas=2", "c"), "bad")
    valkey.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert "noeviction" in texts_of(store.judge(valkey.url, "c"), "bad")
    valkey.ask("CONFIG", "SET", "requirepass", "hush")
    assert "CORTEX_STORE_PASSWORD" in texts_of(store.judge(valkey.url, "c"), "bad")
    monkeypatch.setattr("cortex_jupyter.store.valkey.link._TIMEOUT_S", 1.0)
    valkey.kill()
    assert "does not answer" in texts_of(store.judge(valkey.url, "c"), "bad")


@contextlib.contextmanager
def beating(kept: Store, *recorders: RecorderInfo) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.05):
            for one in recorders:
                kept.beat(one)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_recorders_are_listed_with_age_version_and_tasks(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite"
    with contextlib.closing(open_store(url)) as kept:
        one, left = (kept.open("c", TaskRef("ml", "job", name), name) for name in ("a", "b"))
        for id_ in (one, left):
            kept.want(id_, 60)
        old = RecorderInfo("old", "c", "elsewhere", 1, 0, "0.0.9", time.time() - 600)
        me = RecorderInfo("me", "c", HOST, os.getpid(), 0, __version__, time.time(), free_port())
        for recorder in (old, me):
            kept.beat(recorder)
        assert kept.lease(one, "old")
        findings = list(store.judge(url, "c"))
        assert "version 0.0.9, records 1 task, since 10 min" in texts_of(findings, "warn"), (
            "a recorder without a new heartbeat since the doctor started is not a warning"
        )
        assert "too old for this store; update it" in texts_of(findings, "warn")
        with beating(kept, old, me):
            findings = list(store.judge(url, "c"))
        assert "version 0.0.9, records 1 task, since 10 min; heartbeat" in texts_of(findings, "told")
        assert f"process {os.getpid()} on {HOST}, version {__version__}, records 0 tasks" in texts_of(findings, "ok")
        assert "although readers want them: ml:job/b" in texts_of(findings, "warn")
        assert f"{me.port}/metrics does not answer" in texts_of(findings, "warn")
        kept.leave("me")
        assert all(str(os.getpid()) not in f.text for f in store.judge(url, "c"))


def test_running_recordings_of_a_cluster_name_without_a_recorder_are_named(tmp_path: Path, valkey: Server) -> None:
    for url, judged in ((f"sqlite://{tmp_path}/store.sqlite", "told"), (valkey.url, "warn")):
        with contextlib.closing(open_store(url)) as kept:
            kept.beat(RecorderInfo("other", "served", HOST, os.getpid(), time.time(), __version__, time.time()))
            for cluster, name in (("c", "a"), ("served", "b"), ("former", "d"), ("former", "e")):
                kept.open(cluster, TaskRef("ml", "job", name), name)
            Hand(kept, TaskRef("ml", "job", "ended"), "ended", cluster="former").end()
            texts = texts_of(store.judge(url, "c"), judged)
            assert "2 recordings of cluster former, which no recorder serves" in texts
            assert "of cluster served" not in texts and "of cluster c," not in texts
            assert "2 recordings of cluster former" in texts_of(store.judge(url, None), judged)


def test_a_store_of_a_newer_version_is_bad(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite"
    assert "0 recordings" in texts_of(store.judge(url, None), "ok")
    with closing(sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("INSERT OR REPLACE INTO setting VALUES ('least', '99')")
    assert "update cortex-jupyter" in texts_of(store.judge(url, None), "bad")


def test_an_archive_that_cannot_be_written_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/archive/test_clouds.py` tests a bucket."""
    url = f"sqlite://{tmp_path}/store.sqlite"
    assert "no archive is set" in texts_of(archive.judge(url), "told")
    monkeypatch.setenv("CORTEX_ARCHIVE", str(tmp_path / "archive"))
    assert "writing, reading and deleting work" in texts_of(archive.judge(url), "ok")
    assert list((tmp_path / "archive").iterdir()) == []
    monkeypatch.setenv("CORTEX_ARCHIVE", "/proc/no/archive")
    assert "/proc/no/archive" in texts_of(archive.judge(url), "bad")
    monkeypatch.setenv("CORTEX_ARCHIVE", "ftp://host/x")
    assert "cannot be an archive" in texts_of(archive.judge(url), "bad")


def test_a_viewer_without_its_files_is_bad(tmp_path: Path) -> None:
    (tmp_path / "viewer.js").write_text("")
    finding = jupyter.bundle(tmp_path)
    assert finding.judged == "bad" and "files loader.js, viewer.js" in finding.text and finding.todo


async def test_other_kinds_and_reading_for_users_need_permissions(sandbox: SandboxProcess) -> None:
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        sandbox.fault("deny", verb="list", resource="deployments", namespace="default")
        sandbox.fault("deny", verb="create", resource="subjectaccessreviews")
        findings = await kubernetes.judge(cluster, ("default",))
        assert "you may not list deployments in namespace default -> ask for `list`" in texts_of(findings, "warn")
        assert not texts_of(findings, "bad")
        findings = await kubernetes.judge(cluster, ("default",), for_users=True)
    assert texts_of(findings, "bad").startswith("you may not create subjectaccessreviews -> ask for `create`")


async def test_custom_resources_and_kueue_need_permissions(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    for kind, plural in (("RayJob", "rayjobs"), ("RayCluster", "rayclusters")):
        define(kube, "ray.io", "v1", kind, plural)
    define(kube, "jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets")
    define(kube, "doctor.example.org", "v1", "Trial", "trials")
    define(kube, "kueue.x-k8s.io", "v1beta2", "Workload", "workloads")
    ray = Custom(kube, "ray.io/v1", "RayCluster", "rayclusters", unique("ray"))
    trial = Custom(kube, "doctor.example.org/v1", "Trial", "trials", unique("trial"))
    for resource in (ray, trial):
        create_pod(kube, f"{resource.name}-0", "print(1)", resource.reference)
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        findings = await kubernetes.judge(cluster, ("default",))
        assert "rayclusters.ray.io" in texts_of(findings, "ok") and not texts_of(findings, "warn")
        for verb, resource in (("watch", "rayjobs"), ("list", "trials"), ("list", "workloads"), ("get", "jobsets")):
            sandbox.fault("deny", verb=verb, resource=resource, namespace="default")
        findings = await kubernetes.judge(cluster, ("default",))
    warnings = texts_of(findings, "warn")
    for missing in ("watch rayjobs.ray.io", "list trials.doctor.example.org", "list workloads.kueue.x-k8s.io"):
        assert f"you may not {missing} in namespace default" in warnings
    assert "jobsets" not in warnings and "jobsets.jobset.x-k8s.io" in texts_of(findings, "told"), (
        "no pod is of a JobSet"
    )


async def test_servers_are_judged_by_jupyters_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's store works; the store and the archive of the servers do not."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "config"))
    monkeypatch.setenv("CORTEX_STORE", f"sqlite://{tmp_path}/sound.sqlite")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")  # opening a store with a password sets it
    (tmp_path / "config").mkdir()
    file = tmp_path / "config" / "jupyter_server_config.py"
    store_url = f"valkey://me:hush@127.0.0.1:{free_port()}"
    lines = [f"store_url = '{store_url}'", "archive_url = '/proc/no/archive'", f"kubeconfig = '{tmp_path}/theirs'"]
    file.write_text("print('hello')\n" + "\n".join(f"c.CortexJupyter.{line}" for line in lines))
    findings = await doctor.examine(None, None, (), 30.0)
    bad = texts_of(findings, "bad")
    assert "does not answer" in bad and "/proc/no/archive" in bad and f"{tmp_path}/theirs" in bad
    assert f"store_url, archive_url, kubeconfig from {file}" in texts_of(findings, "told")
    assert f"sqlite://{tmp_path}/sound.sqlite -> set CORTEX_STORE" in texts_of(findings, "warn")
    assert all("hush" not in one.text + one.todo for one in findings)
    file.write_text("c.CortexJupyter.access_for = 'user'\n1 / 0")
    assert "ZeroDivisionError" in texts_of(await doctor.examine(None, None, (), 30.0), "warn")


@pytest.mark.parametrize("command", ["tasks", "doctor"])
def test_without_home_directory_a_command_says_what_to_set(command: str) -> None:
    """As in a container with `runAsUser`: HOME is not set, and /etc/passwd does not know the UID."""
    code = f"""
import pwd, sys
def unknown(_):
    raise KeyError
pwd.getpwuid = unknown
from cortex_jupyter.cli import main
sys.exit(main([{command!r}]))
"""
    env = {
        k: v for k, v in os.environ.items() if k != "HOME" and not k.startswith(("KUBE", "CORTEX", "JUPYTER", "XDG"))
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "has no home directory" in done.stderr and "CORTEX_STORE" in done.stderr


@pytest.mark.parametrize(
    ("rows", "judged", "text"),
    [
        ('[{"name": "experiment.lab.example.org"}]', "told", "CORTEX_KINDS has rows for experiment.lab.example.org"),
        ('[{"name": "experiment.lab.example.org", "ends": 1}]', "bad", "`ends` must be true or false"),
        ("", "told", ""),
    ],
)
def test_rows_about_kinds_are_checked(monkeypatch: pytest.MonkeyPatch, rows: str, judged: str, text: str) -> None:
    monkeypatch.setenv("CORTEX_KINDS", rows)
    findings = [*settings_check.judge_kinds(), *settings_check.judge(settings_check.Settings())]
    texts = texts_of([finding for finding in findings if not finding.details], judged)
    assert text in texts and bool(texts) == bool(text)
