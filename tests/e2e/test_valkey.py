"""Two users share a Valkey server. Their separate homes play two machines."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.jupyter import Home, counter, jupyter, numbers
from support.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINES = 8_000
PASSWORD = "s@cret/word"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    # With `everysec` a server whose disk is busy writes up to two seconds late, and a kill takes what it has confirmed.
    options = {"appendonly": "yes", "appendfsync": "always"}
    with Server(tmp_path / "valkey", requirepass=PASSWORD, **options) as server:
        yield server


@pytest.fixture
def users(tmp_path: Path, target: Any, valkey: Server) -> Iterator[list[Home]]:
    url = valkey.url.replace("//", "//:s%40cret%2Fword@")
    homes = []
    for name in "ab":
        (tmp_path / name).mkdir()
        homes.append(Home(tmp_path / name, target.kube.kubeconfig, {"CORTEX_STORE": url}))
    yield homes
    for home in homes:
        home.end()


def test_both_users_read_the_same_recording_though_the_server_dies(
    users: list[Home], valkey: Server, job: Callable[..., str]
) -> None:
    first, second = users
    name = job(counter(LINES, per_second=4000, wait=1), parallelism=2)
    texts: list[str] = []
    kinds: list[str] = []
    with jupyter(first) as server:
        for event in server.events(name, since="all"):
            kinds.append(event.event)
            if event.event == "log":
                texts += event.data["m"]
                if valkey.process is not None and not valkey.restarts and len(texts) > LINES // 2:
                    valkey.kill()
                    time.sleep(0.5)  # how long the server is down
                    valkey.start()
        found = numbers(texts)
        assert len(found) == 2 and all(n == list(range(LINES)) for n in found.values()), kinds
        assert kinds[-1] == "end" and "gap" not in kinds
        # Child processes of the Jupyter server can log in to Valkey too.
        path = f"{server.path(name, 'search')}?grep=line 00000042"
        assert server.client.get(path, headers={"Accept": "text/event-stream"}).text.count("line 00000042") == 2
        # On the other machine the same recording is read. One recorder serves both.
        follow = second.run(sys.executable, "-m", "cortex_jupyter.cli", "logs", name, "--since", "all")
        assert sorted(follow.stdout.splitlines()) == sorted(texts) and follow.returncode == 0, follow.stderr
        frame = (
            f"import cortex_jupyter as cortex; log = cortex.logs({name!r}); print(len(log.to_pandas()), log.complete)"
        )
        assert second.python(frame).startswith(f"{2 * LINES} ")
        doctor = second.run(sys.executable, "-m", "cortex_jupyter.cli", "doctor", "--timeout", "60").stdout
        assert f"store: {valkey.url}/0, 1 recording, " in doctor
        assert "snapshot" not in doctor
        valkey.ask("CONFIG", "SET", "appendonly", "no")
        doctor = second.run(sys.executable, "-m", "cortex_jupyter.cli", "doctor", "--timeout", "60").stdout
        assert "! store: a restart loses everything since its last snapshot" in doctor and "appendonly yes" in doctor
        assert len(first.recorders()) == 1 and not second.recorders()
        # The password is only in the environment of the processes that need it.
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (*first.recorders(), server.process.pid)]
        logs = [path.read_bytes() for home in users for path in home.path.rglob("*.log")]
        assert len(logs) > 1 and b"--store" in commands[0]
        shown = b"".join([*commands, *logs, doctor.encode(), follow.stderr.encode()])
        assert b"s@cret" not in shown and b"s%40cret" not in shown
