"""Compute how much of each part a fleet uses, from the mean rates of its containers, and what to add if it is too much.

A simulation of half an hour in steps agreed with these means within 10 % and changed no answer; see architecture.md,
"What was tried and rejected".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from simulate.fleet import BURST_SHARE, LONGEST_S, TIME_SIGMA, Fleet, Population

from cortex_jupyter.recorder.source.stream import _LONGEST_SILENT_S
from cortex_jupyter.recorder.source.stream_limiter import MAX_STREAMS, MAX_STREAMS_PER_NODE
from cortex_jupyter.recorder.writing.writer import INTERVAL_S, UNREAD_S
from cortex_jupyter.server.limits import Limits

if TYPE_CHECKING:
    from simulate.parameters import Parameters

#: Highest planned load of a part. A busier one has no reserve for bursts and for the work of a failed one.
PLANNED: Final = 0.6
#: How often a collector reads which collector records which task (per second).
LOOKS: Final = 1.0
#: Memory limit in the collector's Deployment (`record --manifests`, MB).
COLLECTOR_MB: Final = 2 << 10
#: Uploads per second and prefix of a bucket (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html).
BUCKET_REQUESTS: Final = 3500
#: Maximum number of streams of a server process.
STREAMS: Final = Limits.max_streams.default_value
#: Requests per second of an API server: it handles 400 at once (`--max-requests-inflight`), and a request takes up to a second.
API_REQUESTS: Final = 400
#: Mean number of lines in small batches that are not merged into a large one yet.
UNMERGED: Final = 1000
_MOMENTS: Final = 16


@dataclass(frozen=True)
class Part:
    """A part of an installation.

    Parameters
    ----------
    name : str
    uses : float
        How much of it the fleet uses.
    each : float
        Capacity of a single instance, in the same unit.
    count : float
        Number of instances.
    amount : str
        How much the fleet uses, as text.
    add : str
        What to add if the load is too high.
    max_load : float
        Highest allowed load: 1 for numbers such as streams, less for CPU and memory.
    """

    name: str
    uses: float
    each: float
    count: float
    amount: str
    add: str
    max_load: float = PLANNED

    @property
    def needed(self) -> float:
        """How many instances the fleet keeps busy."""
        return self.uses / self.each

    @property
    def load(self) -> float:
        """The used share of all instances."""
        return self.needed / self.count


class FleetLoads:
    """The loads of a fleet.

    Parameters
    ----------
    fleet : Fleet
        If `collectors` is 0, as many are assumed as are needed while one of them is down.
    parameters : Parameters
    population : Population, optional
    bursts : bool, optional
        Whether containers write in bursts.
    seen : ndarray, optional
        The task of each viewer; random by default.
    """

    def __init__(
        self,
        fleet: Fleet,
        parameters: Parameters,
        population: Population | None = None,
        *,
        bursts: bool = True,
        seen: np.ndarray | None = None,
    ) -> None:
        self.p = parameters
        drawn = population or Population(fleet, np.random.default_rng(1))
        self.lines = float(drawn.rate.sum())
        self.starts = fleet.tasks / (fleet.task_minutes * 60)
        if seen is None:
            seen = np.random.default_rng(2).integers(0, fleet.tasks, fleet.viewers)
        viewers = np.bincount(seen, minlength=fleet.tasks)
        # Containers that burst at the same time share batches, so take the mean over some moments.
        rng, commits = np.random.default_rng(3), np.zeros(fleet.tasks)
        for _ in range(_MOMENTS):
            on = (rng.random(fleet.containers) < BURST_SHARE) if bursts else BURST_SHARE
            task_rate = np.bincount(drawn.task, drawn.rate / BURST_SHARE * on, fleet.tasks)
            commits += batches(task_rate, np.where(viewers, INTERVAL_S, UNREAD_S)) / _MOMENTS
        self.commits, self.sends = float(commits.sum()), float(commits @ viewers)
        self.events = float(commits[viewers > 0].sum())
        rate = np.bincount(drawn.task, drawn.rate, fleet.tasks)
        self._written, self._per_line = rate * drawn.age, np.minimum(commits / rate, 1)
        # In the long run no log is probed more often than this, silent or not: see `StallThreshold` in recorder/source/stream.py.
        self.probes = fleet.containers / _LONGEST_SILENT_S
        self.fleet = fleet if fleet.collectors else replace(fleet, collectors=self._collectors(fleet))

    @property
    def work(self) -> float:
        """Cores that all collectors together use, without the work that does not depend on a collector's share."""
        p, f = self.p, self.fleet
        us = self.lines * (p.line_us + p.read_us) + self.commits * p.commit_us + f.containers * p.source_us
        return us / 1e6 + (self.starts * f.containers / f.tasks * p.start_ms + self.probes * p.probe_ms) / 1e3

    def _collectors(self, fleet: Fleet) -> int:
        self.fleet = fleet
        looks = fleet.tasks * self.p.share_us * LOOKS / 1e6 + self.p.own_ms / 1e3
        needed = self.work / max(PLANNED - looks, 0.05)
        return max(2, math.ceil(needed), math.ceil(fleet.containers / MAX_STREAMS)) + 1

    @property
    def takeover_s(self) -> float:
        """CPU time that each other collector needs to take over its share of a dead collector's containers (s)."""
        f = self.fleet
        return f.containers / f.collectors * self.p.start_ms / 1e3 / max(f.collectors - 1, 1)

    def running_bytes(self) -> float:
        """Return the memory of Valkey for running tasks.

        By Little's law this is lines per second times the mean time that a line is kept before its task ends.
        """
        f, p = self.fleet, self.p
        kept = self.lines * mean_age(f.task_minutes * 60) * p.line_bytes
        if f.task_gb:
            kept = float(np.minimum(self._written * p.line_bytes, f.task_gb * 1e9).sum())
        return kept + f.tasks * p.task_kb * 1e3 + self.tail_bytes()

    def tail_bytes(self) -> float:
        """Return the additional memory for the last lines of each task until they are merged.

        A commit of few lines takes more memory for its other data than for the lines.
        """
        return float((np.minimum(UNMERGED, self._written) * self._per_line).sum()) * self.p.entry_bytes

    def parts(self) -> list[Part]:
        """Return all parts, the busiest first."""
        f, p = self.fleet, self.p
        looks = f.collectors * LOOKS * f.tasks
        collector = self.work + looks * p.share_us / 1e6 + f.collectors * p.own_ms / 1e3
        memory = p.base_mb + (f.containers / f.collectors * p.source_kb + f.containers * p.pod_kb) / 1e3
        valkey = self.lines * p.valkey_line_us + self.commits * p.valkey_commit_us + looks * p.valkey_share_us
        valkey += f.collectors * p.valkey_own_ms * 1e3
        server = self.events * p.event_us + self.sends * p.send_us + f.servers * p.server_own_ms * 1e3
        archiver = self.lines * p.archive_line_us / 1e6 + self.starts * p.archive_start_ms / 1e3
        upload = self.lines * p.archive_bytes / 1e6
        started = self.starts * f.containers / f.tasks * (p.start_requests + p.end_requests)
        running = self.running_bytes() / 1e9
        uploads, asked = self.starts * p.archive_requests, self.probes + started
        parts = [
            Part("collectors: CPU", collector, 1, f.collectors, f"{collector:.2f} cores", "collectors (--replicas)"),
            Part(
                "collectors: logs read at once",
                f.containers,
                MAX_STREAMS,
                f.collectors,
                f"{f.containers:,}",
                "collectors, or --streams",
                1,
            ),
            Part(
                "collectors: memory",
                memory,
                COLLECTOR_MB,
                1,
                f"{memory:.0f} MB each",
                "collectors, or to their memory limit",
            ),
            Part(
                "Valkey: its one thread",
                valkey / 1e6,
                1,
                1,
                f"{valkey / 1e6:.2f} cores",
                "a second Valkey, for other namespaces",
            ),
            Part(
                "Valkey: memory for what runs",
                running,
                f.valkey_gb,
                1,
                f"{running:.1f} GB",
                "to maxmemory, or set store_max_task_bytes",
            ),
            Part("bucket: bytes", upload, f.bucket_mb, 1, f"{upload:.2f} MB/s", "a faster bucket"),
            Part("bucket: requests", uploads, BUCKET_REQUESTS, 1, f"{uploads:.1f}/s", "prefixes"),
            Part(
                "archivers: CPU, one beside each collector",
                archiver,
                1,
                f.collectors,
                f"{archiver:.2f} cores",
                "collectors",
            ),
            Part("servers: CPU", server / 1e6, 1, f.servers, f"{server / 1e6:.2f} cores", "server processes"),
            Part(
                "servers: streams",
                f.viewers,
                STREAMS,
                f.servers,
                f"{f.viewers:,}",
                "server processes, or to max_streams",
                1,
            ),
            Part("API server: requests", asked, API_REQUESTS, 1, f"{asked:.0f}/s", "API servers"),
            Part(
                "kubelets: logs followed on a node",
                f.containers,
                MAX_STREAMS_PER_NODE,
                f.nodes,
                f"{f.containers / f.nodes:.0f}",
                "nodes, or to fs.inotify.max_user_instances and --streams-per-node",
                1,
            ),
        ]
        return sorted(parts, key=lambda part: part.load, reverse=True)


def batches(rate: np.ndarray, interval: np.ndarray | float) -> np.ndarray:
    """Return the number of batches per second of lines that arrive one by one (a Poisson process).

    The first line goes out at once, and those that arrive within the interval after it go together. So batches renew
    every interval plus mean time between lines.
    """
    per_second: np.ndarray = rate / (1 + rate * interval)
    return per_second


def mean_age(mean: float) -> float:
    """Return the mean time since the start of the tasks that run at a given moment (seconds).

    This is E[T^2] / (2 E[T]) for durations T, limited to `LONGEST_S`.
    """
    mu = math.log(mean) - TIME_SIGMA**2 / 2

    def moment(k: int) -> float:
        cut = (math.log(LONGEST_S) - mu) / TIME_SIGMA
        below = math.exp(k * mu + (k * TIME_SIGMA) ** 2 / 2) * _normal(cut - k * TIME_SIGMA)
        return below + LONGEST_S**k * (1 - _normal(cut))

    return moment(2) / (2 * moment(1))


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
