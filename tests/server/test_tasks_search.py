"""`GET cortex/search`: all tasks of a namespace, or those that are named."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from server.fake_recorder import CLUSTER, T0, FakeRecorder
from server.test_search import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.running import Server

    from cortex_jupyter.store import Store


@pytest.fixture(scope="module")
def space(store: Store) -> Iterator[str]:
    """A namespace of three ended tasks and a running one that no recorder follows."""
    space = f"space-{uuid.uuid4().hex[:6]}"
    recorders = [FakeRecorder(store, name, space) for name in ("one", "two", "three", "runs")]
    for recorder in recorders:
        hits = 0 if recorder.ref.name == "three" else 30
        sid = recorder.source(f"{recorder.ref.name}-pod")
        lines = [(T0 + i * 10**9, sid, f"step {i} CUDA out of memory" if i < hits else "fine") for i in range(40)]
        recorder.write(lines)
        recorder.end() if recorder.ref.name != "runs" else recorder.running()
        recorder.close()
    yield space
    for recorder in recorders:
        store.forget(recorder.id)


async def search(server: Server, **query: Any) -> list[tuple[str, dict[str, Any]]]:
    events = await server.events("cortex/search", **query)
    return [(event.event, json.loads(event.data)) for event in events]


def counts(events: list[tuple[str, dict[str, Any]]]) -> dict[str, int]:
    return {doc["task"].partition("/")[2]: doc["matches"] for name, doc in events if name == "task"}


async def test_all_tasks_of_a_namespace_are_searched(server: Server, space: str) -> None:
    events = await search(server, namespace=space, search="out of memory", lines=2)
    name, tasks = events[0]
    assert (name, tasks["tasks"], tasks["unrecorded"]) == ("tasks", 4, [])
    assert tasks["growing"] == [f"{space}:job/runs"] and tasks["problem"]["code"] == "NoCluster"
    assert counts(events) == {"one": 30, "two": 30, "three": 0, "runs": 30}
    assert events[-1] == ("done", {"tasks": 4, "with_matches": 3, "matches": 90, "all": True})
    records = [
        r for name, doc in events if name == "lines" and doc["task"] == f"{space}:job/one" for r in doc["records"]
    ]
    assert [r["text"] for r in records] == ["step 29 CUDA out of memory", "step 28 CUDA out of memory"]
    assert records[0]["pod"] == "one-pod" and records[0]["time"].startswith("2023-11-14T22:13:49.")


async def test_named_tasks_are_searched_and_a_missing_one_is_named(server: Server, space: str) -> None:
    names = [f"{space}:job/one", f"{space}:job/missing"]
    events = await search(server, task=names, grep="CUDA")
    assert counts(events) == {"one": 30, "missing": 0}
    [missing] = [doc for name, doc in events if name == "task" and "error" in doc]
    assert missing["task"] == names[1] and "no kubeconfig" in missing["error"]["message"]
    # Without a kind and a namespace, as everywhere; two names of one task are one.
    assert counts(await search(server, namespace=space, task=["one", "job/one"], grep="CUDA")) == {"one": 30}


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({}, 400, "no filter"),
        ({"search": "x", "bogus": "1"}, 400, "bogus"),
        ({"search": "x", "task": "a", "selector": "app=x"}, 400, "both tasks and a selector"),
        ({"search": "x", "task": "missing"}, 502, "no kubeconfig"),
        ({"search": "x", "namespace": "Not A Name"}, 400, "namespace"),
        ({"search": "x", "task": [f"t{i}" for i in range(51)]}, 429, "51 tasks"),
    ],
)
def test_a_wrong_search_is_refused(server: Server, query: dict[str, Any], status: int, message: str) -> None:
    code, error = server.error("cortex/search", **query)
    assert code == status and message in error["message"]


def test_the_page_searches_in_its_tasks_and_shows_the_switch_beside_an_error(server: Server, space: str) -> None:
    page = server.get("cortex/view", search="<b>", task=f"{space}:job/one")
    assert page.status_code == 200 and f"<h1>Tasks in {space}</h1>" in page.text and "<b>" not in page.text
    assert "static/tasks.js" in page.text and "static/page.js" not in page.text
    nowhere = server.get("cortex/view", namespace="nowhere")
    assert nowhere.status_code == 502 and "static/tasks.js" in nowhere.text
    assert "static/tasks.js" not in server.get("cortex/view", task="nowhere:job/x").text


async def test_the_search_ends_when_its_reader_goes(server: Server, store: Store) -> None:
    space = f"space-{uuid.uuid4().hex[:6]}"
    recorder = FakeRecorder(store, "slow", space, cluster=CLUSTER)
    recorder.write([(T0, recorder.source(), "x" * 60_000)])
    recorder.end()
    recorder.close()
    async with asyncio.timeout(120), server.stream("cortex/search", namespace=space, search="/x*x*x*x*y/"):
        await until(server, running=True)
    await until(server, running=False)
    store.forget(recorder.id)
