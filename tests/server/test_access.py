"""Access to shared recordings: Kubernetes' permissions of the user count, at every address."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pyarrow.parquet as pq
import pytest
from archive.made import archived
from server.fake_recorder import T0, FakeRecorder
from server.people import HubUser
from server.running import _TLS, Server, logs, run_server
from support.jupyter import Home
from support.kube import Kube, python_job, python_pod
from support.operators import Custom, define

from cortex_jupyter.archive.layout import NOTICES, unpack_notices
from cortex_jupyter.cluster.access import Person
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.session import Recording, Session
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.download import parquet
from cortex_jupyter.server.service import Service
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess

_PEOPLE = ("--ServerApp.identity_provider_class=server.people.People", "--CortexJupyter.access_for=user")
#: A program whose lines have metrics and hardly compress, so each answer needs several writes.
_MUCH = """import os
for i in range(6000):
    numbers = ' '.join(f'{key}={i * 7919 % (970 + n)}' for n, key in enumerate(('lr', *'abcdef')))
    print(f'step={i} loss={i * 7919 % 1000 / 7} {numbers} {os.urandom(60).hex()}')"""
_FOREVER = "import time\nprint('first', flush=True)\ntime.sleep(600)"
ALICE, BOB = {"X-User": "alice"}, {"X-User": "bob"}
#: Every address with a task's lines or state.
WAYS = (
    "cortex/tasks/default/job/{}",
    *(f"cortex/tasks/default/job/{{}}/{end}" for end in ("logs", "logs.txt", "logs.ndjson", "logs.parquet")),
    *(f"cortex/tasks/default/job/{{}}/{end}" for end in ("outline", "search?grep=x", "metrics")),
    "cortex/tasks/default/-/{}/logs?follow=true",
    "cortex/stream?task=default:job/{}",
    "cortex/view?task=default:job/{}",
    "cortex/tasks?namespace=default",
    "cortex/view?namespace=default",
    "cortex/search?namespace=default&grep=x",
    "cortex/search?task=default:job/{}&grep=x",
)


@pytest.fixture(scope="module")
def service(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for several users."""
    home = Home(tmp_path_factory.mktemp("service"), sandbox_process.kubeconfig)
    with run_server(
        home.path,
        *_PEOPLE,
        "--CortexJupyter.heartbeat_s=0.2",
        kubeconfig=home.kubeconfig,
        PYTHONPATH=f"{Path(__file__).parents[1]}:{home.env.get('PYTHONPATH', '')}",
        CORTEX_AUDIT_LOG=str(home.path / "audit.log"),
    ) as server:
        yield server
    home.end()


def audited(server: Server, user: str, event: str) -> list[dict[str, object]]:
    """Return a user's records of an event in the audit log, as soon as there are any."""
    end = time.monotonic() + 60
    while True:
        records = map(json.loads, (server.home / "audit.log").read_text().splitlines())
        found = [record for record in records if (record["user"], record["event"]) == (user, event)]
        if found:
            return found
        assert time.monotonic() < end, f"no record of {event} for {user}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def task(sandbox_process: SandboxProcess, service: Server) -> str:
    """A task that has ended, is recorded, and was deleted from the cluster."""
    kube = Kube(sandbox_process.kubeconfig)
    kube.create(python_job("access", "print('a secret line')"))
    kube.wait_job("access", "Complete")
    assert "a secret line" in service.get(logs("access"), ALICE).text
    kube.delete("jobs", "access")
    kube.wait_for(lambda: kube.request("GET", kube.path("jobs", "access")).status_code == 404, "the Job to go")
    kube.close()
    return "access"


@pytest.mark.parametrize("way", WAYS)
def test_every_address_refuses_unreadable_and_missing_tasks_alike(
    service: Server, sandbox: SandboxProcess, task: str, way: str
) -> None:
    sandbox.fault("deny", verb="get", resource="pods/log", namespace="default", user="bob")
    assert service.get(way.format(task), ALICE).status_code == 200
    answers = [service.get(way.format(name), BOB) for name in (task, "never-was")]
    for answer in answers:
        assert answer.status_code == 403
        assert "bob" in answer.text and "may not read logs in namespace" in answer.text.replace("&#x27;", "'")
        assert "secret" not in answer.text
    assert answers[0].text == answers[1].text
    if not way.startswith("cortex/tasks?"):  # a list of tasks holds no lines
        assert audited(service, "alice", "ended")
        refused = audited(service, "bob", "refused")[-1]
        assert (refused["outcome"], refused["status"]) == ("NotAllowed", 403)
        assert str(refused["task"]).startswith("default:")


