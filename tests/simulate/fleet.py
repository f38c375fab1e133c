"""The fleet: its figures, which the user gives, and the assumptions about it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

#: Lines per second of a container have a log-normal distribution. Of 10 000 containers, the busiest hundred write a third of
#: all lines, and half write at most one line in ten seconds. In practice too, a few programs write most of the lines.
RATE_SIGMA: Final = 2.0
#: A container writes in bursts: a fifth of the time, at five times its mean rate.
BURST_SHARE: Final = 0.2
#: Durations of tasks have a log-normal distribution: with a mean of 60 minutes, the median is 19. Traces of GPU clusters have
#: even longer tails (Hu et al., "Characterization and Prediction of Deep Learning Workloads in Large-Scale GPU Datacenters",
#: SC 2021). No task lasts longer than a week.
TIME_SIGMA, LONGEST_S = 1.5, 7 * 86400.0
#: The number of containers of a task has a log-normal distribution, and is at least one.
SIZE_SIGMA: Final = 1.0


class FleetError(Exception):
    """The figures of a fleet are invalid."""


@dataclass(frozen=True)
class Fleet:
    """The figures of a fleet: its load and its installation.

    Parameters
    ----------
    tasks, containers, viewers : int
        Numbers at one time.
    lines_per_second : float
        Lines of all containers together.
    task_minutes : float
        Mean duration of a task.
    collectors : int
        0 means as many as are needed.
    servers : int
        Server processes that viewers share evenly: 1 for a service of JupyterHub, as many as viewers if each user has a server.
    nodes : int
    valkey_gb : float
        Valkey's `maxmemory`, in units of 1e9 bytes.
    task_gb : float
        Limit of a running recording's size (`store_max_task_bytes`); 0 means no limit.
    bucket_mb : float
        Bandwidth of the bucket for uploads, in units of 1e6 bytes per second.
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
        """Return a fleet with `factor` times the load, on the same installation."""
        larger = {name: round(getattr(self, name) * factor) for name in ("tasks", "containers", "viewers", "nodes")}
        return Fleet(**vars(self) | larger | {"lines_per_second": self.lines_per_second * factor})


class Population:
    """Random tasks and containers of a fleet at one moment.

    Parameters
    ----------
    fleet : Fleet
    rng : numpy.random.Generator

    Attributes
    ----------
    task : ndarray
        The task of each container.
    rate : ndarray
        Lines per second of each container.
    age : ndarray
        Time since the start of each task (seconds).
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
        durations = rng.choice(pool, fleet.tasks, p=pool / pool.sum())
        self.age = rng.random(fleet.tasks) * durations

    def _rates(self, n: int) -> np.ndarray:
        mean = self._fleet.lines_per_second / self._fleet.containers
        rates: np.ndarray = self._rng.lognormal(np.log(mean) - RATE_SIGMA**2 / 2, RATE_SIGMA, n)
        return rates

    def _times(self, n: int) -> np.ndarray:
        mean = self._fleet.task_minutes * 60
        times = self._rng.lognormal(np.log(mean) - TIME_SIGMA**2 / 2, TIME_SIGMA, n)
        bounded: np.ndarray = np.minimum(times, LONGEST_S)
        return bounded
