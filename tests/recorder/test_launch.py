"""Rules for starting another recorder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.hand import CLUSTER, recorder

from cortex_jupyter.errors import RecorderError
from cortex_jupyter.recorder.process import launch
from cortex_jupyter.store import url_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cortex_jupyter.store import RecorderInfo


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def spawned(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one item with each recorder that is started."""
    spawned: list[int] = []
    monkeypatch.setattr(launch, "_started", {})
    monkeypatch.setattr(launch, "spawn", lambda *_: spawned.append(1) or sleeper.pid)
    return spawned


class StoreOfOneRecorder:
    """A store that shows at most one running recorder."""

    url = "sqlite:///shown"
    running: Any = None

    def is_reader(self) -> bool:
        return False

    def recorders(self, _: str) -> list[Any]:
        return [self.running] if self.running else []


def test_a_recorder_is_started_at_once_after_a_damaged_store_was_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who follows the hint need not wait for the next attempt."""
    monkeypatch.setattr(launch, "_started", {})
    monkeypatch.setattr(launch, "_failed", {})
    monkeypatch.setattr(launch, "spawn", lambda *_: 1)
    monkeypatch.setattr(launch, "exit_code", lambda _: 1)
    store: Any = StoreOfOneRecorder()
    path = tmp_path / "r.sqlite"
    path.write_text("damaged")
    store.url = url_of(path)
    launch.ensure_recorder(store, CLUSTER)
    with pytest.raises(RecorderError):
        launch.ensure_recorder(store, CLUSTER)
    path.rename(tmp_path / "away")
    path.write_text("new")
    launch.ensure_recorder(store, CLUSTER)


def test_a_recorder_that_hangs_after_its_first_heartbeat_is_replaced_at_once(
    sleeper: subprocess.Popen[bytes], spawned: list[int]
) -> None:
    store: Any = StoreOfOneRecorder()
    launch.ensure_recorder(store, CLUSTER)
    launch.ensure_recorder(store, CLUSTER)
    assert len(spawned) == 1, "a second recorder was started while the first one still imports"
    store.running = recorder(pid=sleeper.pid)
    launch.ensure_recorder(store, CLUSTER)
    store.running = None  # its heartbeat expired although its process exists, as after SIGSTOP or on a swapping node
    launch.ensure_recorder(store, CLUSTER)
    assert len(spawned) == 2


def test_a_recorder_that_is_killed_repeatedly_is_started_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills a recorder if memory is short. This must not count as a normal end, after which the next one starts at once."""
    for name in ("_started", "_failed", "_killed"):
        monkeypatch.setattr(launch, name, {})
    begun: list[int] = []
    spawn = launch.spawn

    def killed(*_: object) -> int:
        program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        begun.append(spawn([sys.executable, "-c", program], tmp_path / "recorder.log"))
        os.waitid(os.P_PID, begun[-1], os.WEXITED | os.WNOWAIT)
        return begun[-1]

    monkeypatch.setattr(launch, "spawn", killed)
    store: Any = StoreOfOneRecorder()
    store.url = url_of(tmp_path / "r.sqlite")
    for _ in range(3):
        launch.ensure_recorder(store, CLUSTER)  # a recorder that was killed once or twice is replaced at once
    for _ in range(50):
        with pytest.raises(RecorderError, match="killed by SIGKILL 3 times") as caught:
            launch.ensure_recorder(store, CLUSTER)
    assert len(begun) == 3
    assert "memory" in caught.value.hint

    monkeypatch.setattr(launch, "_FIRST_WAIT_S", 0.0)
    launch._failed.clear()
    launch.ensure_recorder(store, CLUSTER)
    assert len(begun) == 4, "no recorder was started after the wait"
    monkeypatch.setattr(launch, "_SHORT_LIFE_S", 0.0)
    launch.ensure_recorder(store, CLUSTER)
    assert len(begun) == 5, "a recorder that had run for long was not replaced at once"


def test_a_recorder_that_fails_for_days_is_started_at_the_longest_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_failed", {})
    key = (url_of(tmp_path / "r.sqlite"), 0, CLUSTER)
    for _ in range(1100):
        launch._note_failure(key, 1, 0.0)
    assert time.monotonic() < launch._failed[key][2] <= time.monotonic() + launch._LONGEST_WAIT_S


def test_a_recorder_is_started_if_the_living_ones_may_not_record_the_task(spawned: list[int]) -> None:
    store: Any = StoreOfOneRecorder()

    def starts_another(running: RecorderInfo) -> bool:
        store.running, before = running, len(spawned)
        launch._started.clear()
        launch.ensure_recorder(store, CLUSTER, None, "mine", "nlp")
        return len(spawned) > before

    other, ours = recorder(), launch.credentials_id(None, "mine")
    assert not starts_another(other), "started beside an older version, which does not report its namespaces"
    assert not starts_another(replace(other, namespaces=("ml", "nlp"), refused=("ml",)))
    assert starts_another(replace(other, namespaces=("ml",))), (
        "not started although the running recorder records another namespace only"
    )
    assert starts_another(replace(other, namespaces=("ml",), rights=ours))
    assert starts_another(replace(other, refused=("nlp",), rights=launch.credentials_id(None, "another"))), (
        "not started although the running recorder's user may not read the namespace"
    )
    assert not starts_another(replace(other, refused=("nlp",), rights=ours)), (
        "started although a new recorder would have the same rights"
    )


def test_a_recorder_ends_when_its_context_is_for_another_cluster(tmp_path: Path) -> None:
    """Its recordings belong to the first cluster. Readers start another recorder for the other cluster."""
    config = tmp_path / "config"

    def point_to(port: int) -> None:
        config.write_text(
            json.dumps(
                {
                    "current-context": "x",
                    "contexts": [{"name": "x", "context": {"cluster": "c"}}],
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                }
            )
        )

    point_to(9)
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--all", "--kubeconfig", config]
    command += ["--store", url_of(tmp_path / "r.sqlite")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "the watch of" in line:
                break
        point_to(10)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1 and "the kubeconfig's context is for another cluster" in errors
