"""If a store is over its budget, the recordings that ended first are removed first. Those with readers or running tasks stay."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from support.hand import CLUSTER, Hand, on_sqlite, recorder, source, until

from cortex_jupyter.errors import BadQuery, CursorNotHeld
from cortex_jupyter.model import TaskRef, notice
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.recorder import upkeep as lib
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.recorder.upkeep import Upkeep
from cortex_jupyter.store import Commit, ids
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.retention import enforce_retention
from cortex_jupyter.store.sqlite import store as sqlite
from cortex_jupyter.store.sqlite.store import SqliteStore
from cortex_jupyter.store.valkey import store as valkey
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


def task(store: SqliteStore, name: str, megabytes: float = 1.0, *, done: bool = True) -> int:
    """Record a task with this many MB of incompressible text."""
    hand = Hand(store, TaskRef("default", "job", name))
    for i in range(int(megabytes * 20)):
        hand.lines([(i, 1, os.urandom(MB // 20).hex())])
    if done:
        hand.end()
    return hand.id


def held(store: SqliteStore) -> set[str]:
    return {i.ref.name for i in store.recordings()}


def test_recordings_that_ended_first_leave_first_and_free_disk_space(store: Any) -> None:
    a, b, _ = (task(store, name, 2) for name in ("a", "b", "c"))
    running = task(store, "running", 2, done=False)
    full = store.used_bytes()
    store.set_budget(Budget(max_bytes=full - 3 * MB))
    kept = enforce_retention(store)
    assert held(store) == {"c", "running"} and (kept.removed, kept.over) == ({"size": 2}, 0)
    assert store.used_bytes() <= full - 3 * MB
    assert len(store.index(running)) == 40
    if not isinstance(store, SqliteStore):
        assert not any(
            store._link.client.exists(f"cortex:{gone}:{part}") for gone in (a, b) for part in ("live", "kept", "index")
        )
        return
    db = sqlite3.connect(store.path)
    counted = db.execute("SELECT count(DISTINCT recording), (SELECT count(*) FROM leaving) FROM entry").fetchone()
    assert counted == (2, 0) and db.execute("PRAGMA freelist_count").fetchone() == (0,)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    assert store.path.stat().st_size <= full - 3 * MB


def test_recordings_that_are_read_or_running_never_leave(store: SqliteStore) -> None:
    read, _ = task(store, "read"), task(store, "running", done=False)
    task(store, "old")
    store.want(read, 60)
    store.set_budget(Budget(max_bytes=1, max_age_s=0.0))
    kept = enforce_retention(store, now=time.time() + 1)
    assert held(store) == {"read", "running"} and kept.over > 0
    # A reader came after this recording was chosen for removal, so it stays.
    assert not store.forget(read)
    assert store.oldest_removable() is None


def aged(store: Any, *recordings: int) -> None:
    """Make recordings look as if they were not opened or wanted for long."""
    for id_ in recordings:
        if isinstance(store, SqliteStore):
            with store._file.writing() as db:
                db.execute("UPDATE recording SET wanted=0 WHERE id=?", (id_,))
        else:
            store._link.ask("ZREM", "cortex:wanted", id_)
            store._link.ask("HDEL", f"cortex:{id_}", "wished")


@pytest.fixture
def an_hour_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make new recordings look as if they began an hour ago."""
    for module in (sqlite, valkey):
        monkeypatch.setattr(module, "new_id", lambda: ids.first_at(time.time() - 3600))


