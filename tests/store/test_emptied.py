"""After a store lost its last second or all data, the logs that the cluster still has are recorded again with the same settings."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from archive.s3 import Gate, gate, seaweed
from recorder.test_collector import CLUSTER as NAMED
from recorder.test_collector import UNTIL, collectors, labelled, lines, texts
from support.hand import CLUSTER, Hand
from support.jupyter import Home
from support.kube import python_job

from cortex_jupyter.errors import StoreBusy
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Session
from cortex_jupyter.recorder import tasks as lib
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import Settings
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import SandboxProcess
    from support.kube import Kube
    from support.valkey import Server

    from cortex_jupyter.store import RecordingInfo, Store

SECRET = "password=s3cr3t1234 "


def unset(store: Any) -> None:
    """Remove a store's settings."""
    if isinstance(store, SqliteStore):
        with store._file.writing() as db:
            db.execute("DELETE FROM setting")
    else:
        store._link.ask("DEL", "cortex:settings")


def test_lost_settings_are_restored_by_processes_that_know_them(store: Store) -> None:
    store.set_budget(Budget(max_bytes=10_000))
    told = Settings(store, {"mask": "1", "archive": "/there", "max_bytes": "5"}, marks=True, administrator=True)
    other = Settings(store, marks=True)
    assert not told.look() and not other.look()
    assert told.masked and store.setting("archive") == "/there"
    assert store.budget().max_bytes == 10_000, "a setting of another process was overwritten"
    new = Settings(store, marks=True)
    unset(store)
    new.look()  # a new process, which does not know what was lost
    assert other.look() and not other.look() and told.look() and not new.look()
    assert (store.setting("mask"), store.setting("archive"), store.budget().max_bytes) == ("1", "/there", 10_000)
    assert other.masked and new.masked
    store.set_setting("mask", "0")
    assert not any(one.look() for one in (told, other, new))
    assert told.masked and not other.masked, "not exactly the process with masking masks"


def test_a_reader_writes_no_mark_and_can_read_without_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: str) -> None:
        raise StoreBusy("another process writes")

    monkeypatch.setattr(store, "set_setting", busy)
    monkeypatch.setattr(store, "set_settings", busy)
    assert not Settings(store).look()
    assert not Settings(store, marks=True).look()
    with pytest.raises(StoreBusy):
        Settings(store, {"mask": "1"}, administrator=True).look()


async def test_a_recorder_started_with_masking_takes_no_task_unmasked(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.leave("me")
    store.want(hand.id, 600)
    taken: list[bool] = []

    class Seen:
        unreachable_s, last_committed, masked, ends = 0.0, 0, True, True

        def __init__(self, *_: Any, masked: bool, **__: Any) -> None:
            taken.append(masked)

        async def run(self) -> None:
            pass

        def set_has_readers(self, *, has_readers: bool) -> None:
            pass

    monkeypatch.setattr(lib, "TaskRecorder", Seen)
    cluster: Any = type("Api", (), {"host": CLUSTER, "id": CLUSTER})()
    for lose in (lambda: None, lambda: unset(store), lambda: store.set_setting("mask", "0")):
        lose()
        recording: Any = Recorder(store, cluster, start_settings={"mask": "1"})
        await recording._update_tasks(None)
        for one in list(recording._tasks.running.values()):
            await one.task
        store.leave(recording._me.id)
    assert taken == [True] * 3


async def test_a_reader_restores_masking_before_anything_is_recorded(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], valkey_server: Server, tmp_path: Path
) -> None:
    valkey_server.ask("FLUSHALL")
    name = unique("told")
    kube.create(python_job(name, "import time; time.sleep(600)"))
    with closing(open_store(valkey_server.url)) as administrators:
        administrators.set_setting("mask", "1")
    recordings = await Session.connect(valkey_server.url, str(sandbox.kubeconfig))
    try:
        assert recordings.cluster is not None
        valkey_server.ask("FLUSHALL")
        opened: list[str] = []
        real = recordings.store.open

        def open_(*what: Any) -> int:
            opened.append(recordings.store.setting("mask"))
            return real(*what)

        recordings.store.open = open_  # type: ignore[method-assign]
        await recordings._find(TaskRef.parse(name), None)
        assert opened == ["1"]
    finally:
        await recordings.close()
        kube.delete("jobs", name)


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path) -> Home:
    return Home(tmp_path, sandbox.kubeconfig)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Gate]:
    (tmp_path / "s3").mkdir()
    with seaweed(tmp_path / "s3") as port, gate(port) as s3:
        yield s3


