"""If a recording cannot be archived, the recorders together try it again ever more rarely, not every minute each."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from support.filled import Filled, new_store
from support.hand import Hand

from cortex_jupyter.archive.archiver import archive_due
from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.cli import main
from cortex_jupyter.recorder.process import archiving
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.store import archive_attempts
from cortex_jupyter.store.archive_attempts import due_recordings, note_attempt

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.store import Store


def test_each_failure_delays_the_next_attempt_longer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hand, clock = Hand(store), [1_800_000_000.0]
    hand.end()
    store.set_setting("archive", "here")
    monkeypatch.setattr(archive_attempts, "time", SimpleNamespace(time=lambda: clock[0]))
    waits = []
    for _ in range(8):
        note_attempt(store, hand.id, "here")
        assert due_recordings(store, [hand.id], "here") == [] and due_recordings(store, [hand.id], "there") == [hand.id]
        start = clock[0]
        while not due_recordings(store, [hand.id], "here"):
            clock[0] += 60
        waits.append(clock[0] - start)
    assert [wait / 60 for wait in waits] == [2, 4, 8, 16, 32, 60, 60, 60]
    monkeypatch.undo()
    note_attempt(store, hand.id, "here")
    store.mark_archived(hand.id, "here")
    assert store.setting(archive_attempts.attempts_setting(hand.id)) == "" and store.unarchived("here") == []
    note_attempt(store, hand.id, "here")
    assert store.forget(hand.id) and store.setting(archive_attempts.attempts_setting(hand.id)) == ""


def test_two_collectors_that_archive_one_task_log_it_once(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = str(tmp_path / "archive")
    one = Filled(store).lines([(1, 1, "a")]).end()
    assert store.archive_backlog(url) == (1, pytest.approx(time.time(), abs=300))
    note_attempt(store, one.id, url)
    with caplog.at_level(logging.INFO):
        assert archive_due(store, url)
        assert store.unarchived(url) == [one.id], "it is archived although another collector does that now"
    store.set_setting(archive_attempts.attempts_setting(one.id), "")
    # Both have looked before either has begun.
    first, second = threading.Barrier(2), threading.Barrier(2)
    put = Catalog.put

    def together(*args: Any, **options: Any) -> Any:
        first.wait(60)
        archived = put(*args, **options)
        second.wait(60)
        return archived

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO), ThreadPoolExecutor(2) as pool:
        patch.setattr(Catalog, "put", together)
        patch.setattr("cortex_jupyter.archive.archiver.due_recordings", lambda _, recordings, __: list(recordings))
        assert all(pool.map(lambda _: archive_due(store, url), range(2)))
    assert [
        r.getMessage().startswith("archived in ") for r in caplog.records if r.name == "cortex_jupyter.archive"
    ] == [True]
    assert store.archive_backlog(url) == (0, None)
    assert store.mark_archived(one.id, "there") and not store.mark_archived(one.id, "there")


def test_an_attempt_that_kills_its_process_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is noted before it starts, because a process that fills the pod's memory dies without noting a failure."""

    class Killed(BaseException):
        pass

    def put(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(Catalog, "put", put)
    store, url = new_store(tmp_path), str(tmp_path / "archive")
    try:
        one = Filled(store).lines([(1, 1, "a")]).end()
        with pytest.raises(Killed):
            archive_due(store, url)
        assert store.unarchived(url) == [one.id] and due_recordings(store, [one.id], url) == []
    finally:
        store.close()


async def test_recorders_archive_the_rest_when_one_recording_cannot_be_archived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, url = new_store(tmp_path), str(tmp_path / "archive")
    try:
        good, broken = Filled(store, "good"), Filled(store, "broken")
        for recording in (good, broken):
            recording.lines([(1, i, f"line {i}") for i in range(10)]).end()
        (tmp_path / "archive/ml/job").mkdir(parents=True)
        (tmp_path / "archive/ml/job/broken").write_text("a file in place of the recording's folder")
        store.set_setting("archive", url)
        begun: list[int] = []
        spawn = archiving.spawn
        monkeypatch.setattr(archiving, "spawn", lambda *a: begun.append(1) or spawn(*a))
        health, failures = Health(), REGISTRY.get_sample_value("cortex_jupyter_archive_failures_total")
        assert failures is not None, "`increase` of a counter that begins with 1 is 0"
        runner = archiving.Archiving(store, health)
        await runner.archive_completed()
        assert REGISTRY.get_sample_value("cortex_jupyter_archive_failures_total") == failures + 1
        assert health.archive_waiting() == 1 and 0 < health.archive_waits_s() < 300
        (warning,) = health.warnings()
        assert warning.startswith("1 recording waits to be archived, the oldest for ") and "attempts fail" in warning
        assert store.unarchived(url) == [broken.id] and len(begun) == 1 and "tried again" in caplog.text
        await runner.archive_completed()  # as another recorder does, or the same one a minute later
        assert len(begun) == 1
        # The command archives at once, without the delay: the user has fixed the problem.
        (tmp_path / "archive/ml/job/broken").unlink()
        assert main(["archive", "--store", store.url, "--to", url]) == 0
        assert store.unarchived(url) == [] and store.setting(archive_attempts.attempts_setting(broken.id)) == ""
        with caplog.at_level(logging.INFO):
            await runner.archive_completed()
        assert not health.warnings() and health.archive_waiting() == 0
        assert caplog.text.count("tried again") == 1 and "everything is archived again, after " in caplog.text
    finally:
        store.close()


async def test_an_archive_that_cannot_be_used_is_reported_in_our_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    store = new_store(tmp_path)
    try:
        Filled(store).lines([(1, 1, "a")]).end()
        store.set_setting("archive", "ftp://host/logs")
        await archiving.Archiving(store).archive_completed()
        written = capfd.readouterr().err  # other libraries write there too, whenever they like
        errors = [line for line in written.splitlines() if " ERROR " in line]
        assert len(errors) == 1 and "ftp://host/logs" in errors[0] and "tried again" in caplog.text, written
        assert not due_recordings(store, store.unarchived("ftp://host/logs"), "ftp://host/logs"), (
            "each collector logs it each minute"
        )
    finally:
        store.close()
