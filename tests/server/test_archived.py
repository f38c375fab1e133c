"""A server gives the same answers about a task from its recording and, after that has left the store, from the archive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from archive.clouds import Clouds
from archive.made import archived
from server.fake_recorder import T0, FakeRecorder
from server.running import logs, records, run_server

import cortex_jupyter as cortex
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.running import Server


@pytest.fixture(scope="module", params=["folder", *os.environ.get("CORTEX_TEST_CLOUDS", "").split()])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("archive")
    if request.param == "folder":
        yield str(folder)
        return
    with Clouds(folder) as clouds, clouds.cloud(request.param) as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.env.items():
            patch.setenv(name, value)
        yield f"{cloud.url}/runs"


@pytest.fixture(scope="module")
def own(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("home"), f"--CortexJupyter.archive_url={place}") as running:
        yield running


async def ask_everything(server: Server, name: str) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for query in (
        {},
        {"limit": "50"},
        {"level": "error", "limit": "7"},
        {"grep": "line 0.*7", "after": "0", "limit": "20"},
    ):
        page = answers[str(query)] = server.page(name, **query)
        answers[f"{query} older"] = (
            server.page(name, before=page["older"], limit="9")["records"] if page["older"] else None
        )
    for suffix in ("ndjson", "txt"):
        answers[suffix] = server.get(logs(name, f"logs.{suffix}"), level="warning").text
    answers["events"] = records(await server.events(logs(name), {"Accept": "text/event-stream"}, since="all"))
    answers["task"] = server.get(f"cortex/tasks/default/job/{name}").json()
    answers["listed"] = [
        t for t in server.get("cortex/tasks", namespace="default").json()["tasks"] if t["name"] == name
    ]
    answers["outline"] = {
        k: v for k, v in server.get(logs(name, "outline")).json().items() if k in ("records", "first", "last")
    }
    return answers


async def test_answers_from_the_archive_equal_those_from_the_recording(own: Server, place: str, tmp_path: Path) -> None:
    store = open_store(own.store_url)
    fake_recorder = FakeRecorder(store, "archived")
    sids = [fake_recorder.source("train-0"), fake_recorder.source("train-1")]
    for batch in range(20):
        rows = [
            (T0 + i * 10**9 - (i % 5) * 7 * 10**8, sids[i % 2], f"{('INFO', 'ERROR')[i % 2]} line {i:05d}", 1 + i % 2)
            for i in range(batch * 50, batch * 50 + 50)
        ]
        fake_recorder.write(rows)
    fake_recorder.note("gap", "lines are missing", T0 + 32 * 10**9, reason="rotated", source=1)
    fake_recorder.end()
    fake_recorder.close()
    before = await ask_everything(own, "archived")
    assert len(before["events"]) == 1000 and store.setting("archive") == place
    _, in_archive = archived(fake_recorder, place)  # type: ignore[arg-type]
    store.mark_archived(fake_recorder.id, place)
    with store._file.writing() as db:  # the reads above have renewed the wish
        db.execute("UPDATE recording SET wanted=0")
    assert store.forget(fake_recorder.id)
    while store.sweep():
        pass
    assert store.find(fake_recorder.ref) is None
    after = await ask_everything(own, "archived")
    for name, answer in before.items():
        assert after[name] == answer, name
    whole = own.get(logs("archived", "logs.parquet"))
    if in_archive.file.objects.folder is not None:
        assert whole.content == in_archive.file.objects.get(in_archive.file.name)
    (tmp_path / "whole.parquet").write_bytes(whole.content)
    assert [r.text for r in cortex.open(tmp_path / "whole.parquet")] == [
        r.text for r in cortex.open(in_archive.file.path)
    ]
    (tmp_path / "some.parquet").write_bytes(own.get(logs("archived", "logs.parquet"), level="error").content)
    assert pq.read_table(tmp_path / "some.parquet")["level"].to_pylist() == ["error"] * 500
    assert "line 00007" in own.get(logs("archived", "search"), grep="line 00007").text
    store.close()
