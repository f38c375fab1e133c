"""`make torture`: 60 000 lines at 1 000 a second with rotation at 1 MiB, read in three ways at once, twice.

    KUBECONFIG=... python tests/torture/main.py [--lines N] [--undisturbed] [--masked]

The second run is the same while the API server is killed twice and the recorder three times. Without KUBECONFIG it is
the sandbox, whose follows miss rotations as a kubelet's do; its API then answers nothing for a while instead of being
killed. A cluster that is to rotate at 1 MiB is started with CLUSTER_LOG_MAX=1Mi. The exit code is 1 if a line of ours is
missing without a gap notice, or came twice; with `--masked`, where each line holds a secret, also if one is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from conftest import run_sandbox  # noqa: E402 - the folder above comes first
from faults.components import Component  # noqa: E402
from support.hand import until  # noqa: E402
from support.jupyter import counter  # noqa: E402
from support.kube import Kube, python_job  # noqa: E402
from torture.readers import Column, Ours, peer  # noqa: E402

from cortex_jupyter.reader.session import Recordings  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RATE = 1000
_SECRET = "'password=s3cr3t%08d ' % i + 'x' * 40"


@contextmanager
def cluster() -> Iterator[tuple[Kube, Callable[[], None]]]:
    """Return a client, and what takes the API server away for a while."""
    if config := os.environ.get("KUBECONFIG"):
        kube, server = Kube(config), Component(config, "apiserver")
        yield kube, server.kill_and_start if server.ours else lambda: None
        kube.close()
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        run_sandbox(Path(folder) / "s", "--log-max-size", str(1 << 20), "--log-check", "10") as sandbox,
    ):
        sandbox.fault("blind")

        def away() -> None:
            sandbox.fault("status", code=503, path="/api", count=8)
            sandbox.fault("abort", count=2)

        yield sandbox.kube, away


async def torture(
    kube: Kube, folder: Path, lines: int, away: Callable[[], None] | None, *, masked: bool
) -> list[Column]:
    """Run a pod and its readers to the end, and give what they got."""
    name = f"torture-{uuid.uuid4().hex[:6]}"
    recordings = await Recordings.connect(f"sqlite://{folder}/r.sqlite", str(kube.kubeconfig), mask=masked)
    program = counter(lines, per_second=RATE)
    kube.create(python_job(name, program.replace("'x' * 60", _SECRET) if masked else program))
    try:
        running = lambda: [p for p in kube.pods_of(name) if p["status"]["phase"] == "Running"]  # noqa: E731
        (pod,) = await asyncio.to_thread(kube.wait_for, running, "the pod")
        ours = Ours(recordings, name)
        follow = ["logs", "-f", pod["metadata"]["name"]]
        peers = [
            asyncio.create_task(peer("kubectl logs -f", ["kubectl", *follow], folder / "kubectl", kube.kubeconfig)),
            asyncio.create_task(peer("stern", ["stern", name, "--output", "raw"], folder / "stern", kube.kubeconfig)),
        ]
        blows = asyncio.create_task(_blows(ours, recordings, lines, away)) if away else None
        column = await ours.read()
        if masked:
            column.masked = ours.masked()
        if blows is not None:
            await blows
        await asyncio.wait(peers, timeout=10)
        for task in peers:
            task.cancel()
        return [*[c for c in await asyncio.gather(*peers) if c], column]
    finally:
        await asyncio.to_thread(_end_recorder, recordings)
        await recordings.close()
        kube.delete("jobs", name)


async def _blows(ours: Ours, recordings: Recordings, lines: int, away: Callable[[], None]) -> None:
    """Strike five times, each when a further sixth of the lines has come."""
    kill = lambda: _end_recorder(recordings)  # noqa: E731

    def came(sixths: int) -> Callable[[], bool]:
        return lambda: ours.seen.count >= lines * sixths / 6

    for number, blow in enumerate([kill, away, kill, away, kill], 1):
        await until(came(number), 600)
        await asyncio.to_thread(blow)


def _end_recorder(recordings: Recordings) -> None:
    assert recordings.cluster is not None
    if found := recordings.store.recorder(recordings.cluster.host):
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)


def show(title: str, columns: list[Column], lines: int) -> bool:
    """Print a run's table, and tell whether ours is whole."""
    _say(f"\n{title}\n{'reader':16}  {'lines':>15}  {'duplicates':>10}  {'gaps stated':>11}  ended")
    for c in columns:
        once, gaps = len(set(c.numbers)), "-" if c.gaps is None else c.gaps
        _say(f"{c.reader:16}  {once:>6} of {lines:>6}  {len(c.numbers) - once:>10}  {gaps:>11}  {c.ended}")
    ours = columns[-1]
    if ours.masked is not None:
        _say(f"masked: {ours.masked[0]} lines, {ours.masked[1]} by the statement; not masked: {ours.masked[2]}")
    ends = ours.numbers[:1] == [0] and ours.numbers[-1:] == [lines - 1]
    if ours.unaccounted:
        _say(f"{ours.unaccounted} numbers of ours are missing without a word")
    counted = ours.masked in (None, (len(ours.numbers), len(ours.numbers), 0))
    return ours.numbers == sorted(set(ours.numbers)) and not ours.unaccounted and (ends or bool(ours.gaps)) and counted


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main() -> int:
    """Run both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lines", type=int, default=60_000)
    arguments.add_argument("--undisturbed", action="store_true", help="the first run only")
    arguments.add_argument("--masked", action="store_true", help="mask secrets before lines are stored")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster() as (kube, away):
        runs: list[tuple[str, Any]] = [("rotation at 1 MiB", None)]
        if not options.undisturbed:
            runs.append(("the same; API server killed twice, recorder three times", away))
        whole = []
        for title, blow in runs:
            place = Path(tempfile.mkdtemp(dir=folder))
            whole.append(
                show(title, await torture(kube, place, options.lines, blow, masked=options.masked), options.lines)
            )
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
