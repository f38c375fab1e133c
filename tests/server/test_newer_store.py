"""A server reports clearly that a newer version has updated its store, at its first request or later."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from server.fake_recorder import T0, FakeRecorder
from server.running import logs, run_server
from support.valkey import Server as Valkey

from cortex_jupyter.store import path_of
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Place = tuple[str, Callable[[int], object]]


@pytest.fixture(params=["sqlite", "valkey"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Return a store's URL, and a function that sets the version of its form."""
    if request.param == "valkey":
        with Valkey(tmp_path / "valkey") as server:
            yield server.url, lambda version: server.ask("SET", "cortex:version", f"{version} {version}")
        return
    url = f"sqlite://{tmp_path}/store.sqlite"

    def change(version: int) -> None:
        with closing(sqlite3.connect(path_of(url) or "", isolation_level=None)) as db:
            db.execute(f"PRAGMA user_version = {5 if version == 1 else version}")
            db.execute("INSERT OR REPLACE INTO setting VALUES ('least', ?)", (str(version),))

    yield url, change


async def test_a_store_of_a_newer_version_is_refused_clearly(place: Place, tmp_path: Path) -> None:
    url, change = place
    store = open_store(url)
    fake_recorder = FakeRecorder(store, "train-1")
    fake_recorder.write([(T0, fake_recorder.source(), "a line")])
    fake_recorder.running()
    fake_recorder._over.set()  # the newer store would refuse its heartbeats
    fake_recorder._thread.join()
    change(99)
    with run_server(tmp_path, "--CortexJupyter.heartbeat_s=0.2", CORTEX_STORE=url) as server:
        for path in (logs("train-1"), "cortex/tasks", "cortex/stream?task=train-1"):
            status, error = server.error(path)
            assert (status, error["code"]) == (500, "StoreTooNew") and "newer version" in error["message"]
            assert "update cortex-jupyter" in error["hint"]
        change(1)
        assert [r["text"] for r in server.page("train-1", since="all")["records"]] == ["a line"], (
            "the next request does not check the store's version again"
        )
        fake_recorder._beat()  # a recorder is alive
        async with server.stream(logs("train-1"), follow="true", since="all") as source:
            async for event in source.aiter_sse():
                if event.event == "log":
                    change(99)
                if event.event == "error":
                    assert json.loads(event.data)["code"] == "StoreTooNew"
                    break
            else:
                raise AssertionError("the stream ended without a word")
        assert server.error(logs("train-1"))[1]["code"] == "StoreTooNew"
    change(1)
    store.close()
