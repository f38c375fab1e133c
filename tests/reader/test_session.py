"""Open a recording by name: with the cluster's answer, and without one."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.filled import Filled
from support.hand import CLUSTER, Hand

from cortex_jupyter.cluster import access
from cortex_jupyter.cluster.access import Access, Person
from cortex_jupyter.cluster.discovery import Discovery, Resource
from cortex_jupyter.cluster.workloads import Workload
from cortex_jupyter.errors import (
    AmbiguousTask,
    ArchiveError,
    ClusterUnreachable,
    CortexError,
    NotAllowed,
    NotFound,
    RecorderError,
    TaskNotFound,
)
from cortex_jupyter.model import TaskRef, rfc3339
from cortex_jupyter.reader import session as lib
from cortex_jupyter.reader import task_search
from cortex_jupyter.reader.session import Recording, Session
from cortex_jupyter.reader.task_search import SearchedTasks, parse_task_search, split_events, task_matches
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.store import Store


class Api:
    """The parts of a cluster that opening a recording needs."""

    id, namespace, kubeconfig, context, name = CLUSTER, "default", None, None, None

    async def json(self, path: str, *_: Any, **__: Any) -> Any:
        """Allow what is asked for: of a store that others share it is."""
        if "accessreview" not in path:
            raise NotFound(path)
        return {"status": {"allowed": True}}

    async def read_list(self, path: str, *_: Any, **__: Any) -> Any:
        """List nothing: the cluster has no task."""
        raise NotFound(path)


@pytest.fixture
def recordings(store: Store, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(lib, "ensure_recorder", lambda *_: None)
    cluster: Any = Api()
    return Session(store, cluster)


def answering(recordings: Session, answer: Workload | CortexError) -> None:
    async def resolve(_: TaskRef, person: object = None) -> Workload:
        if isinstance(answer, CortexError):
            raise answer
        return answer

    recordings.resolve = resolve  # type: ignore[method-assign]


NAME = TaskRef("default", "", "train-1")


@pytest.mark.parametrize("error", [TaskNotFound("gone"), ClusterUnreachable("away")])
async def test_a_recording_can_be_read_without_its_task(
    recordings: Session, store: Store, hand: Hand, error: CortexError
) -> None:
    answering(recordings, error)
    with pytest.raises(type(error)):
        await recordings.find(NAME)  # begun, but empty
    hand.lines([(1, 1, "a")])
    found = await recordings.find(NAME)
    assert (found.id, found.ref.kind, found.workload) == (hand.id, "job", None)
    # If the cluster says that the task is gone, a recorder ends the recording; otherwise no process can.
    assert found.is_gone == isinstance(error, TaskNotFound)
    assert [i.id for i in store.wanted(CLUSTER)] == [hand.id]
    if found.is_gone:
        waiting = asyncio.create_task(found.caught_up())
        hand.end()
        assert (await waiting).done
    else:
        assert (await found.caught_up()).last_seq == 1


async def test_the_name_of_a_deleted_job_means_the_custom_resource_of_that_name_that_ran_at_its_time(
    store: Store, recordings: Session
) -> None:
    """As when both exist: KubeRay gives the Job of the submitter the name of the RayJob."""
    hands: dict[str, Hand] = {}
    for uid, kind, started, finished in (
        ("r1", "rayjob.ray.io", "2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"),
        ("j1", "job", "2026-01-01T10:01:00Z", "2026-01-01T10:59:00Z"),
    ):
        hands[uid] = Hand(store, TaskRef("default", kind, "tune"), uid)
        hands[uid].lines([(1, 1, "a")])
        hands[uid].notice("end", 0, "", done=1, state="failed", started=started, finished=finished)
    answering(recordings, TaskNotFound("gone"))
    assert (await recordings.find(TaskRef("default", "", "tune"))).id == hands["r1"].id
    assert (await recordings.find(TaskRef("default", "job", "tune"))).id == hands["j1"].id
    plain = Hand(store, TaskRef("default", "job", "tune"), "j2")
    plain.lines([(1, 1, "a")])
    plain.notice("end", 0, "", done=1, state="failed", started="2026-01-02T10:00:00Z", finished="2026-01-02T11:00:00Z")
    assert (await recordings.find(TaskRef("default", "", "tune"))).id == plain.id


async def test_the_name_of_a_recorded_custom_resource_whose_job_is_gone_means_the_present_object(
    store: Store, recordings: Session
) -> None:
    ref = TaskRef("default", "rayjob.ray.io", "tune")
    hand = Hand(store, ref, "r1")
    hand.lines([(1, 1, "a")])
    workload = Workload(ref, "r1", {"metadata": {}, "status": {}})

    async def resolve(ref_of_user: TaskRef, person: object = None) -> Workload:
        if ref_of_user.kind:
            return workload
        raise TaskNotFound("there is no Job of that name")

    recordings.resolve = resolve  # type: ignore[method-assign]
    recording = await recordings.find(TaskRef("default", "", "tune"))
    assert (recording.id, recording.workload, recording.is_gone) == (hand.id, workload, False)


async def test_of_several_kinds_of_a_name_the_one_that_is_recorded_is_meant(
    store: Store, recordings: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [Resource(f"{group}.example.org", "v1", "Experiment", "experiments") for group in ("bio", "lab")]

    async def find_all(_: Discovery, word: str) -> list[Resource]:
        return [kind for kind in kinds if word in ("exp", kind.name)]

    monkeypatch.setattr(Discovery, "find_all", find_all)
    answering(recordings, TaskNotFound("gone"))
    bio = Hand(store, TaskRef("default", kinds[0].name, "sweep"), "e1")
    bio.lines([(1, 1, "a")])
    sweep = TaskRef("default", "exp", "sweep")
    assert (await recordings.find(sweep)).id == bio.id
    Hand(store, TaskRef("default", kinds[1].name, "sweep"), "e2").lines([(1, 1, "a")])
    with pytest.raises(AmbiguousTask, match=r"experiment.bio.example.org/sweep, experiment.lab.example.org/sweep"):
        await recordings.find(sweep)


@pytest.mark.parametrize("error", [NotAllowed("pods is forbidden"), AmbiguousTask("two kinds have it")])
async def test_a_task_that_the_cluster_refuses_cannot_be_read_from_its_recording(
    recordings: Session, hand: Hand, error: CortexError
) -> None:
    hand.lines([(1, 1, "a")])
    answering(recordings, error)
    with pytest.raises(type(error)):
        await recordings.find(NAME)


async def test_finding_a_task_in_the_cluster_writes_a_wish(recordings: Session, store: Store) -> None:
    answering(recordings, Workload(TaskRef("default", "job", "train-1"), "u9", {}))
    found = await recordings.find(NAME)
    assert [i.id for i in store.wanted(CLUSTER)] == [found.id]
    assert (await recordings.find(NAME)).id == found.id
    # A task that is created again under the same name has another recording.
    answering(recordings, Workload(TaskRef("default", "job", "train-1"), "u10", {}))
    assert (await recordings.find(NAME)).id != found.id
    assert recordings.feed(found.id) is recordings.feed(found.id)


async def test_an_archived_task_that_goes_on_has_a_further_recording(
    store: Store, recordings: Session, tmp_path: Path
) -> None:
    """Its first recording has left the store, and is in the archive only."""
    ref = TaskRef("default", "workflow.argoproj.io", "etl")
    recordings.archive = open_store(f"sqlite://{tmp_path}/archive.sqlite")
    archived = Hand(recordings.archive, ref, "w1")
    archived.lines([(1, 1, "a")])
    archived.notice("end", 0, "", done=1, state="failed")
    answering(recordings, Workload(ref, "w1", {"metadata": {}, "status": {"phase": "Failed"}}))
    recording = await recordings.find(ref)
    assert (recording.store, recording.id) == (recordings.archive, archived.id)
    answering(recordings, Workload(ref, "w1", {"metadata": {}, "status": {"phase": "Running"}}))
    recording = await recordings.find(ref)
    assert recording.store is store and recording.read_info().uid == "w1@@2"
    assert (await recordings.find(ref)).id == recording.id


async def test_rights_in_this_cluster_open_no_recording_of_another_one(store: Store) -> None:
    """Clusters that share a store may have namespaces and tasks of equal names."""
    created = 1_700_000_000

    class Allowing(Api):
        async def json(self, path: str, *_: Any, **__: Any) -> Any:
            if path == "/api/v1/namespaces/default":
                return {"metadata": {"creationTimestamp": rfc3339(created * 10**9)}}
            return await super().json(path)

    for cluster in (CLUSTER, "https://another"):
        hand = Hand(store, TaskRef("default", "job", "same"), f"uid in {cluster}", cluster=cluster)
        hand.lines([(created * 10**9 + 1, 1, "a")])
        hand.notice("end", 0, "", done=1, state="succeeded", started=rfc3339((created + 1) * 10**9))
    api: Any = Allowing()
    these = Session(store, api, access=Access())
    assert [info.cluster for info in await these.readable_recordings("default", Person("ann"))] == [CLUSTER]


@pytest.mark.parametrize("everywhere", [False, True])
async def test_recordings_older_than_the_namespace_need_the_right_to_read_all_namespaces(
    store: Store, recordings: Session, tmp_path: Path, *, everywhere: bool
) -> None:
    """This holds for the store and the archive, in the list and by name."""
    created = 1_700_000_000
    times = {"before": created - 3600, "since": created}
    archive = open_store(f"sqlite://{tmp_path}/archive.sqlite")
    for place, kind in ((store, "kept"), (archive, "archived")):
        for when, began in times.items():
            # The end was seen late: the start of the recording counts.
            hand = Hand(place, TaskRef("default", "job", f"{kind}-{when}"), f"{kind}-{when}")
            hand.lines([(created * 10**9 + 5, 1, "a")])
            hand.notice("end", 0, "", done=1, state="succeeded", started=rfc3339(began * 10**9))

    class Recreated(Api):
        async def json(self, path: str, *_: Any, body: Any = None, **__: Any) -> Any:
            if path == "/api/v1/namespaces/default":
                return {"metadata": {"creationTimestamp": rfc3339(created * 10**9)}}
            if "accessreview" not in path:
                raise NotFound(path)
            asked = body["spec"]["resourceAttributes"]
            return {"status": {"allowed": everywhere or asked.get("namespace") == "default"}}

    cluster: Any = Recreated()
    these = Session(store, cluster, archive=archive, access=Access())
    answering(these, TaskNotFound("gone"))
    names = {f"{kind}-{when}" for kind in ("kept", "archived") for when in times}
    seen = {name for name in names if everywhere or "since" in name}
    assert {info.ref.name for info in await these.readable_recordings("default")} == seen
    opened = set()
    for name in names:
        with contextlib.suppress(TaskNotFound):
            opened.add((await these.find(TaskRef("default", "", name))).ref.name)
    assert opened == seen
    archive.close()


async def test_reviews_for_lists_of_namespaces_are_few_at_a_time_and_hold(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that many users open must not flood the API server, and a cluster of thousands of namespaces is not asked."""
    now, running, most, asked = 1000.0, 0, 0, 0
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: now))  # a busy machine takes longer
    names = [f"ns-{i}" for i in range(300)]

    class Teams(Api):
        async def json(self, path: str, *_: Any, body: Any = None, **__: Any) -> Any:
            nonlocal running, most, asked
            running, asked = running + 1, asked + 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            spec = body["spec"]
            allowed = spec["user"] == "admin" or spec["resourceAttributes"].get("namespace") == "ns-7"
            return {"status": {"allowed": allowed}}

        async def read_list(self, path: str, *_: Any, **__: Any) -> Any:
            assert path == "/api/v1/namespaces"
            return [{"metadata": {"name": name}} for name in names], None

    cluster: Any = Teams()
    session = Session(store, cluster, access=Access())
    people = [Person(f"user-{i}") for i in range(5)]
    assert await asyncio.gather(*map(session.namespaces, people)) == [["ns-7"]] * 5
    assert asked == 5 * 301 and most <= 8 + 5  # each person is asked about all namespaces first
    now += access.HOLDS_S - 1
    assert await session.namespaces(people[0]) == ["ns-7"] and asked == 5 * 301
    now += 1
    assert await session.namespaces(people[0]) == ["ns-7"] and asked == 6 * 301
    names += [f"more-{i}" for i in range(1000)]
    asked = 0
    assert await session.namespaces(Person("other")) is None and asked == 1
    assert await session.namespaces(Person("admin")) == sorted(names) and asked == 2


