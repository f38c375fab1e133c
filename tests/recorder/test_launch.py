"""When another recorder is started."""

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
    """One for each recorder that was started."""
    spawned: list[int] = []
    monkeypatch.setattr(launch, "_started", {})
    monkeypatch.setattr(launch, "spawn", lambda *_: spawned.append(1) or sleeper.pid)
    return spawned


class Shown:
    """Of a store, who lives."""

    url = "sqlite:///shown"
    lives: Any = None

    def recorders(self, _: str) -> list[Any]:
        return [self.lives] if self.lives else []


def test_a_damaged_store_that_was_moved_away_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hint says is done, and helps at once."""
    monkeypatch.setattr(launch, "_started", {})
    monkeypatch.setattr(launch, "_failed", {})
    monkeypatch.setattr(launch, "spawn", lambda *_: 1)
    monkeypatch.setattr(launch, "exit_code", lambda _: 1)
    store: Any = Shown()
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
    store: Any = Shown()
    launch.ensure_recorder(store, CLUSTER)
    launch.ensure_recorder(store, CLUSTER)
    assert len(spawned) == 1, "it is still importing"
    store.lives = recorder(pid=sleeper.pid)
    launch.ensure_recorder(store, CLUSTER)
    store.lives = None  # its heartbeat has gone cold, though the process is there: SIGSTOP, a node that swaps
    launch.ensure_recorder(store, CLUSTER)
    assert len(spawned) == 2


def test_a_recorder_that_is_killed_repeatedly_is_started_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the kernel where memory is short: it counted as an end in good order, and the next began half a second later."""
    for name in ("_started", "_failed", "_killed"):
        monkeypatch.setattr(launch, name, {})
    begun: list[int] = []
    spawn = launch.spawn

    def killed(*_: object) -> int:
        limited = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        begun.append(spawn([sys.executable, "-c", limited], tmp_path / "recorder.log"))
        os.waitid(os.P_PID, begun[-1], os.WEXITED | os.WNOWAIT)
        return begun[-1]

    monkeypatch.setattr(launch, "spawn", killed)
    store: Any = Shown()
    store.url = url_of(tmp_path / "r.sqlite")
    for _ in range(3):
        launch.ensure_recorder(store, CLUSTER)  # one that was killed once or twice is replaced at once
    for _ in range(50):
        with pytest.raises(RecorderError, match="killed by SIGKILL 3 times") as told:
            launch.ensure_recorder(store, CLUSTER)
    assert len(begun) == 3
    assert "memory" in told.value.hint

    monkeypatch.setattr(launch, "_FIRST_WAIT_S", 0.0)
    launch._failed.clear()
    launch.ensure_recorder(store, CLUSTER)
    assert len(begun) == 4, "after a while it is tried again"
    monkeypatch.setattr(launch, "_SHORT_LIFE_S", 0.0)
    launch.ensure_recorder(store, CLUSTER)
    assert len(begun) == 5, "one that lived for long before is replaced at once"


def test_a_recorder_that_fails_for_days_is_started_at_the_longest_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_failed", {})
    key = (url_of(tmp_path / "r.sqlite"), 0, CLUSTER)
    for _ in range(1100):
        launch._note_failure(key, 1, 0.0)
    assert time.monotonic() < launch._failed[key][2] <= time.monotonic() + launch._LONGEST_WAIT_S


def test_a_recorder_is_started_if_the_living_ones_may_not_record_the_task(spawned: list[int]) -> None:
    store: Any = Shown()

    def begun(one: RecorderInfo) -> bool:
        store.lives, before = one, len(spawned)
        launch._started.clear()
        launch.ensure_recorder(store, CLUSTER, None, "mine", "nlp")
        return len(spawned) > before

    one, ours = recorder(), launch.credentials_id(None, "mine")
    assert not begun(one), "it says nothing of it, as those of older versions"
    assert not begun(replace(one, namespaces=("ml", "nlp"), refused=("ml",)))
    assert begun(replace(one, namespaces=("ml",))), "it takes none of that namespace"
    assert begun(replace(one, namespaces=("ml",), rights=ours))
    assert begun(replace(one, refused=("nlp",), rights=launch.credentials_id(None, "another"))), "it may not read there"
    assert not begun(replace(one, refused=("nlp",), rights=ours)), "nor might the next"


def test_a_recorder_ends_when_its_context_is_for_another_cluster(tmp_path: Path) -> None:
    """What it records is of the first; readers start one for the other."""
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
        _, words = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1 and "the kubeconfig's context is for another cluster" in words
