"""The fleet: what the user says about it, and what is assumed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

#: Lines a second of a container are log-normal: of 10 000 the busiest hundred write a third of all lines, half of them a
#: line in ten seconds or less. Sums of many factors are log-normal, and a few programs always write most of the log.
RATE_SIGMA: Final = 2.0
#: A container writes in bursts: a fifth of the time, with five times its rate.
BURST_SHARE: Final = 0.2
#: How long tasks last is log-normal: a mean of 60 minutes is a median of 19. Traces of GPU clusters are heavier still (Hu et al.,
#: "Characterization and Prediction of Deep Learning Workloads in Large-Scale GPU Datacenters", SC 2021). None beyond a week.
TIME_SIGMA, LONGEST_S = 1.5, 7 * 86400.0
#: Containers of a task: log-normal, one at least.
SIZE_SIGMA: Final = 1.0


class FleetError(Exception):
    """There is no such fleet."""


@dataclass(frozen=True)
class Fleet:
    """What is recorded and read, by what.

    Parameters
    ----------
    tasks, containers, viewers : int
        At one time.
    lines_per_second : float
        Of all containers.
    task_minutes : float
        How long a task lasts on average.
    collectors : int
        0: as many as it takes.
    servers : int
        Server processes that viewers share evenly; a service of JupyterHub is one, and with a server for each user it is
        as many as viewers.
    nodes : int
    valkey_gb : float
        Its `maxmemory`, in units of 1e9 bytes.
    task_gb : float
        What a running recording may take at most (`store_max_task_bytes`); 0: no bound.
    bucket_mb : float
        What the bucket takes in, in units of 1e6 bytes a second.
    """

    tasks: int = 2000
    containers: int = 10_000
    viewers: int = 200
    lines_per_second: float = 20_000
    task_minutes: float = 60
    collectors: int = 0
    servers: int = 1
    nodes: int = 500
    valkey_gb: float = 32
    task_gb: float = 0
    bucket_mb: float = 50

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in ("viewers", "collectors", "task_gb") else 1e-3
            if not least <= value <= 1e9:
                raise FleetError(
                    f"--{field.name.replace('_', '-')} {value:g}: must be more than 0, and no more than 1e9"
                )
        if self.containers < self.tasks:
            raise FleetError(f"{self.containers} containers for {self.tasks} tasks: a task has one at least")
        if self.containers > 1_000_000:
            raise FleetError(f"{self.containers} containers: more than a million take too long to simulate")

    def scaled(self, factor: float) -> Fleet:
        """Give one that is so many times as large, by the same installation."""
        some = {name: round(getattr(self, name) * factor) for name in ("tasks", "containers", "viewers", "nodes")}
        return Fleet(**vars(self) | some | {"lines_per_second": self.lines_per_second * factor})


class Population:
    """The tasks and containers of a fleet at one moment, drawn by chance.

    Parameters
    ----------
    fleet : Fleet
    rng : numpy.random.Generator

    Attributes
    ----------
    task : ndarray
        Of each container, its task.
    rate : ndarray
        Lines a second of each container.
    age : ndarray
        For each task, the time since it began (seconds).
    """

    def __init__(self, fleet: Fleet, rng: np.random.Generator) -> None:
        self._fleet, self._rng = fleet, rng
        weights = rng.lognormal(0, SIZE_SIGMA, fleet.tasks)
        sizes = 1 + rng.multinomial(fleet.containers - fleet.tasks, weights / weights.sum())
        self.task: np.ndarray = np.repeat(np.arange(fleet.tasks), sizes)
        self.sizes = sizes
        self.rate = self._rates(fleet.containers)
        self.rate *= fleet.lines_per_second / self.rate.sum()
        # At a given moment, long tasks are more likely to be running.
        pool = self._times(50 * fleet.tasks)
        whole = rng.choice(pool, fleet.tasks, p=pool / pool.sum())
        self.age = rng.random(fleet.tasks) * whole

    def _rates(self, n: int) -> np.ndarray:
        mean = self._fleet.lines_per_second / self._fleet.containers
        rates: np.ndarray = self._rng.lognormal(np.log(mean) - RATE_SIGMA**2 / 2, RATE_SIGMA, n)
        return rates

    def _times(self, n: int) -> np.ndarray:
        mean = self._fleet.task_minutes * 60
        times = self._rng.lognormal(np.log(mean) - TIME_SIGMA**2 / 2, TIME_SIGMA, n)
        bounded: np.ndarray = np.minimum(times, LONGEST_S)
        return bounded
