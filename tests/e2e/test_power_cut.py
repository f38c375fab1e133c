"""The machine loses power, and SQLite loses its last commits.

Afterwards the cursors of readers still refer to the same lines, or are refused.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support.jupyter import Home, Jupyter, counter, numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = 3000


@pytest.mark.timeout(180)
def test_a_cursor_within_lost_lines_is_refused_and_an_earlier_one_is_valid(
    home: Home, job: Callable[..., str], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    server = Jupyter(home)
    name = job(counter(LINES, per_second=100))
    before = during = ""
    texts: list[str] = []
    for event in server.events(name, since="all"):
        texts += event.data["m"] if event.event == "log" else []
        if len(texts) >= 150 and not before:
            before = event.id
            store = _copy_store(home, disk)
            known = len(texts)
        if before and len(texts) >= known + 150:
            during = event.id
            break
    assert during, "the task ended before the power cut"
    # Kill all processes at once, as a power cut does.
    server.process.send_signal(signal.SIGKILL)
    for pid in home.recorders():
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    for suffix in ("", "-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    for file in disk.iterdir():
        shutil.copy(file, store.parent)

    server = Jupyter(home, port=server.port)
    try:
        all_texts: list[str] = []
        for event in server.events(name, since="all"):
            all_texts += event.data["m"] if event.event == "log" else []
            assert event.event != "gap", event.data
        (found,) = numbers(all_texts).values()
        assert found == list(range(LINES)), "lost lines were not recorded again exactly once"

        path = server.path(name)
        for parameters in ({"after": during}, {"before": f"{during}-1-1"}, {"cursor": during}):
            accepts = "text/event-stream" if "cursor" in parameters else "application/json"
            answer = server.client.get(path, params=parameters, headers={"Accept": accepts})
            assert answer.status_code == 410 and "CursorNotHeld" in answer.text, (parameters, answer.text[:2000])
        headers = {"Accept": "text/event-stream", "Last-Event-ID": during}
        assert server.client.get(path, headers=headers).status_code == 410
        stream = server.client.get("cortex/stream", params={"task": f"default:job/{name}", "cursor": during})
        assert '"CursorNotHeld"' in stream.text

        rest = []
        for event in server.events(name, headers={"Last-Event-ID": before}):
            rest += event.data["m"] if event.event == "log" else []
        (found,) = numbers(texts[:known] + rest).values()
        assert found == list(range(LINES)), "a reader that resumed after the power cut did not get each line once"
    finally:
        server.close()


def _copy_store(home: Home, to: Path) -> Path:
    """Copy the store's files in their present state; return the store's path."""
    (store,) = home.path.rglob("recordings.sqlite")
    end = time.monotonic() + 120
    while time.monotonic() < end:
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        changed = store.stat().st_mtime_ns
        shutil.copy(store, to)
        shutil.copy(store.with_name(store.name + "-wal"), to)
        if store.stat().st_mtime_ns == changed:  # no checkpoint happened during the copy
            return store
    raise AssertionError("the store could not be copied between two checkpoints")
