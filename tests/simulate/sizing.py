"""Compute how much of each part a fleet uses, from the mean rates of its containers, and what to add where it is too much.

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

#: A part that is busier than this at its usual load has nothing left for bursts and for what another leaves it.
PLANNED: Final = 0.6
#: How often a collector looks who has which task, per second.
LOOKS: Final = 1.0
#: Of the collector's Deployment (`record --manifests`), MB.
COLLECTOR_MB: Final = 2 << 10
#: Of one prefix of a bucket, each second (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html).
BUCKET_REQUESTS: Final = 3500
#: Of one server process.
STREAMS: Final = Limits.max_streams.default_value
#: An API server has 400 requests under way at once (`--max-requests-inflight`), each of up to a second.
API_REQUESTS: Final = 400
#: Lines that wait on average in small batches until they are merged with others into a large one.
UNMERGED: Final = 1000
_MOMENTS: Final = 16


@dataclass(frozen=True)
class Part:
    """One part of an installation.

    Parameters
    ----------
    name : str
    uses : float
        What the fleet takes of it.
    each : float
        What one of it has, in the same unit.
    count : float
        How many there are.
    amount : str
        What it takes, in words.
    add : str
        What to do where it is too much.
    most : float
        The share that may be used: all of what is counted, less of what works.
    """

    name: str
    uses: float
    each: float
    count: float
    amount: str
    add: str
    most: float = PLANNED

    @property
    def one(self) -> float:
        """How many of it the fleet keeps busy."""
        return self.uses / self.each

    @property
    def load(self) -> float:
        """The share that is used."""
        return self.one / self.count


class Paper:
    """The loads of a fleet.

    Parameters
    ----------
    fleet : Fleet
        With `collectors` of 0 as many are taken as it takes, also while one is away.
    parameters : Parameters
    population : Population, optional
    bursts : bool, optional
        Whether containers write in bursts.
    seen : ndarray, optional
        Of each viewer, the task; by chance unless given.
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
        people = population or Population(fleet, np.random.default_rng(1))
        self.lines = float(people.rate.sum())
        self.starts = fleet.tasks / (fleet.task_minutes * 60)
        if seen is None:
            seen = np.random.default_rng(2).integers(0, fleet.tasks, fleet.viewers)
        viewers = np.bincount(seen, minlength=fleet.tasks)
        # Bursts share batches: the mean over some moments.
        rng, commits = np.random.default_rng(3), np.zeros(fleet.tasks)
        for _ in range(_MOMENTS):
            on = (rng.random(fleet.containers) < BURST_SHARE) if bursts else BURST_SHARE
            task_rate = np.bincount(people.task, people.rate / BURST_SHARE * on, fleet.tasks)
            commits += batches(task_rate, np.where(viewers, INTERVAL_S, UNREAD_S)) / _MOMENTS
        self.commits, self.sends = float(commits.sum()), float(commits @ viewers)
        self.events = float(commits[viewers > 0].sum())
        rate = np.bincount(people.task, people.rate, fleet.tasks)
        self._written, self._per_line = rate * people.age, np.minimum(commits / rate, 1)
        # Silent or not, no log is asked more often than that for long: see `StallThreshold` in recorder/source/stream.py.
        self.probes = fleet.containers / _LONGEST_SILENT_S
        self.fleet = fleet if fleet.collectors else replace(fleet, collectors=self._collectors(fleet))

    @property
    def work(self) -> float:
        """Cores that all collectors together use, apart from what each does whatever its share is."""
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
        """CPU seconds that each other collector needs to begin its share of a dead collector's containers."""
        f = self.fleet
        return f.containers / f.collectors * self.p.start_ms / 1e3 / max(f.collectors - 1, 1)

    def running_bytes(self) -> float:
        """Of the tasks that run: Little's law, lines a second times how long a line is kept before its task ends."""
        f, p = self.fleet, self.p
        kept = self.lines * mean_age(f.task_minutes * 60) * p.line_bytes
        if f.task_gb:
            kept = float(np.minimum(self._written * p.line_bytes, f.task_gb * 1e9).sum())
        return kept + f.tasks * p.task_kb * 1e3 + self.tail_bytes()

    def tail_bytes(self) -> float:
        """What the last lines of each task take more, until they are merged: a commit of few lines is mostly what is beside them."""
        return float((np.minimum(UNMERGED, self._written) * self._per_line).sum()) * self.p.entry_bytes

    def parts(self) -> list[Part]:
        """Give them, the busiest first."""
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
        found = [
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
        return sorted(found, key=lambda part: part.load, reverse=True)


def batches(rate: np.ndarray, interval: np.ndarray | float) -> np.ndarray:
    """Return the number of batches per second of lines that arrive one by one (a Poisson process).

    The first line goes out at once, and those that arrive within the interval after it go together. So batches renew
    every interval plus mean time between lines.
    """
    per_second: np.ndarray = rate / (1 + rate * interval)
    return per_second


def mean_age(mean: float) -> float:
    """Give how long ago, on average, a task began that runs now; seconds.

    E[T^2] / (2 E[T]) of how long tasks last, with none beyond `LONGEST_S`.
    """
    mu = math.log(mean) - TIME_SIGMA**2 / 2

    def moment(k: int) -> float:
        cut = (math.log(LONGEST_S) - mu) / TIME_SIGMA
        below = math.exp(k * mu + (k * TIME_SIGMA) ** 2 / 2) * _normal(cut - k * TIME_SIGMA)
        return below + LONGEST_S**k * (1 - _normal(cut))

    return moment(2) / (2 * moment(1))


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
