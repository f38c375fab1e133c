"""200 viewers of 200 tasks, with one server and one recorder. Each task writes a few lines per second."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from bench import load
from bench.load import Reader, Readers, Writers, count_errors, delays, percentile
from bench.report import Report, cpu, resident
from support.hand import until
from support.jupyter import TOKEN, Home, Jupyter

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASKS, LINES, PER_SECOND = 200, 100, 5


def run(report: Report) -> None:
    """Measure on the sandbox, because a real node does not run 200 pods."""
    with load.sandbox() as (kube, folder):
        home = Home(folder / "home", kube.kubeconfig, {"CORTEX_STORE": f"sqlite://{folder}/r.sqlite"})
        home.path.mkdir()
        with _recorder(home, folder) as recorder, Writers(kube, folder, LINES, PER_SECOND, jobs=TASKS) as writers:
            server = Jupyter(home, "server", None, *load.UNLIMITED)
            try:
                server.client.get(server.path(writers.names[0]))  # so that the server has imported its modules
                figures, readers = asyncio.run(_read(server, recorder, writers))
            finally:
                server.close()
    lines = TASKS * LINES
    for name, used in zip(("server", "recorder"), figures[:2], strict=True):
        report.add(f"{TASKS} viewers of {TASKS} tasks: CPU of the {name} per second", used, None, "s")
    report.add(
        "CPU of both per million lines delivered", sum(figures[:2]) * LINES / PER_SECOND / lines * 1e6, None, "s"
    )
    report.add("memory of the server per viewer and task", figures[2] * 1024 / TASKS, None, "kB")
    report.add("delivery, p95", percentile(delays(readers), 0.95), 100, "ms")
    report.add("lines lost, doubled or moved", sum(sum(count_errors(r, LINES)) for r in readers), 0, "")


@contextmanager
def _recorder(home: Home, folder: Path) -> Iterator[int]:
    """Run a recorder for the server to find. All streams lead to one node, because the sandbox has only one."""
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--streams-per-node", str(TASKS)]
    with (folder / "recorder.log").open("wb") as log:
        process = subprocess.Popen(command, env=home.env, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def _read(server: Jupyter, recorder: int, writers: Writers) -> tuple[tuple[float, float, float], list[Reader]]:
    """Return the CPU per second of server and recorder while lines flow, and how much memory the server added (MB)."""
    readers, before = Readers(), resident(server.process.pid)
    headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"}
    tasks = []
    for name in writers.names:
        tasks.append(asyncio.create_task(readers.read(f"{server.url}{server.path(name)}?since=all", headers)))
        await asyncio.sleep(0.03)
    with closing(open_store(server.home.settings["CORTEX_STORE"])) as store:
        await until(lambda: sum(info.caught_up for info in store.recordings()) == TASKS, 120)
    seconds = LINES / PER_SECOND
    writers.begin()
    used = cpu(server.process.pid), cpu(recorder)
    await asyncio.sleep(seconds)
    of_server, of_recorder = (
        now - then for now, then in zip((cpu(server.process.pid), cpu(recorder)), used, strict=True)
    )
    grown = resident(server.process.pid) - before
    await asyncio.sleep(1)
    writers.end()
    return (of_server / seconds, of_recorder / seconds, grown), await asyncio.gather(*tasks)
