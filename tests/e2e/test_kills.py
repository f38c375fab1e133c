"""Recorder and server are killed in mid-stream: each line once, for the SSE client and in the DataFrame."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import httpx
import httpx_sse
from support.jupyter import Home, Jupyter, counter, numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = 12_000


def test_recorder_killed_and_server_restarted_in_mid_stream(
    home: Home, job: Callable[..., str], tmp_path: Path
) -> None:
    # It writes until the last blow has fallen: the recorder of a task that has ended is not there to be killed.
    blows_fallen = tmp_path / "blows-fallen"
    name = job(counter(LINES, per_second=1500, until=str(blows_fallen)))
    server = Jupyter(home)
    texts: list[str] = []
    cursor, ended = "", False
    blows: list[Callable[[], None]] = [
        lambda: _kill_recorders(home),
        lambda: server.close(signal.SIGKILL),
        lambda: _kill_recorders(home),
        lambda: server.close(),  # noqa: PLW0108 - whichever server there is by then
    ]
    due = [LINES * n // (len(blows) + 1) for n in range(1, len(blows) + 1)]
    while not ended:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": cursor} if cursor else {})
        try:
            for event in server.events(name, headers=headers, since="all"):
                cursor = event.id or cursor
                if event.event == "log":
                    texts += event.data["m"]
                assert event.event != "gap", event.data
                ended = event.event == "end"
                if due and len(texts) >= due[0]:
                    due.pop(0)
                    blows.pop(0)()
                    if not blows:
                        blows_fallen.touch()
        except (httpx.TransportError, httpx_sse.SSEError):
            pass
        if server.process.poll() is not None:
            server = Jupyter(home, port=server.port)
    assert not blows, "the task ended before every blow had fallen"
    (found,) = numbers(texts).values()
    assert len(found) >= LINES and found == list(range(len(found)))
    server.close()
    out = home.python(
        f"import cortex_jupyter as c; f = c.logs({name!r}).to_pandas(); print(len(f), f.seq.is_unique, f.text.is_unique)"
    )
    assert out.split() == [str(len(found)), "True", "True"]


def _kill_recorders(home: Home) -> None:
    end = time.monotonic() + 120
    while not (pids := home.recorders()):  # the one before has just been killed: the next is on its way
        assert time.monotonic() < end, "no recorder runs"
        time.sleep(0.02)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