def test_a_collector_records_again_after_the_server_was_emptied(
    kube: Kube, home: Home, unique: Callable[[str], str], valkey_server: Server, bucket: Gate
) -> None:
    """Running and ended tasks are masked and archived as before, although the settings were lost too."""
    valkey_server.ask("FLUSHALL")
    team, flag = unique("team"), home.path / "flag"
    over, runs = f"{team}-over", f"{team}-runs"
    archive, store = "s3://logs/runs", open_store(valkey_server.url)
    told = {"CORTEX_MASK": "1", "CORTEX_ARCHIVE": archive, "CORTEX_STORE_MAX_TASK_BYTES": "70MB"}
    home.settings |= bucket.env | told

    def found(name: str) -> RecordingInfo | None:
        return store.find(TaskRef("default", "job", name), NAMED)

    def done(name: str) -> RecordingInfo | None:
        info = found(name)
        return info if info and info.done else None

    try:
        kube.create(labelled(python_job(over, f"print({SECRET!r})"), team))
        kube.create(labelled(python_job(runs, UNTIL.replace("line ", f"{SECRET}line ").format(flag=str(flag))), team))
        with collectors(valkey_server.url, home, "-n", "default", "-l", f"team={team}") as running:
            running.start(), running.start()
            before = {
                over: kube.wait_for(lambda: done(over), "what is over to be recorded"),
                runs: kube.wait_for(lambda: (i := found(runs)) and i.last_seq > 20 and i, "what runs to be recorded"),
            }
            valkey_server.ask("FLUSHALL")
            kube.wait_for(lambda: done(over), "what is over to be recorded anew")
            kube.wait_for(lambda: (i := found(runs)) and i.last_seq > 20, "what runs to be recorded anew")
            flag.touch()
            kube.wait_for(lambda: done(runs), "its end")
            hidden = SECRET.replace("s3cr3t1234", "[masked]")
            for name, one in before.items():
                info = done(name)
                assert info is not None and info.id != one.id and info.masked
                assert not any("s3cr3t" in text for text in texts(store, info.id))
            assert texts(store, done(over).id) == [hidden]  # type: ignore[union-attr]
            *all_, _ = texts(store, done(runs).id)  # type: ignore[union-attr]
            assert all_ == [hidden + line for line in lines(len(all_))], (
                "not all lines from the first one on are masked and recorded"
            )
            assert store.budget().max_task_bytes == 70_000_000 and store.setting("archive") == archive
            kube.wait_for(lambda: not store.unarchived(archive), "both to be archived")
            assert len(store.recordings()) == 2
    finally:
        store.close()


def test_a_collector_reopens_recordings_lost_in_a_failover(
    kube: Kube, home: Home, unique: Callable[[str], str], valkey_server: Server
) -> None:
    """A recording that began in the last second before the failover, of a quiet or an ended task."""
    valkey_server.ask("FLUSHALL")
    team, flag = unique("team"), home.path / "flag"
    store: Any = open_store(valkey_server.url)

    def find(name: str) -> RecordingInfo | None:
        return store.find(TaskRef("default", "job", f"{team}-{name}"), NAMED)  # type: ignore[no-any-return]

    def lose(*names: str) -> None:
        for name in names:
            info = find(name)
            assert info is not None
            name_key, all_ = store._link.ask("HMGET", f"cortex:{info.id}", "name_key", "names")
            with store._link.client.pipeline() as pipe:
                pipe.hdel("cortex:uids", name_key).srem(all_, info.id).zrem("cortex:recordings", info.id)
                pipe.delete(*store._link.client.keys(f"cortex:{info.id}*")).execute()

    quiet = f"import os, time\nprint('begun', flush=True)\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.05)"
    try:
        for name in ("lost", "lost-too", "kept"):
            kube.create(labelled(python_job(f"{team}-{name}", quiet), team))
        with collectors(valkey_server.url, home, "-n", "default", "-l", f"team={team}") as running:
            first = running.start()
            for name in ("lost", "lost-too", "kept"):
                kube.wait_for(
                    lambda name=name: (i := find(name)) and store.complete(i.id).records, f"{name} to be read"
                )
            kept = find("kept")
            lose("lost")
            kube.wait_for(lambda: (i := find("lost")) and store.complete(i.id).records, "it to be recorded again")
            os.kill(first.pid, signal.SIGSTOP)  # as if the server were out of reach while the others end
            lose("lost-too")
            flag.touch()
            for name in ("lost", "lost-too", "kept"):
                kube.wait_job(f"{team}-{name}")
            os.kill(first.pid, signal.SIGCONT)
            for name in ("lost", "lost-too", "kept"):
                info = kube.wait_for(lambda name=name: (i := find(name)) and i.done and i, f"the end of {name}")
                assert texts(store, info.id) == ["begun"]
            assert find("kept").id == kept.id, "a recording that was not lost was replaced"  # type: ignore[union-attr]
    finally:
        store.close()
