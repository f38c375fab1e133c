"""The previous release and this version on one Valkey server: collectors and servers of both, for one task."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.jupyter import Home, Jupyter, jupyter
from support.kube import python_job
from support.release import install_commit
from support.valkey import Server

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import NewSandbox

#: The first release with collectors. Change it with each release.
BEFORE = "db426357c40ec9bcee6c2460ea7d58307ac82500"
#: Lines of each part of the task. A part waits for a file.
LINES = 300
PARTS = ("one", "two", "three")
PROGRAM = """
import os, time
for part, gate in enumerate({gates}):
    while gate and not os.path.exists(gate):
        time.sleep(0.02)
    for i in range({lines}):
        print('line %08d' % (part * {lines} + i), flush=True)
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_commit(BEFORE, tmp_path_factory.mktemp("before"))


@contextlib.contextmanager
def collecting(home: Home, label: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a collector of this user's version."""
    command = [sys.executable, "-P", "-m", "cortex_jupyter.cli", "record", "--all", "-n", "default", "-l", label]
    with (home.path / "collector.log").open("ab") as log:
        process = subprocess.Popen(command, env=home.env, cwd=home.path, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(120)


class Reader:
    """Follows a task through a server until it ends."""

    def __init__(self, server: Jupyter, name: str, pool: ThreadPoolExecutor) -> None:
        self.texts: list[str] = []
        self.kinds: list[str] = []
        self.end = pool.submit(self._read, server, name)

    def _read(self, server: Jupyter, name: str) -> None:
        for event in server.events(name, since="all"):
            self.kinds.append(event.event)
            self.texts += event.data["m"] if event.event == "log" else []

    def has(self, lines: int) -> bool:
        if self.end.done():
            self.end.result()
        return len(self.texts) >= lines


def test_collectors_and_servers_of_both_releases_share_a_task(
    before: Path, new_sandbox: NewSandbox, unique: Callable[[str], str], tmp_path: Path
) -> None:
    """An update and a rollback: the older collector, then this one, then the older one again."""
    name = unique("neighbours")
    gates = {part: tmp_path / part for part in PARTS}
    expected = [f"line {i:08}" for i in range(len(PARTS) * LINES)]
    job = python_job(name, PROGRAM.format(gates=["", *(str(gates[p]) for p in PARTS[1:])], lines=LINES))
    job["metadata"]["labels"] = {"recorded": name}
    job["spec"]["template"]["metadata"]["labels"]["recorded"] = name  # the label that this version's selector matches
    with contextlib.ExitStack() as stack:
        # The older release cannot read the compressed lists of a namespace with many pods.
        sandbox = stack.enter_context(new_sandbox(tmp_path / "sandbox", "--bookmark", "1"))
        kube = sandbox.kube
        valkey = stack.enter_context(Server(tmp_path / "valkey", appendonly="yes"))
        homes = {}
        for version, more in (("old", {"PYTHONPATH": str(before)}), ("new", {})):
            (tmp_path / version).mkdir()
            homes[version] = Home(tmp_path / version, sandbox.kubeconfig, {"CORTEX_STORE": valkey.url} | more)
            stack.callback(homes[version].end)
        store = stack.enter_context(contextlib.closing(open_store(valkey.url)))
        pool = stack.enter_context(ThreadPoolExecutor())  # entered before the servers: when they stop, its readers end

        def holder() -> int:
            """Return the process that records the task."""
            for info in store.recordings():
                owner = store.holders([info.id])[info.id]
                return next((one.pid for one in store.recorders(info.cluster) if one.id == owner), 0)
            return 0

        first = stack.enter_context(collecting(homes["old"], f"recorded={name}"))
        kube.create(job)
        kube.wait_for(lambda: holder() == first.pid, "the older collector to record what nobody watches")
        servers = {version: stack.enter_context(jupyter(home)) for version, home in homes.items()}
        readers = {version: Reader(server, name, pool) for version, server in servers.items()}

        def all_have(part: str) -> None:
            lines = (PARTS.index(part) + 1) * LINES
            for version, one in readers.items():
                kube.wait_for(lambda one=one: one.has(lines), f"{part} at the {version} server")

        def both_are_there() -> None:
            kube.wait_for(lambda: len(store.recorders(store.recordings()[0].cluster)) == 2, "both to be there")

        all_have("one")
        second = stack.enter_context(collecting(homes["new"], f"recorded={name}"))
        both_are_there()  # without a collector, the servers would start their own recorders
        first.send_signal(signal.SIGTERM)
        assert first.wait(120) == 0
        kube.wait_for(lambda: holder() == second.pid, "this version's collector to take it over")
        gates["two"].touch()
        all_have("two")
        third = stack.enter_context(collecting(homes["old"], f"recorded={name}"))
        both_are_there()
        second.kill()
        kube.wait_for(lambda: holder() == third.pid, "the older collector to take it back")
        gates["three"].touch()
        for version, one in readers.items():
            one.end.result(120)
            assert one.texts == expected and "gap" not in one.kinds and one.kinds[-1] == "end", version

        # A completed task: the older release merges its batches, both read it, and neither starts a recorder.
        for version, server in servers.items():
            pages = [*server.pages(name)]
            assert [r["text"] for page in pages for r in page["records"]] == expected, version
        assert {version: home.recorders() for version, home in homes.items()} == {"old": [], "new": []}
        for pid in (third.pid, servers["old"].process.pid):
            assert str(before) in Path(f"/proc/{pid}/environ").read_text()
        assert str(before) in homes["old"].python("import cortex_jupyter; print(cortex_jupyter.__file__)")
