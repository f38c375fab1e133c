"""A hundred viewers of one live task compared with a single viewer, then with one slow viewer among the hundred.

The task writes 5 000 lines per second for ten seconds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench import load
from bench.load import Reader, Readers, Writers, count_errors, delays, parsed, percentile
from bench.report import Report, cpu, resident
from support.jupyter import TOKEN, Home, Jupyter

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube import Kube

LINES, PER_SECOND, VIEWERS, FEW = 50_000, 5000, 100, 10
#: Time between the connections of two viewers (s).
_APART_S = 0.03
#: Counts in the server what must happen once per batch (making an event), and what must never happen (encoding it).
_COUNTING = """
from prometheus_client import Counter
from cortex_jupyter.model import Batch
from cortex_jupyter.reader.events import StreamEvent
framed, encoded = Counter("bench_framed", "Batches made into events"), Counter("bench_encoded", "Batches encoded")
of, encode = StreamEvent.of.__func__, Batch.encode
def counted(cls, recording, entry):
    framed.inc(entry.event == "log")
    return of(cls, recording, entry)
def counting(self):
    encoded.inc()
    return encode(self)
StreamEvent.of, Batch.encode = classmethod(counted), counting
"""


def run(report: Report) -> None:
    """Measure with 1, 10 and 100 viewers."""
    with load.cluster() as (kube, folder):
        home = Home(folder / "home", kube.kubeconfig)
        home.path.mkdir()
        (folder / "config.py").write_text(_COUNTING)
        server = Jupyter(home, "server", None, f"--config={folder / 'config.py'}", *load.UNLIMITED)
        try:
            watch = _Watch(kube, server, folder)
            watch("warm", 1)  # the server imports modules and allocates what all viewers share
            one, alone = watch("one", 1)
            few, _ = watch("few", FEW)  # the baseline for memory: each thread has its connection to the store by then
            many, hundred = watch("many", VIEWERS)
            framed, encoded, batches = watch.framed, watch.encoded, watch.batches
            _, slow = watch("slow", VIEWERS, slow=True)
        finally:
            server.close()
            home.end()
    p95, alone95, slowed95 = (percentile(delays(found), 0.95) for found in (hundred, alone, slow[1:]))
    report.add(f"server CPU, {VIEWERS} viewers / 1", many.cpu / one.cpu, 4, note=f"{many.cpu:.2f} s / {one.cpu:.2f} s")
    note = f"{many.streaming:.2f} s / {one.streaming:.2f} s"
    report.add(
        "the same while lines come: without the arrival of each", many.streaming / one.streaming, None, note=note
    )
    report.add(f"memory per viewer beyond {FEW}", (many.rss - few.rss) * 1024 / (VIEWERS - FEW), 50, "kB")
    report.add("batches made into events, per batch", framed / batches, 1, note=f"{framed:.0f} of {batches}")
    report.add("batches encoded in the server", encoded, 0, "")
    report.add("delivery to all of them, p95", p95, 100, "ms", note=f"to one alone {alone95:.0f} ms")
    report.add(
        "the same to 99 beside a slow one",
        slowed95,
        100,
        "ms",
        note=f"to it {percentile(delays(slow[:1]), 0.95):.0f} ms",
    )
    report.add("lines lost, doubled or moved, of all", sum(sum(count_errors(r, LINES)) for r in hundred + slow), 0, "")


class _Cost:
    cpu = streaming = rss = 0.0


class _Watch:
    """Lets viewers watch a task to its end."""

    def __init__(self, kube: Kube, server: Jupyter, folder: Path) -> None:
        self._kube, self._server, self._folder = kube, server, folder
        self.framed = self.encoded = self.batches = 0.0
        self._before = (0.0, 0.0)

    def __call__(self, name: str, viewers: int, *, slow: bool = False) -> tuple[_Cost, list[Reader]]:
        """Return the server's cost, and the readers with what they received; a slow one is the first."""
        pid, cost = self._server.process.pid, _Cost()
        with Writers(self._kube, self._folder, LINES, PER_SECOND, name=name) as writers:
            used = cpu(pid)
            readers = asyncio.run(self._read(writers, viewers, cost, slow=slow))
            cost.cpu = cpu(pid) - used
        after = self._counters()
        self.framed, self.encoded = (now - then for now, then in zip(after, self._before, strict=True))
        self.batches = len({id(event) for r in readers for _, event in r.events if parsed(event)[0]})
        return cost, readers

    async def _read(self, writers: Writers, viewers: int, cost: _Cost, *, slow: bool) -> list[Reader]:
        url = self._server.url + self._server.path(writers.names[0], namespace=self._kube.namespace)
        headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"}
        hurry, readers = asyncio.Event(), Readers()
        tasks = []
        for i in range(viewers):
            task = readers.read(url + "?since=all", headers, None if i or not slow else hurry)
            tasks.append(asyncio.create_task(task))
            await asyncio.sleep(_APART_S)
        await asyncio.sleep(1)
        self._before = self._counters()  # counted from here: each viewer has read earlier records by itself
        cost.streaming = -cpu(self._server.process.pid)
        writers.begin()
        await asyncio.sleep(0.7 * LINES / PER_SECOND)
        cost.rss = resident(self._server.process.pid)
        await asyncio.sleep(0.4 * LINES / PER_SECOND)
        cost.streaming += cpu(self._server.process.pid)
        writers.end()
        await asyncio.wait(tasks[1:] or tasks)
        hurry.set()
        return await asyncio.gather(*tasks)

    def _counters(self) -> tuple[float, float]:
        text = self._server.client.get("metrics").text
        found = dict(line.split() for line in text.splitlines() if line.startswith("bench_") and "_total " in line)
        return float(found["bench_framed_total"]), float(found["bench_encoded_total"])
