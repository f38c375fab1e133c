"""The recorder and the server are killed in mid-stream. The SSE client and the DataFrame have each line once."""

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


def test_no_line_is_lost_when_recorder_and_server_are_killed(
    home: Home, job: Callable[..., str], tmp_path: Path
) -> None:
    # The task writes until the last kill, because a finished task has no recorder to kill.
    kills_done = tmp_path / "kills-done"
    name = job(counter(LINES, per_second=1500, until=str(kills_done)))
    server = Jupyter(home)
    texts: list[str] = []
    cursor, ended = "", False
    kills: list[Callable[[], None]] = [
        lambda: _kill_recorders(home),
        lambda: server.close(signal.SIGKILL),
        lambda: _kill_recorders(home),
        lambda: server.close(),  # noqa: PLW0108 - `server` may be another one by then
    ]
    due = [LINES * n // (len(kills) + 1) for n in range(1, len(kills) + 1)]
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
                    kills.pop(0)()
                    if not kills:
                        kills_done.touch()
                    if server.process.poll() is not None:
                        break  # events that have come already would be read on, and no server starts the next recorder
        except (httpx.TransportError, httpx_sse.SSEError):
            pass
        if server.process.poll() is not None:
            server = Jupyter(home, port=server.port)
    assert not kills, "the task ended before the last kill"
    (received,) = numbers(texts).values()
    assert len(received) >= LINES and received == list(range(len(received)))
    server.close()
    out = home.python(
        f"import cortex_jupyter as c; f = c.logs({name!r}).to_pandas(); print(len(f), f.seq.is_unique, f.text.is_unique)"
    )
    assert out.split() == [str(len(received)), "True", "True"]


def _kill_recorders(home: Home) -> None:
    end = time.monotonic() + 120
    while not (pids := home.recorders()):  # after a kill, the next recorder may still be starting
        assert time.monotonic() < end, "no recorder runs"
        time.sleep(0.02)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
