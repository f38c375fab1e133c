"""A day of 100 lines per second in compressed time: the memory of the recorder and of a reader must not grow.

The recorder is a real process, and this module plays its API server. A single pod's log has the timestamps of a day, but is
written as fast as it is read. Batches hold one second of it and merging passes run twenty times as often, so that a day's
number of batches, anchors and passes occurs.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from cortex_jupyter.model import TaskRef, rfc3339
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from bench.report import Report

    from cortex_jupyter.store import Store

HOURS, PER_SECOND = 24, 100
_HOUR: Final = 3600 * PER_SECOND
LINES: Final = HOURS * _HOUR
_RECORDER = """
import sys
import aiohttp
from cortex_jupyter.recorder import upkeep
from cortex_jupyter.recorder.writing import writer
async def readany(self):
    return await self.read(8 << 10)
aiohttp.StreamReader.readany = readany
writer.FULL = 8 << 10
upkeep._COMPACT_S /= 20
from cortex_jupyter.recorder.__main__ import main
sys.exit(main())
"""
_READER = """
import asyncio, sys
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.store.open import open_store
async def read(url, id_):
    store = open_store(url)
    lines = 0
    async for event in Feed(store, id_).events():
        lines += event.entry.n if event.event == "log" else 0
    print(lines)
    store.close()
asyncio.run(read(sys.argv[1], int(sys.argv[2])))
"""


class Api:
    """The part of an API server that a recorder of one pod needs."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.sent = 0
        self._t0 = time.time_ns() // 1_000_000_000 - HOURS * 3600
        rows = [f"@.{i * 10**7:09d}Z INFO trainer step {i} loss=0.{i:04d}\n".encode() for i in range(PER_SECOND)]
        self._second = b"".join(rows)

    def second(self, number: int) -> bytes:
        """Return the lines of one second."""
        return self._second.replace(b"@", rfc3339((self._t0 + number) * 1_000_000_000)[:19].encode())

    @property
    def pod(self) -> dict[str, Any]:
        """The pod object in its present state."""
        over = self.ended.is_set()
        state: dict[str, Any] = {"running": {"startedAt": rfc3339(self._t0 * 1_000_000_000)}}
        if over:
            state = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": rfc3339(time.time_ns())}}
        status = {"name": "main", "restartCount": 0, "containerID": "containerd://1", "state": state}
        return {
            "metadata": {
                "name": "day",
                "namespace": "default",
                "uid": "uid-day",
                "resourceVersion": "2" if over else "1",
                "creationTimestamp": rfc3339(self._t0 * 1_000_000_000),
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
            "status": {"phase": "Succeeded" if over else "Running", "containerStatuses": [status]},
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        path = request.path
        if path.endswith("/log"):
            return await self._log(request)
        if "/proxy/logs/" in path:
            return web.Response(text='<a href="0.log">0.log</a>')
        if path.endswith("/pods/day"):
            return web.json_response(self.pod)
        items = [self.pod] if path.endswith("/pods") else []
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        await self.ended.wait()
        if items:
            await response.write(orjson.dumps({"type": "MODIFIED", "object": self.pod}) + b"\n")
        await asyncio.sleep(30)
        return response

    async def _log(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if "tailLines" in request.query:
            tail = int(request.query["tailLines"])
            lines = self.second(HOURS * 3600 - 1).splitlines(keepends=True)
            await response.write(b"".join(lines[-tail:]))
        else:
            assert not self.sent, "the recorder opened a second log stream"
            for number in range(HOURS * 3600):
                await response.write(self.second(number))
                self.sent += PER_SECOND
            self.ended.set()
        return response


def run(report: Report) -> None:
    """Measure memory during each hour's worth of lines."""
    asyncio.run(_measure(report))


async def _measure(report: Report) -> None:
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite://{folder}/r.sqlite")
        id_ = store.open(host, TaskRef.parse("pod/day"), "uid-day")
        store.want(id_, 3600)
        started = time.monotonic()
        recorder = _start(
            _RECORDER, "--store", store.url, "--kubeconfig", str(_kubeconfig(Path(folder), host)), "--idle", "0"
        )
        reader = _start(_READER, store.url, str(id_))
        memory = await _sample(store, id_, {"recorder": recorder, "reader": reader})
        took = time.monotonic() - started
        read = await asyncio.to_thread(lambda: int(reader.communicate()[0]))
        await asyncio.to_thread(recorder.wait)
        complete = store.complete(id_)
        assert (complete.records, complete.gaps, read) == (LINES, [], LINES), (complete, read)
        entries = len(store.index(id_))
        store.close()
    await runner.cleanup()
    for name, values in memory.items():
        shown = " ".join(f"{v:.0f}" for v in values)
        report.add(
            f"memory of a {name} after {HOURS} h, beyond the first", max(values[1:]) - values[0], 10, "MB", note=shown
        )
    report.add(f"{LINES / 1e6:.2f} M lines", took, None, "s", note=f"{entries} entries")


async def _sample(store: Store, id_: int, processes: dict[str, subprocess.Popen[bytes]]) -> dict[str, list[float]]:
    """Return the largest resident memory of each process during each hour's worth of lines (MB)."""
    found = {name: [0.0] * HOURS for name in processes}
    while (info := await asyncio.to_thread(store.info, id_)) is not None and not info.done:
        hour = min(info.last_seq // _HOUR, HOURS - 1)
        for name, process in processes.items():
            assert process.poll() is None, f"the {name} has ended"
            found[name][hour] = max(found[name][hour], _resident(process.pid))
        await asyncio.sleep(0.05)
    return found


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def _start(program: str, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, *options], stdout=subprocess.PIPE)


def _kubeconfig(folder: Path, host: str) -> Path:
    path = folder / "config"
    doc = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": host}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    }
    path.write_bytes(orjson.dumps(doc))
    return path
