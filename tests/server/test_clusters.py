"""Several clusters of one server with one store: who may read in one reads nothing of another, whatever its tasks are called."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from server.fake_recorder import T0, FakeRecorder
from server.running import _TLS
from server.test_access import ALICE, BOB, WAYS
from support.clusters import Clusters, run_clusters
from support.kube import python_job

from cortex_jupyter.cluster.access import Access
from cortex_jupyter.errors import BadQuery, NoCluster
from cortex_jupyter.reader.session import Session
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.clusters import check_clusters, split_reference
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import NewSandbox, SandboxProcess
    from support.kube import Kube

_SAME = "same-in-both"
_FOREVER = "import time\nprint('line of {}', flush=True)\ntime.sleep(600)"


@pytest.fixture(scope="module")
def clusters(
    sandbox_process: SandboxProcess, new_sandbox: NewSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clusters]:
    with run_clusters(tmp_path_factory.mktemp("clusters"), sandbox_process, new_sandbox) as running:
        yield running


@pytest.fixture(scope="module")
def same(clusters: Clusters) -> Iterator[str]:
    """A task of the same name in the same namespace of both clusters, which has ended and is recorded."""
    for name, sandbox in (("one", clusters.one), ("two", clusters.two)):
        sandbox.kube.create(python_job(_SAME, f"print('line of {name} loss=1')"))
        sandbox.kube.wait_job(_SAME, "Complete")
    for name in ("one", "two"):
        assert f"line of {name}" in clusters.get(name, f"cortex/tasks/default/job/{_SAME}/logs").text
    yield _SAME
    clusters.one.kube.delete("jobs", _SAME)  # the other cluster ends with these tests


def ways() -> tuple[str, ...]:
    return tuple(way for way in WAYS if "parquet" not in way)


@pytest.mark.parametrize("way", ways())
def test_each_address_of_a_cluster_has_that_clusters_lines_only(clusters: Clusters, same: str, way: str) -> None:
    texts = {name: clusters.get(name, way.format(same).replace("grep=x", "grep=line")) for name in ("one", "two")}
    for name, other in (("one", "two"), ("two", "one")):
        assert texts[name].status_code == 200, texts[name].text
        assert f"line of {other}" not in texts[name].text
        if "logs" in way or "stream" in way or "search" in way:
            assert f"line of {name}" in texts[name].text


@pytest.mark.parametrize("way", WAYS)
def test_a_right_in_one_cluster_opens_nothing_in_the_other(clusters: Clusters, same: str, way: str) -> None:
    clusters.one.fault("deny", verb="get", resource="pods/log", user="bob")
    try:
        refused, allowed = (clusters.get(name, way.format(same), BOB) for name in ("one", "two"))
    finally:
        clusters.one.clear()
    assert refused.status_code == 403 and "line of" not in refused.text, refused.text
    assert allowed.status_code == 200, allowed.text


def test_what_only_a_recording_still_has_stays_in_its_cluster(clusters: Clusters, unique: Callable[[str], str]) -> None:
    name, kube = unique("only"), clusters.two.kube
    kube.create(python_job(name, "print('line of two')"))
    kube.wait_job(name, "Complete")
    path = f"cortex/tasks/default/job/{name}"
    assert clusters.get("one", f"{path}/logs").status_code == 404
    assert "line of two" in clusters.get("two", f"{path}/logs").text
    kube.delete("jobs", name)
    kube.wait_for(lambda: kube.request("GET", kube.path("jobs", name)).status_code == 404, "the Job to go")
    assert "line of two" in clusters.get("two", f"{path}/logs").text
    for end in ("", "/logs", "/logs.txt", "/logs.ndjson", "/outline", "/search?grep=line", "/metrics"):
        answer = clusters.get("one", path + end)
        assert answer.status_code == 404 and "line of two" not in answer.text
    for address in ("cortex/tasks", "cortex/view", "cortex/search?namespace=default&grep=line"):
        assert name not in clusters.get("one", address).text
        assert name in clusters.get("two", address).text
    for cluster in ("away", "none"):  # nobody can be asked there
        answer = clusters.get(cluster, f"{path}/logs")
        assert answer.status_code in (502, 504) and "line of" not in answer.text
    assert clusters.names == {"one", "two"}, "a recording has another cluster's name"


def test_a_cursor_leads_into_no_other_cluster(clusters: Clusters, same: str) -> None:
    path = f"cortex/tasks/default/job/{same}/logs"
    stream = {"Accept": "text/event-stream"}
    ids = [line for line in clusters.get("two", path, ALICE | stream).text.splitlines() if line.startswith("id: ")]
    cursor = ids[-1].removeprefix("id: ")
    assert clusters.get("two", path, ALICE | stream | {"Last-Event-ID": cursor}).status_code == 200
    answers = [
        clusters.get("one", path, ALICE | stream | {"Last-Event-ID": cursor}),
        clusters.get("one", f"{path}?after={cursor}"),
        clusters.get("one", f"{path}?before={cursor}"),
        clusters.get("one", f"cortex/stream?task=default:job/{same}&cursor={cursor}"),
    ]
    for answer in answers:
        assert answer.status_code in (400, 410), answer.text
        assert "line of two" not in answer.text


def test_namespaces_are_those_of_each_cluster(clusters: Clusters, same: str, unique: Callable[[str], str]) -> None:
    space = unique("space")
    clusters.two.kube.create({"kind": "Namespace", "metadata": {"name": space}})
    clusters.two.kube.create(python_job("there", "print('line of two')", namespace=space))
    clusters.two.kube.wait_job("there", "Complete", space)
    assert "line of two" in clusters.get("two", f"cortex/tasks/{space}/job/there/logs").text
    assert space not in clusters.get("one", "cortex/namespaces").json()["namespaces"]
    answer = clusters.server.get("cortex/namespaces", ALICE).json()["clusters"]
    assert space in answer["two"]["namespaces"] and space not in answer["one"]["namespaces"]
    assert answer["one"]["default"] == "default"
    assert (
        answer["away"]["problem"]["code"] == "ClusterUnreachable" and answer["none"]["problem"]["code"] == "NoCluster"
    )


def test_the_list_of_all_clusters_names_each_and_hides_none(clusters: Clusters, same: str) -> None:
    answer = clusters.server.get("cortex/tasks?namespace=default", ALICE).json()
    found = {row["task"]: row["cluster"] for row in answer["tasks"]}
    assert (found[f"one/default:job/{same}"], found[f"two/default:job/{same}"]) == ("one", "two")
    problems = {name: each.get("problem", {}).get("code") for name, each in answer["clusters"].items()}
    assert problems == {"one": None, "two": None, "away": "ClusterUnreachable", "none": "NoCluster"}
    clusters.one.fault("deny", verb="get", resource="pods/log", user="bob")
    try:
        answer = clusters.server.get("cortex/tasks?namespace=default", BOB).json()
    finally:
        clusters.one.clear()
    assert {row["cluster"] for row in answer["tasks"]} == {"two"}
    assert answer["clusters"]["one"]["problem"]["code"] == "NotAllowed"
    assert clusters.server.get("cortex/tasks?max_age=x", ALICE).status_code == 400


def test_the_page_leads_to_each_cluster_and_to_the_viewer_of_a_reference(clusters: Clusters, same: str) -> None:
    page = clusters.server.get("cortex/view", ALICE)
    for name in ("one", "two", "away", "none"):
        assert f'<a href="clusters/{name}/view">{name}</a>' in page.text
    assert page.text.count('role="alert"') == 2
    answer = clusters.server.get(f"cortex/view?task=two/default:job/{same}&since=all&token=x", ALICE)
    assert answer.status_code == 302
    assert answer.headers["location"] == f"clusters/two/view?task=default%3Ajob%2F{same}&since=all"
    viewer = clusters.get("two", f"cortex/view?task=default:job/{same}")
    assert f"<title>{same} · two</title>" in viewer.text and '"cortexPath":"cortex/clusters/two/"' in viewer.text
    for query, reason in (
        (f"task=default:job/{same}", "names no cluster of this server"),
        (f"task=three/default:job/{same}", "names no cluster of this server"),
        (f"task=one/default:job/{same}&task=two/default:job/{same}", "of several clusters"),
    ):
        refused = clusters.server.get(f"cortex/view?{query}", ALICE)
        assert refused.status_code == 400 and reason in refused.text


@pytest.mark.parametrize("way", [w for w in WAYS if not w.startswith(("cortex/tasks?", "cortex/view"))])
def test_an_address_without_a_cluster_has_no_lines(clusters: Clusters, same: str, way: str) -> None:
    answer = clusters.server.get(way.format(same), ALICE)
    assert answer.status_code == 404 and "line of" not in answer.text
    assert clusters.get("three", way.format(same)).status_code == 404


def test_a_withdrawn_right_ends_the_streams_of_its_cluster_only(
    clusters: Clusters, unique: Callable[[str], str]
) -> None:
    name, lines = unique("live"), {"one": list[str](), "two": list[str]()}
    for cluster, sandbox in (("one", clusters.one), ("two", clusters.two)):
        sandbox.kube.create(python_job(name, _FOREVER.format(cluster)))

    def follow(cluster: str) -> None:
        url = f"{clusters.server.url}cortex/clusters/{cluster}/stream?task=default:job/{name}"
        with httpx.stream("GET", url, headers=BOB, timeout=60, verify=_TLS) as answer:
            lines[cluster].extend(answer.iter_lines())

    readers = [threading.Thread(target=follow, args=(cluster,), daemon=True) for cluster in lines]
    for reader in readers:
        reader.start()

    def started(kube: Kube) -> Any:
        return kube.wait_for(lambda: kube.pods_of(name), "a pod")

    for cluster, sandbox in (("one", clusters.one), ("two", clusters.two)):
        started(sandbox.kube)
        end = time.monotonic() + 60
        while f"line of {cluster}" not in clusters.get(cluster, f"cortex/tasks/default/job/{name}/logs", BOB).text:
            assert time.monotonic() < end
            time.sleep(0.05)
    clusters.one.fault("deny", verb="get", resource="pods/log", user="bob")
    try:
        readers[0].join(60)
        assert not readers[0].is_alive(), "the stream goes on without the right"
        assert readers[1].is_alive(), "a right that is withdrawn in one cluster ends a stream of another"
    finally:
        clusters.one.clear()
        for sandbox in (clusters.one, clusters.two):
            sandbox.kube.delete("jobs", name)
    assert '"code":"NotAllowed"' in "".join(lines["one"]) and "line of two" not in "".join(lines["one"])
    readers[1].join(60)
    assert "line of two" in "".join(lines["two"]) and "line of one" not in "".join(lines["two"])


def test_the_audit_log_names_the_cluster(clusters: Clusters, same: str) -> None:
    clusters.get("two", f"cortex/tasks/default/job/{same}/logs", {"X-User": "carol"})
    clusters.get("three", f"cortex/tasks/default/job/{same}/logs", {"X-User": "carol"})
    records = [json.loads(line) for line in (clusters.server.home / "audit.log").read_text().splitlines()]
    [started, ended] = [record for record in records if record["user"] == "carol"]
    assert started["task"] == ended["task"] == f"two/default:job/{same}"
    assert started["way"] == "GET /cortex/clusters/{cluster}/tasks/{namespace}/{kind}/{name}/logs"


async def test_a_session_that_has_lost_its_cluster_reads_nothing_of_another(tmp_path: Path) -> None:
    """A kubeconfig may vanish between a check of rights and the look into the store."""
    store = open_store(f"sqlite://{tmp_path}/store.sqlite")
    recorder = FakeRecorder(store, "x", "ml", cluster="two")
    try:
        recorder.write([(T0, recorder.source(), "line of two")])
        for access in (Access(), None):
            one, two = (Session(store, None, access=access, name=name) for name in ("one", "two"))
            assert (await one.where(recorder.ref))[1] is None
            found = (await two.where(recorder.ref))[1]
            assert found is not None and found.id == recorder.id
            assert not await one.readable(found) and await two.readable(found)
            assert "ml" not in (await one.namespaces() or ()) and "ml" in (await two.namespaces() or ())
        with pytest.raises(NoCluster):
            await Session(store, None, access=Access(), name="one").allow("ml")
    finally:
        recorder.close()
        store.close()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"clusters": {"Prod": {}}}, "'Prod' is no name of a cluster"),
        ({"clusters": {"a/b": {}}}, "'a/b' is no name of a cluster"),
        ({"clusters": {"..": {}}}, "'..' is no name of a cluster"),
        ({"clusters": {"one": {"server": "x"}}}, "one has 'server'"),
        ({"clusters": {"one": {}}, "context": "x"}, "CortexJupyter.context is set beside clusters"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadQuery, match=reason):
        check_clusters(CortexJupyter(**settings))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prod-1/ml:job/x", ("prod-1", "ml:job/x")),
        ("prod-1/ml:-l a.b/c=d", ("prod-1", "ml:-l a.b/c=d")),
        ("ml:deployment/api", ("", "ml:deployment/api")),
        ("job/x", ("", "job/x")),
        ("-l a.b/c=d", ("", "-l a.b/c=d")),
    ],
)
def test_a_reference_names_a_cluster_before_its_namespace_only(text: str, expected: tuple[str, str]) -> None:
    assert split_reference(text) == expected
