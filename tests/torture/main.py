"""`make torture`: 60 000 lines at 1 000 a second with rotation at 1 MiB, read in three ways at once, twice.

    KUBECONFIG=... python tests/torture/main.py [--lines N] [--undisturbed] [--masked]

In the second run the API server is killed twice and the recorder three times. Without KUBECONFIG the cluster is the
sandbox, with follows that miss rotations as a kubelet's do; its API server answers errors for a while instead of being
killed. A real cluster must rotate at 1 MiB (CLUSTER_LOG_MAX=1Mi). The exit code is 1 if our recording lacks a line
without a gap notice, or has one twice. With `--masked` each line holds a secret, and a stored secret is an error too.
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

from conftest import run_sandbox  # noqa: E402 - needs the path set above
from faults.components import Component, restart_api  # noqa: E402
from support.hand import until  # noqa: E402
from support.jupyter import counter  # noqa: E402
from support.kube import Kube, python_job  # noqa: E402
from torture.readers import ReaderResult, RecordingReader, run_follower  # noqa: E402

from cortex_jupyter.reader.session import Session  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Lines per second.
RATE = 1000
_SECRET = "'password=s3cr3t%08d ' % i + 'x' * 40"


@contextmanager
def cluster() -> Iterator[tuple[Kube, Callable[[], None]]]:
    """Yield a client of the cluster, and a function that makes the API server fail for a while."""
    if config := os.environ.get("KUBECONFIG"):
        kube, api = Kube(config), Component(config, "apiserver")
        yield kube, lambda: restart_api(kube, api) if api.is_local else None
        kube.close()
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        run_sandbox(Path(folder) / "s", "--log-max-size", str(1 << 20), "--log-check", "10") as sandbox,
    ):
        sandbox.fault("blind")

        def fail_api() -> None:
            sandbox.fault("status", code=503, path="/api", count=8)
            sandbox.fault("abort", count=2)

        yield sandbox.kube, fail_api


async def torture(
    kube: Kube, folder: Path, lines: int, fail_api: Callable[[], None] | None, *, masked: bool
) -> list[ReaderResult]:
    """Run a pod and its readers to the end; return the result of each reader."""
    name = f"torture-{uuid.uuid4().hex[:6]}"
    recordings = await Session.connect(f"sqlite://{folder}/r.sqlite", str(kube.kubeconfig), mask=masked)
    program = counter(lines, per_second=RATE)
    kube.create(python_job(name, program.replace("'x' * 60", _SECRET) if masked else program))
    try:
        running = lambda: [p for p in kube.pods_of(name) if p["status"]["phase"] == "Running"]  # noqa: E731
        (pod,) = await asyncio.to_thread(kube.wait_for, running, "the pod")
        reader = RecordingReader(recordings, name)
        follow = ["logs", "-f", pod["metadata"]["name"]]
        followers = [
            asyncio.create_task(
                run_follower("kubectl logs -f", ["kubectl", *follow], folder / "kubectl", kube.kubeconfig)
            ),
            asyncio.create_task(
                run_follower("stern", ["stern", name, "--output", "raw"], folder / "stern", kube.kubeconfig)
            ),
        ]
        faults = asyncio.create_task(_inject_faults(reader, recordings, lines, fail_api)) if fail_api else None
        result = await reader.read()
        if masked:
            result.masked = reader.masked()
        if faults is not None:
            await faults
        await asyncio.wait(followers, timeout=10)
        for task in followers:
            task.cancel()
        return [*[c for c in await asyncio.gather(*followers) if c], result]
    finally:
        await asyncio.to_thread(_end_recorder, recordings)
        await recordings.close()
        kube.delete("jobs", name)


async def _inject_faults(
    reader: RecordingReader, recordings: Session, lines: int, fail_api: Callable[[], None]
) -> None:
    """Inject five faults, one after each sixth of the lines."""
    kill = lambda: _end_recorder(recordings)  # noqa: E731

    def has_lines(sixths: int) -> Callable[[], bool]:
        return lambda: reader.received.count >= lines * sixths / 6

    for number, inject in enumerate([kill, fail_api, kill, fail_api, kill], 1):
        await until(has_lines(number), 600)
        await asyncio.to_thread(inject)


def _end_recorder(recordings: Session) -> None:
    assert recordings.cluster is not None
    if recorder := recordings.store.recorder(recordings.cluster.host):
        with suppress(ProcessLookupError):
            os.kill(recorder.pid, signal.SIGKILL)


def show(title: str, results: list[ReaderResult], lines: int) -> bool:
    """Print the table of a run; return whether our recording is complete."""
    _print(f"\n{title}\n{'reader':16}  {'lines':>15}  {'duplicates':>10}  {'gaps stated':>11}  ended")
    for result in results:
        distinct, gaps = len(set(result.numbers)), "-" if result.gaps is None else result.gaps
        _print(
            f"{result.reader:16}  {distinct:>6} of {lines:>6}  {len(result.numbers) - distinct:>10}  {gaps:>11}  {result.ended}"
        )
    ours = results[-1]
    if ours.masked is not None:
        _print(f"masked: {ours.masked[0]} lines, {ours.masked[1]} by its own count; not masked: {ours.masked[2]}")
    has_both_ends = ours.numbers[:1] == [0] and ours.numbers[-1:] == [lines - 1]
    if ours.unaccounted:
        _print(f"{ours.unaccounted} lines of our recording are missing without a gap notice")
    all_masked = ours.masked in (None, (len(ours.numbers), len(ours.numbers), 0))
    return (
        ours.numbers == sorted(set(ours.numbers))
        and not ours.unaccounted
        and (has_both_ends or bool(ours.gaps))
        and all_masked
    )


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main() -> int:
    """Run without faults, then with them."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lines", type=int, default=60_000)
    arguments.add_argument("--undisturbed", action="store_true", help="the first run only")
    arguments.add_argument("--masked", action="store_true", help="mask secrets before lines are stored")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster() as (kube, fail_api):
        runs: list[tuple[str, Any]] = [("rotation at 1 MiB", None)]
        if not options.undisturbed:
            runs.append(("the same; API server killed twice, recorder three times", fail_api))
        complete = []
        for title, inject in runs:
            run_folder = Path(tempfile.mkdtemp(dir=folder))
            complete.append(
                show(
                    title, await torture(kube, run_folder, options.lines, inject, masked=options.masked), options.lines
                )
            )
    return 0 if all(complete) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