def test_unwanted_empty_recordings_leave(store: Any, an_hour_ago: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reader can create any number of empty recordings. They never end, so neither budget nor age removes them."""
    never = [store.open(CLUSTER, TaskRef("default", "selector", f"x={i}"), f"selector:x={i}") for i in range(3)]
    job = store.open(CLUSTER, TaskRef("default", "job", "never-taken"), "u")
    told = Hand(store, TaskRef("default", "selector", "told"), "selector:told")
    told.notice(message="Log not available yet: no pod has been created")
    kept = {
        "wanted": store.open(CLUSTER, TaskRef("default", "selector", "wanted"), "selector:wanted"),
        "held": Hand(store, TaskRef("default", "selector", "held"), "selector:held", owner="lives").id,
        "told of": Hand(store, TaskRef("default", "job", "told"), "u", owner="gone").id,
        "with lines": Hand(store, TaskRef("default", "selector", "lines"), "selector:lines", owner="gone").id,
        "fresh": store.open(CLUSTER, TaskRef("default", "selector", "fresh"), "selector:fresh"),
        "opened again": store.open(CLUSTER, TaskRef("default", "selector", "again"), "selector:again"),
        "done": task(store, "done", 0.05),
    }
    lease = store.lease(kept["told of"], "gone")
    store.commit(lease, Commit([notice("t", 1, 0, "status", "Log not available yet: Unschedulable")]))
    store.add_source(store.lease(kept["with lines"], "gone"), source(1))
    for owner in ("me", "gone"):
        store.leave(owner)
    enforce_retention(store)
    assert store.forget_empty(3000) == 0 and len(store.recordings()) == len(never) + 2 + len(kept), (
        "new empty recordings were removed"
    )
    aged(store, *never, job, told.id, *(kept[k] for k in kept if k != "fresh"))
    store.want(kept["wanted"], 60)
    assert store.open(CLUSTER, TaskRef("default", "selector", "again"), "selector:again") == kept["opened again"]
    store.beat(recorder("lives"))
    enforce_retention(store)
    assert {i.id for i in store.recordings()} == set(kept.values())
    assert all(store.info(id_) is None for id_ in (*never, job, told.id)) and store.index(told.id) == []
    # Asking for one again creates it again.
    again = store.open(CLUSTER, TaskRef("default", "selector", "x=1"), "selector:x=1")
    assert again not in never and store.info(again).last_seq == 0
    store.want(again, 60)
    store.forget_empty(0)
    assert store.info(again) is not None


def test_the_reserve_is_for_this_user_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "r.sqlite")
    try:
        reserve = tmp_path / "r.sqlite.reserve"
        assert store.keep_reserve() and reserve.stat().st_mode & 0o777 == 0o600
        reserve.chmod(0o644)  # as an earlier version wrote it
        assert store.keep_reserve() and reserve.stat().st_mode & 0o777 == 0o600
    finally:
        store.close()


def test_age_counts_from_the_end_of_the_task(store: SqliteStore) -> None:
    task(store, "one", 0.1)
    assert enforce_retention(store, now=time.time() + 29 * 86400).removed == {}
    kept = enforce_retention(store, now=time.time() + 31 * 86400)
    assert kept.removed == {"age": 1}
    assert kept.in_words() == ["1 recording has left: its task ended more than 30 days ago"], (
        "it was not over the budget"
    )
    assert held(store) == set()


async def test_a_reader_of_a_removed_recording_gets_an_error(store: SqliteStore) -> None:
    one = task(store, "one", 3)
    events = Feed(store, one).events()
    assert (await anext(events)).last == 1
    assert store.forget(one)
    while store.sweep():
        pass
    with pytest.raises(CursorNotHeld) as caught:
        async for _ in events:
            pass
    assert "store_max_bytes" in caught.value.hint
    with pytest.raises(CursorNotHeld):
        await anext(Feed(store, one).events(after=3))


@on_sqlite
def test_the_next_pass_finishes_an_interrupted_one(store: SqliteStore) -> None:
    one = task(store, "one", 4)
    store.set_budget(Budget(max_age_s=0.0))
    steps = iter([False, False, False, True, True, True, True, True, True])
    enforce_retention(store, lambda: next(steps), now=time.time() + 1)
    assert held(store) == set() and store.index(one)
    enforce_retention(store)
    assert store.index(one) == [] and not store.sweep()


@on_sqlite
def test_a_partly_deleted_recording_is_not_read_as_a_log(store: SqliteStore) -> None:
    one = task(store, "one", 4)
    store.forget(one)
    store.sweep()
    assert store.index(one)
    with pytest.raises(CursorNotHeld):
        store.entries(one, 0, 1)


def test_settings_are_kept_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite://{tmp_path}/r.sqlite"

    def budget(given: Budget | None = None, *, weak: bool = False) -> Budget:
        store = open_store(url, given, weak=weak)
        found = store.budget()
        store.close()
        return found

    default = budget()
    assert default.max_age_s == 30 * 86400 and default.max_bytes and default.max_bytes <= 20 << 30
    assert budget(Budget(max_bytes=5)) == Budget(5, 30 * 86400)
    monkeypatch.setenv("CORTEX_STORE_MAX_BYTES", "7kB")
    monkeypatch.setenv("CORTEX_STORE_MAX_AGE", "2d")
    # A recorder takes from its environment only what is not set in the store: here the age, not the size.
    assert budget(weak=True) == Budget(5, 2 * 86400)
    assert budget() == Budget(7000, 2 * 86400)
    assert budget(Budget(max_bytes=9)) == Budget(9, 2 * 86400)
    monkeypatch.setenv("CORTEX_STORE_MAX_TASK_BYTES", "1 MiB")
    assert budget() == Budget(7000, 2 * 86400, 1 << 20) == budget(weak=True)
    monkeypatch.setenv("CORTEX_STORE_MAX_AGE", "soon")
    with pytest.raises(BadQuery, match="soon"):
        budget()
    with pytest.raises(BadQuery, match="much"):
        Budget.parse("much")


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_store_of_an_earlier_version_is_updated(tmp_path: Path, version: int) -> None:
    path = tmp_path / "r.sqlite"
    store = SqliteStore(path)
    one = task(store, "one", 0.1)
    store.close()
    db = sqlite3.connect(path)
    for column in ("epochs", "masked", "ended", "clock_ms")[: {2: 4, 3: 2, 4: 1}[version]]:
        db.execute(f"ALTER TABLE recording DROP COLUMN {column}")
    if version == 2:
        db.executescript("DROP TABLE setting; DROP TABLE leaving")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    store = SqliteStore(path)
    assert store.complete(one).records == 2 and store.complete(one).masked == {}
    # The end is taken from its end notice, which is of 1970.
    assert version > 2 or enforce_retention(store).removed
    store.close()


async def test_the_recorder_enforces_retention(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    task(store, "old")
    store.set_budget(Budget(max_bytes=1))
    store.leave("me")
    cluster: Any = type("Api", (), {"id": CLUSTER})()
    monkeypatch.setattr(lib, "_RETAIN_S", 0.01)
    recorder_metrics.STORE.set(-1)
    recorder_metrics.BUDGET.set(-1)
    run = asyncio.create_task(Recorder(store, cluster).run())
    await until(lambda: not held(store))
    told = partial(REGISTRY.get_sample_value, "cortex_jupyter_store_bytes")
    await until(
        lambda: told() == store.used_bytes() and REGISTRY.get_sample_value("cortex_jupyter_store_budget_bytes") == 1
    )
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_running_task_over_the_budget_continues_with_a_notice(store: SqliteStore) -> None:
    said: list[str] = []
    one, other = task(store, "large", 1, done=False), task(store, "small", 0.1, done=False)
    spoken: Any = type("Spoken", (), {"put_status": lambda _, message, **__: said.append(message)})
    running: Any = type("Running", (), {"recorder": spoken()})
    upkeep = Upkeep(store, {one: running, other: running})
    for _ in range(2):
        await upkeep.report_over_budget(MB // 2)
    (message,) = said
    assert "larger than the store's budget" in message
    assert len(store.index(one)) == 20


@on_sqlite
def test_connections_of_ended_threads_are_closed(store: SqliteStore) -> None:
    for _ in range(5):
        asyncio.run(_read(store))
    assert len(store._file._connections) <= 2


async def _read(store: SqliteStore) -> None:
    await asyncio.to_thread(store.recordings)
