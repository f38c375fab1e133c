"""Random faults for half an hour on the sandbox with several Jobs: `python tests/torture/soak.py [MINUTES] [SEED]`.

One recorder and one store; in each round, several Jobs are read to their ends during faults. The received lines are compared
with the files on the node. The exit code is 1 if a line is lost without a gap notice, duplicated, or out of order.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from conftest import run_sandbox  # noqa: E402 - needs the path set above
from faults.case import Case  # noqa: E402
from faults.oracle import NodeLogs  # noqa: E402
from faults.received import check_received  # noqa: E402
from support.jupyter import counter  # noqa: E402
from support.kube import python_job  # noqa: E402

from cortex_jupyter.reader.session import Session  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS, LINES, RATE = 3, 12_000, 600


class Soak:
    """The soak test with its figures."""

    def __init__(self, sandbox: Any, recordings: Session, folder: Path, seed: int) -> None:
        self.sandbox, self.recordings, self.folder = sandbox, recordings, folder
        self.random = random.Random(seed)
        self.injected: Counter[str] = Counter()
        self.figures: Counter[str] = Counter()
        self.errors: list[str] = []
        self.memory = 0

    async def round(self, number: int) -> None:
        """Run Jobs to their ends under faults, then check what was received."""
        with ExitStack() as stack:
            cases = []
            for i in range(JOBS):
                name = f"soak-{number}-{i}"
                disk = stack.enter_context(NodeLogs(self.sandbox.root, name))
                cases.append(Case(self.sandbox, self.recordings, disk, name, self.folder))
                self.sandbox.kube.create(python_job(name, counter(LINES, per_second=RATE), parallelism=1 + i % 2))
            injecting = asyncio.create_task(self._inject_faults(cases))
            try:
                async with asyncio.timeout(600):
                    await asyncio.gather(*(case.read() for case in cases))
            except TimeoutError:
                self.errors.append(f"round {number} did not end")
            injecting.cancel()
            await asyncio.gather(injecting, return_exceptions=True)
            self._continue_recorders()
            self.sandbox.clear()
            for case in cases:
                self._check(case)
                self.sandbox.kube.delete("jobs", case.name)

    def _check(self, case: Case) -> None:
        written = case.node_logs.lines()
        figures = {"lines in": sum(map(len, written.values())), "lines out": case.received.count}
        self.figures.update(figures | {"doubled": case.received.duplicates, "gaps stated": len(case.received.gaps)})
        try:
            self.figures["missing, within gaps"] += check_received(written, case.received)
        except AssertionError as error:
            self.errors.append(f"{case.name}: {error}")

    # ------------------------------------------------------------ faults

    async def _inject_faults(self, cases: list[Case]) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0.2, 4))
            name, inject = self.random.choice(self._faults(self.random.choice(cases)))
            self.injected[name] += 1
            await inject()
            self._measure()

    def _faults(self, case: Case) -> list[tuple[str, Callable[[], Any]]]:
        rng = self.random

        def set_(kind: str, **options: Any) -> tuple[str, Callable[[], Any]]:
            return kind, lambda: asyncio.to_thread(case.fault, kind, **options)

        code, after = rng.choice([401, 429, 500, 503]), rng.randrange(200_000)
        return [
            set_("cut", after_bytes=after, count=rng.randint(1, 3)),
            set_("abort", after_bytes=after, count=rng.randint(1, 3)),
            set_("stall", after_bytes=after, count=1),
            set_("garbage", count=1),
            set_("status", code=code, path=rng.choice(["/log\\?", "/api", "watch=1"]), count=rng.randint(1, 8)),
            set_("blind", count=1),
            set_("rotate"),
            set_("rotate"),
            set_("expire"),
            set_("clock", offset=-0.2, count=1),
            ("kill the recorder", lambda: self._signal(signal.SIGKILL)),
            ("stop the recorder", lambda: self._signal(signal.SIGSTOP)),
            ("continue the recorder", self._continue),
            ("stop the API", self._stop_api),
            ("clear all faults", self._clear_faults),
        ]

    async def _signal(self, number: int) -> None:
        assert self.recordings.cluster is not None
        recorder = self.recordings.store.recorder(self.recordings.cluster.host)
        if recorder is not None:
            with suppress(ProcessLookupError):
                os.kill(recorder.pid, number)

    async def _continue(self) -> None:
        self._continue_recorders()

    async def _clear_faults(self) -> None:
        await asyncio.to_thread(self.sandbox.clear)

    async def _stop_api(self) -> None:
        os.kill(self.sandbox.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(self.random.uniform(0.5, 6))
        finally:
            os.kill(self.sandbox.pid, signal.SIGCONT)

    def recorders(self) -> list[int]:
        """Return the process ids of this store's recorders."""
        return Case.recorder_pids(self.recordings.store.url)

    def _continue_recorders(self) -> None:
        for pid in self.recorders():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _measure(self) -> None:
        for pid in self.recorders():
            with suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                self.memory = max(self.memory, pages * os.sysconf("SC_PAGE_SIZE") >> 20)

    def show(self, rounds: int, seconds: float) -> None:
        """Print the figures."""
        lines = [f"{rounds} rounds of {JOBS} Jobs in {seconds / 60:.1f} min"]
        lines += [f"{name}: {n}" for name, n in self.figures.items()]
        lines += [f"faults: {', '.join(f'{n} {name}' for name, n in sorted(self.injected.items()))}"]
        lines += [f"largest recorder: {self.memory} MiB", *(f"WRONG {name}" for name in self.errors)]
        sys.stdout.write("\n".join([*lines, "", ""]))
        sys.stdout.flush()


async def main(minutes: float, seed: int) -> int:
    """Run rounds for the given time."""
    start, rounds = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as name, run_sandbox(Path(name) / "s", "--log-check", "1") as sandbox:
        folder = Path(name)
        recordings = await Session.connect(f"sqlite://{folder}/store/r.sqlite", str(sandbox.kubeconfig))
        soak = Soak(sandbox, recordings, folder, seed)
        try:
            while time.monotonic() < start + minutes * 60:
                rounds += 1
                await soak.round(rounds)
                soak.show(rounds, time.monotonic() - start)
        finally:
            await recordings.close()
            await Case.end_recorders(recordings.store.url)
    return 1 if soak.errors else 0


if __name__ == "__main__":
    minutes, seed = (float(a) for a in (sys.argv[1:] + ["30", "1"][len(sys.argv) - 1 :])[:2])
    sys.exit(asyncio.run(main(minutes, int(seed))))