def test_the_namespaces_of_a_user_are_those_whose_logs_they_may_read(
    service: Server, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    """A right in all namespaces shows all, a right in one that one, and where they cannot be listed none is guessed."""
    spaces = [unique("space"), unique("space")]
    for space in spaces:
        kube.create({"kind": "Namespace", "metadata": {"name": space}})

    def names(headers: dict[str, str]) -> list[str] | None:
        answer = service.get("cortex/namespaces", headers).json()
        assert answer["default"] == "default"
        listed: list[str] | None = answer["namespaces"]
        return listed

    eve = {"X-User": unique("eve")}
    for space in ("", spaces[1]):
        sandbox.fault("deny", verb="get", resource="pods/log", namespace=space, user=eve["X-User"])
    assert {"default", *spaces} <= set(names(ALICE) or ())
    assert spaces[0] in (mine := names(eve) or []) and spaces[1] not in mine
    sandbox.fault("deny", verb="list", resource="namespaces")
    assert names(ALICE) is None
    for space in spaces:
        kube.delete("namespaces", space)


async def test_events_and_pods_need_their_own_permissions(
    service: Server, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    """A user who may read the log sees it, and which permissions would show the rest."""
    name, who = unique("beside"), {"X-User": unique("eve")}
    spec = python_job(name, "print('a line', flush=True); import time; time.sleep(600)")
    kube.create(spec)
    path, sse = f"cortex/tasks/default/job/{name}", {"Accept": "text/event-stream"}

    def read(headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Return everything that a viewer requests, up to the line."""
        parts = []
        with httpx.stream(
            "GET", f"{service.url}{path}/logs?since=all", headers=headers | sse, timeout=60, verify=_TLS
        ) as stream:
            for part in stream.iter_text():
                parts.append(part)
                if "a line" in "".join(parts) and ": hb" in part:
                    break
        text = "".join(parts)
        [hidden] = [
            json.loads(x[6:])["hidden"] for x in text.splitlines() if x.startswith("data: ") and '"hidden"' in x
        ]
        answers = [service.get(f"{path}/{end}", headers).text for end in ("outline", "logs?follow=false&since=all")]
        return "".join([text, *answers]), hidden

    kube.wait_for(lambda: '"notice":"event"' in read(ALICE)[0], "an event in the recording")
    described = service.get(path, ALICE).json()
    assert described["events"] and described["pods"][0]["node"] and described["hidden"] == {}
    state = {name: described[name] for name in ("state", "status", "message", "reason")}
    assert state["state"] == "running"
    assert b'"notice":"event"' in _notices(service.get(f"{path}/logs.parquet", ALICE).content)
    sandbox.fault("deny", verb="list", resource="events", namespace="default", user=who["X-User"])
    sandbox.fault("deny", verb="get", resource="pods", namespace="default", user=who["X-User"])
    described = service.get(path, who).json()
    assert (described["events"], described["pods"]) == ([], [])
    assert {name: described[name] for name in state} == state, "the state differs from that in the list of tasks"
    assert described["hidden"] == {
        "events": "events are not shown: the right `list events` is missing",
        "pods": "pods are not shown: the right `get pods` is missing",
    }
    text, hidden = read(who)
    assert text.count("a line") >= 2 and '"notice":"event"' not in text
    assert hidden == described["hidden"]
    notices = _notices(service.get(f"{path}/logs.parquet", who).content)
    assert b'"notice":"started"' in notices and b'"notice":"event"' not in notices
    kube.delete("jobs", name)


async def test_an_open_stream_shows_no_events_after_the_permission_is_revoked(
    service: Server, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    name, who = unique("taken"), {"X-User": unique("fay")}
    kube.create(python_job(name, _FOREVER))
    hidden: list[dict[str, str]] = []
    async with asyncio.timeout(60), service.stream(logs(name), who | {"Accept": "text/event-stream"}) as source:
        async for event in source.aiter_sse():
            if event.event != "status" or "hidden" not in (doc := json.loads(event.data)):
                continue
            hidden.append(doc["hidden"])
            if len(hidden) == 2:
                break
            sandbox.fault("deny", verb="list", resource="events", namespace="default", user=who["X-User"])
    assert hidden == [{}, {"events": "events are not shown: the right `list events` is missing"}]
    kube.delete("jobs", name)


def _notices(file: bytes) -> bytes:
    """Return the notices in the metadata of a Parquet file."""
    return b"".join(entry.data for entry in unpack_notices(pq.read_metadata(io.BytesIO(file)).metadata[NOTICES]))


async def test_an_archived_file_is_sent_without_events_to_users_who_may_not_see_them(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'recordings.sqlite'}")
    fake_recorder = FakeRecorder(store, "kept")
    fake_recorder.write([(T0, fake_recorder.source(), "a line")])
    fake_recorder.note("status", "Scheduled", notice="event")
    fake_recorder.end()
    fake_recorder.close()
    archive, _ = archived(fake_recorder, str(tmp_path / "archive"))  # type: ignore[arg-type]
    recording = Recording(
        Session(store, None, archive=archive), fake_recorder.id, fake_recorder.ref, None, store=archive
    )
    query = LogQuery.parse({"since": "all"})

    def read() -> bytes:
        return _notices(parquet(recording, query, tmp_path / "logs.parquet", threading.Event(), 1 << 30).read_bytes())

    assert b'"notice":"event"' in read()
    recording.hidden = {"events": "the right is missing"}
    assert b'"notice":"event"' not in read()
    store.close()


def test_an_access_review_is_cached_for_seconds_for_all_requests(
    service: Server, sandbox: SandboxProcess, task: str, unique: Callable[[str], str]
) -> None:
    who = unique("dora")
    denied = sandbox.fault("deny", resource="pods/log", namespace="default", user=who)
    begun = time.monotonic()
    for way in WAYS:
        assert service.get(way.format(task), {"X-User": who}).status_code == 403
    asked = sum(fault["hits"] for fault in sandbox.faults() if fault["id"] == denied["id"])
    # One review for all requests, and one more for each ten seconds that they took.
    assert 1 <= asked <= 1 + (time.monotonic() - begun) // 10


def test_access_reviews_contain_the_groups_of_the_user(
    service: Server, sandbox: SandboxProcess, task: str, unique: Callable[[str], str]
) -> None:
    ann, bea = unique("ann"), unique("bea")
    denied = sandbox.fault("deny", resource="pods/log", group="vision")
    assert service.get(logs(task), {"X-User": f"{ann};audio;vision"}).status_code == 403
    assert service.get(logs(task), {"X-User": f"{bea};audio"}).status_code == 200
    kube = sandbox.kube
    kube.request("DELETE", f"/sandbox/faults/{denied['id']}")
    sandbox.fault("deny", resource="pods/log", group="system:authenticated")
    assert service.get(logs(task), {"X-User": unique("cleo")}).status_code == 403


async def test_a_revoked_permission_ends_an_open_stream(
    service: Server, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("taken")
    kube.create(python_job(name, _FOREVER))
    async with asyncio.timeout(120), service.stream(logs(name), ALICE, follow="true") as source:
        events = source.aiter_sse()
        async for event in events:
            if event.event == "log":
                break
        sandbox.fault("deny", resource="pods/log", user="alice")
        rest = [event async for event in events]
    assert rest[-1].event == "error" and json.loads(rest[-1].data)["code"] == "NotAllowed"


async def test_a_revoked_permission_ends_downloads_searches_and_charts(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    """Each answer would last for ten minutes, because the speed limit delays it."""
    name, home = unique("long"), Home(tmp_path, sandbox.kubeconfig)
    kube.create(python_job(name, _MUCH))
    kube.wait_job(name, "Complete")
    options = ("--CortexJupyter.heartbeat_s=0.2", "--CortexJupyter.max_bytes_per_s=10")
    path = f"{Path(__file__).parents[1]}:{home.env.get('PYTHONPATH', '')}"
    try:
        with run_server(home.path, *_PEOPLE, *options, kubeconfig=home.kubeconfig, PYTHONPATH=path) as server:
            assert server.get(logs(name), ALICE, limit=1).json()["complete"]["records"] == 6000
            begun: list[str] = []

            async def read(end: str) -> str:
                async with (
                    httpx.AsyncClient(timeout=60, verify=_TLS, headers=server.headers | ALICE) as client,
                    client.stream("GET", server.url + (logs(name, end) if "/" not in end else end)) as answer,
                ):
                    assert answer.status_code == 200
                    got = b""
                    try:
                        async for piece in answer.aiter_raw():
                            if not got:
                                begun.append(end)
                            got += piece
                    except httpx.RemoteProtocolError:  # an incomplete file must not look complete
                        return "cut off"
                    return got.decode()

            across = "cortex/search?grep=loss&lines=6000"
            ways = ("logs.ndjson", "logs.txt", "logs.parquet", "search?grep=loss", "metrics", across)
            async with asyncio.timeout(120), asyncio.TaskGroup() as group:
                reading = [group.create_task(read(way)) for way in ways]
                while len(begun) < len(ways):  # noqa: ASYNC110 - they are elsewhere
                    await asyncio.sleep(0.05)
                sandbox.fault("deny", resource="pods/log", user="alice")
            files, events = [one.result() for one in reading[:3]], [one.result() for one in reading[3:]]
            assert files == ["cut off"] * 3
            for text in events:
                last = text.strip().rpartition("event: ")[2]
                assert last.startswith("error") and '"NotAllowed"' in last and "event: done" not in text
            assert server.refused("NotAllowed", ALICE) == len(ways)
    finally:
        home.end()


@pytest.mark.parametrize("name", ["system:admin", "system:serviceaccount:kube-system:x"])
def test_user_names_reserved_by_kubernetes_are_refused(service: Server, task: str, name: str) -> None:
    status, error = service.error(logs(task), {"X-User": name})
    assert (status, error["code"]) == (403, "NotAllowed") and "access_prefix" in error["hint"]


def test_groups_of_the_hub_are_passed_on_except_reserved_ones() -> None:
    app = CortexJupyter(access_for="user", access_prefix="oidc:")
    user = HubUser("dave", hub_user={"name": "dave", "groups": ["vision", "system:masters"]})
    groups = ("oidc:vision", "oidc:system:masters", "system:authenticated")
    assert Service(app).person(user) == Person("oidc:dave", groups)
    app.access_prefix = ""
    assert Service(app).person(user) == Person("dave", ("vision", "system:authenticated"))
    app.access_for = "server"
    assert Service(app).person(user) is None


def test_anonymous_requests_are_refused(service: Server, task: str) -> None:
    for way in WAYS:
        answer = httpx.get(service.url + way.format(task))
        assert answer.status_code in (302, 403), way
        assert "secret" not in answer.text


def test_the_owner_of_a_recreated_namespace_cannot_read_old_recordings(
    service: Server, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    space, name = unique("again"), unique("old")
    kube.create({"kind": "Namespace", "metadata": {"name": space}})
    kube.create(python_job(name, "print('a secret line')", namespace=space))
    kube.wait_job(name, "Complete", space)
    old, selector = logs(name, namespace=space), f"cortex/tasks/{space}/selector/job-name={name}/logs"
    assert "a secret line" in service.get(old, BOB).text
    assert "a secret line" in service.get(selector, BOB, since="all").text
    path, read = kube.path("namespaces", space), time.time_ns()

    def again() -> bool:
        """Create the namespace again. Its creation time has whole seconds, so it must be in a later second than the read."""
        kube.request("DELETE", path)
        kube.wait_for(lambda: kube.request("GET", path).status_code == 404, "the namespace to go")
        created: str = kube.create({"kind": "Namespace", "metadata": {"name": space}})["metadata"]["creationTimestamp"]
        return parse_rfc3339(created) > read

    kube.wait_for(again, "a later second")
    # Bob may read in the new namespace, Alice in all.
    sandbox.fault("deny", verb="get", resource="pods/log", namespace="", user="bob")
    kube.wait_for(lambda: service.get(old, BOB).status_code == 404, "the cached answer to expire")
    ways = [way.replace("/default/", f"/{space}/").replace("=default", f"={space}") for way in WAYS]
    for way in ways:
        found = [service.get(way.format(one), BOB) for one in (name, "never-was")]
        assert "secret" not in found[0].text and not ("?namespace=" in way and name in found[0].text), way
        assert found[0].status_code == found[1].status_code
        assert found[0].text.replace(name, "never-was") == found[1].text, way
    assert "a secret line" in service.get(old, ALICE).text
    listed = [
        {t["name"] for t in service.get(f"cortex/tasks?namespace={space}", who).json()["tasks"]} for who in (ALICE, BOB)
    ]
    assert listed == [{name, f"job-name={name}"}, set()]
    assert "secret" not in service.get(selector, BOB, since="all").text
    # Users of the new namespace may read its tasks, even those with names of old tasks.
    kube.create(python_job(name, "print('of the new one')", namespace=space))
    kube.wait_job(name, "Complete", space)
    assert "of the new one" in service.get(old, BOB).text
    text = service.get(selector, BOB, since="all").text
    assert "of the new one" in text and "secret" not in text
    kube.delete("jobs", name, space)
    kube.wait_for(lambda: kube.request("GET", kube.path("jobs", name, space)).status_code == 404, "the Job to go")
    assert "of the new one" in service.get(old, BOB).text
    kube.delete("namespaces", space)


def test_without_permission_to_get_a_namespace_its_name_decides(
    service: Server, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    space, name = unique("unread"), unique("old")
    kube.create({"kind": "Namespace", "metadata": {"name": space}})
    kube.create(python_job(name, "print('a line')", namespace=space))
    kube.wait_job(name, "Complete", space)
    sandbox.fault("deny", verb="get", resource="namespaces")
    assert "a line" in service.get(logs(name, namespace=space), BOB).text
    kube.delete("namespaces", space)
    kube.create({"kind": "Namespace", "metadata": {"name": space}})
    sandbox.fault("deny", verb="get", resource="pods/log", namespace="", user="bob")
    assert "a line" in service.get(logs(name, namespace=space), BOB).text
    kube.delete("namespaces", space)


@pytest.fixture
def each(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Server]:
    """A server that checks each task: Bob may read those whose names begin with `mine`."""
    home = Home(tmp_path, sandbox.kubeconfig)
    with run_server(
        home.path,
        *_PEOPLE,
        "--CortexJupyter.access_each=True",
        kubeconfig=home.kubeconfig,
        PYTHONPATH=f"{Path(__file__).parents[1]}:{home.env.get('PYTHONPATH', '')}",
    ) as server:
        yield server
    home.end()


def test_resource_names_give_access_to_single_tasks(sandbox: SandboxProcess, kube: Kube, each: Server) -> None:
    """RBAC's `resourceNames`: a user who may get one Job sees that Job."""
    for name in ("mine", "theirs"):
        kube.create(python_job(name, f"print('of {name}')"))
        kube.wait_job(name, "Complete")
    for name in ("", "theirs", "never-was"):
        sandbox.fault("deny", verb="get", resource="jobs", user="bob", name=name)
    assert "of mine" in each.get(logs("mine"), BOB).text
    refused = [each.error(logs(name), BOB) for name in ("theirs", "never-was")]
    assert [(s, e["code"]) for s, e in refused] == [(403, "NotAllowed")] * 2
    listed = {t["name"] for t in each.get("cortex/tasks", BOB).json()["tasks"]}
    everything = {t["name"] for t in each.get("cortex/tasks", ALICE).json()["tasks"]}
    assert "mine" in listed and "theirs" not in listed and {"mine", "theirs"} <= everything
    assert each.error("cortex/tasks/default/job/theirs", BOB)[0] == 403
    for name in ("mine", "theirs"):
        each.get(logs(name), ALICE)  # is recorded
    theirs, all_of_them = (each.get("cortex/search?search=of", who).text for who in (BOB, ALICE))
    assert "of mine" in theirs and "theirs" not in theirs and '"tasks":1,' in theirs
    assert "of mine" in all_of_them and "of theirs" in all_of_them and '"matches":2' in all_of_them
    for name in ("mine", "theirs"):
        kube.delete("jobs", name)


def test_a_custom_resource_that_may_not_be_read_hides_none_of_its_jobs(
    sandbox: SandboxProcess, kube: Kube, each: Server, unique: Callable[[str], str]
) -> None:
    name = unique("train")
    define(kube, "jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets")
    job_set = Custom(kube, "jobset.x-k8s.io/v1alpha2", "JobSet", "jobsets", name)
    job = python_job(f"{name}-worker-0", "print('of a worker')")
    job["metadata"]["ownerReferences"] = [job_set.reference]
    kube.create(job)
    kube.wait_job(f"{name}-worker-0", "Complete")
    sandbox.fault("deny", verb="get", resource="jobsets.jobset.x-k8s.io", user="bob")

    def listed(person: dict[str, str]) -> set[str]:
        tasks = each.get("cortex/tasks", person).json()["tasks"]
        return {task["task"].partition(":")[2] for task in tasks if name in task["name"]}

    assert listed(ALICE) == {f"jobset.jobset.x-k8s.io/{name}"}
    assert listed(BOB) == {f"job/{name}-worker-0"}
    assert each.error(logs(name, kind="jobset.jobset.x-k8s.io"), BOB)[0] == 403
    assert "of a worker" in each.get(logs(f"{name}-worker-0"), BOB, since="all").text
    kube.delete("jobs", f"{name}-worker-0")
    job_set.delete()


def test_tasks_without_permission_seem_missing_by_every_name(
    sandbox: SandboxProcess, kube: Kube, each: Server, unique: Callable[[str], str]
) -> None:
    """This holds for a bare name, for a suggestion, and for the start of a recording."""
    space, theirs, both, mine = (unique(one) for one in ("space", "theirs", "both", "mine"))
    never = {theirs: unique("theirs"), both: unique("both")}
    kube.create({"kind": "Namespace", "metadata": {"name": space}})
    pod = python_pod(both, "print('of a pod')", namespace=space)
    kube.create(pod)
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": both}}}
    template = {"metadata": {"labels": {"app": both}}, "spec": pod["spec"] | {"restartPolicy": "Always"}}
    meta = {"name": both, "namespace": space}
    kube.create({"kind": "Deployment", "metadata": meta, "spec": spec | {"template": template}})
    for name in (theirs, mine):
        kube.create(python_job(name, f"print('of {name}')", namespace=space))
        kube.wait_job(name, "Complete", space)
    for name in ("", theirs, mine + "x", *never.values()):
        sandbox.fault("deny", verb="get", resource="jobs", user="bob", name=name)
    for resource in ("deployments", "statefulsets", "daemonsets", "replicasets", "cronjobs"):
        sandbox.fault("deny", verb="get", resource=resource, user="bob")
    ways = [way.replace("/default/", f"/{space}/").replace("=default:", f"={space}:") for way in WAYS if "{}" in way]
    bare = [way.replace("/job/", "/-/").replace(":job/", ":") for way in ways]

    def same(ways: list[str], *names: str) -> None:
        for way, name in itertools.product(ways, names):
            answers = [each.get(way.format(one), BOB) for one in (name, never[name])]
            assert answers[0].status_code == answers[1].status_code >= 400, way
            assert answers[0].text.replace(name, never[name]) == answers[1].text, way

    # Pods may be read. The Deployment of the same name neither prevents this nor is named.
    assert "of a pod" in each.get(logs(both, kind="-", namespace=space), BOB, since="all").text
    same(bare, theirs)
    # A name that resembles theirs is not corrected to it; one that resembles mine is.
    assert theirs not in each.get(logs(theirs + "x", kind="-", namespace=space), BOB).text.replace(theirs + "x", "")
    status, error = each.error(logs(mine + "x", kind="-", namespace=space), BOB)
    assert status == 404 and f"did you mean {mine!r}?" in error["hint"]
    sandbox.fault("deny", verb="get", resource="pods", user="bob")
    # Kubernetes is asked again when the cached answer has expired.
    kube.wait_for(
        lambda: each.get(logs(mine + "x", kind="-", namespace=space), BOB).status_code == 403, "the right to go"
    )
    same(bare, theirs, both)
    same(ways, theirs)
    store = open_store(each.store_url)
    assert {i.ref.kind for i in store.recordings(space)} == {"pod"}, "a user without permission has started a recording"
    store.close()
    status, error = each.error(logs(both, kind="-", namespace=space), ALICE)
    assert (status, error["code"]) == (400, "AmbiguousTask")
    assert f"did you mean {theirs!r}?" in each.error(logs(theirs + "x", namespace=space), ALICE)[1]["hint"]
    kube.delete("namespaces", space)


def test_a_users_own_recordings_need_no_access_review(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name = unique("own")
    kube.create(python_job(name, "print('a line')"))
    kube.wait_job(name, "Complete")
    home = Home(tmp_path, sandbox.kubeconfig)
    try:
        with run_server(home.path, kubeconfig=home.kubeconfig) as server:
            assert "a line" in server.get(logs(name)).text
            kube.delete("jobs", name)
            kube.wait_for(lambda: kube.request("GET", kube.path("jobs", name)).status_code == 404, "the Job to go")
            denied = sandbox.fault("deny", resource="pods/log")
            assert "a line" in server.get(logs(name)).text
            assert [f["hits"] for f in sandbox.faults() if f["id"] == denied["id"]] == [0]
    finally:
        home.end()