async def test_hundreds_of_idle_tasks_cost_the_store_only_their_wishes(
    recordings: Session, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of an idle task asks for its state every second."""
    looks: list[int] = []
    infos: list[int] = []
    monkeypatch.setattr(lib, "ensure_recorder", lambda *_: looks.append(1))
    found = []
    for i in range(20):
        workload = Workload(TaskRef("default", "job", f"t{i}"), f"u{i}", {})
        found.append(Recording(recordings, store.open(CLUSTER, workload.ref, workload.uid), workload.ref, workload))
    real = store.info
    monkeypatch.setattr(store, "info", lambda id_: infos.append(id_) or real(id_))
    monkeypatch.setattr(lib, "_RECORDER_CHECK_S", 3600.0)
    for _ in range(5):
        await asyncio.gather(*(one.want() for one in found))
    assert len(infos) == 20 and len(looks) == 1 and len(store.wanted(CLUSTER)) == 20

    def fails(*_: object) -> None:
        raise RecorderError("it ended at once")

    monkeypatch.setattr(lib, "ensure_recorder", fails)
    recordings.keep_alive.recorder_seen_at.clear()
    for one in found:
        with pytest.raises(RecorderError):
            await one.want()


async def test_a_search_in_a_namespace_says_that_the_archive_cannot_be_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Filled(store, "held", "default").lines([(1, 0, "a hit")]).end()
    archive = open_store(f"sqlite://{tmp_path}/archive.sqlite")
    session = Session(store, None, archive=archive)

    async def events() -> list[tuple[str, dict[str, Any]]]:
        query, lines = parse_task_search({"search": "hit"})
        tasks = await SearchedTasks.of_namespace(session, "default")
        pieces = [piece async for piece in task_matches(tasks, query, lines)]
        return split_events(b"".join(pieces))[0]

    assert "archive_problem" not in (await events())[0][1]

    def fails(*_: Any) -> Any:
        raise ArchiveError("the archive does not answer")

    monkeypatch.setattr(archive, "recordings", fails)
    (_, tasks), *rest = await events()
    assert tasks["archive_problem"]["message"] == "the archive does not answer"
    assert rest[-1][0] == "done" and rest[-1][1]["matches"] == 1


async def test_a_search_in_named_tasks_says_which_are_not_being_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_search, "_SETTLE_S", 0.05)
    Filled(store, "ended", "default").lines([(1, 0, "a hit")]).end()
    runs = Filled(store, "runs", "default").lines([(1, 0, "a hit")]).update(state="running")
    store.release(runs.lease)
    session = Session(store, None)
    tasks = await SearchedTasks.named(session, ["default:job/ended", "default:job/runs"], session.find)
    assert (len(tasks.targets), tasks.failed, tasks.growing) == (2, [], ["default:job/runs"])
