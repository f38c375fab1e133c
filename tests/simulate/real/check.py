"""Compare the model with a small fleet of real parts: two collectors, Valkey and a server on a sandbox cluster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from bench.report import Report, resident
from simulate.fleet import Fleet, Population
from simulate.real.small import run_small_fleet
from simulate.sizing import FleetLoads
from tqdm import tqdm

if TYPE_CHECKING:
    from simulate.parameters import Parameters

#: Other numbers and rates than those with which the costs are measured.
TASKS, CONTAINERS, VIEWERS, PAUSE_S = 30, 4, 15, 0.2
SECONDS = 20.0
#: Allowed ratio of prediction and measurement. On a shared machine, CPU times alone differ by as much.
FACTOR = 1.5


def check(parameters: Parameters) -> int:
    """Print the comparison; return how many figures differ by more than `FACTOR`."""
    fleet = Fleet(TASKS, TASKS * CONTAINERS, VIEWERS, TASKS * CONTAINERS / PAUSE_S, 1e6, 2)
    population = Population(fleet, np.random.default_rng(1))
    population.rate[:] = 1 / PAUSE_S
    report = Report()
    with (
        tqdm(total=4, desc="a small fleet", unit="step", leave=False) as bar,
        run_small_fleet(2, served=True) as small_fleet,
    ):
        bar.update()
        small_fleet.run_tasks("checked", TASKS, CONTAINERS, PAUSE_S)
        bar.update()
        time.sleep(3)
        unread = small_fleet.measure(SECONDS)
        bar.update()
        memory = [resident(p.pid) for p in small_fleet.collectors]
        with small_fleet.viewers(VIEWERS):
            read = small_fleet.measure(SECONDS)
        bar.update()
        lines = (unread.lines, read.lines)
    silent = Fleet(**vars(fleet) | {"viewers": 0})
    print(f"{TASKS} tasks of {CONTAINERS} containers, {lines[0]:.0f} and {lines[1]:.0f} lines/s, two collectors\n")
    for name, what, spent in (("unread", silent, unread), ("read by one in two", fleet, read)):
        predicted_loads = FleetLoads(what, parameters, population, bursts=False, seen=np.arange(what.viewers) % TASKS)
        loads = {part.name: part for part in predicted_loads.parts()}
        for part, measured in (
            ("collectors: CPU", sum(spent.collectors)),
            ("Valkey: its one thread", spent.valkey),
            ("servers: CPU", spent.server),
        ):
            if part != "servers: CPU" or what.viewers:
                _compare(report, f"{name}: {part}", loads[part].needed, measured)
        _compare(report, f"{name}: commits/s", predicted_loads.commits, spent.commits)
    share = fleet.containers / 2
    predicted = parameters.base_mb + (share * parameters.source_kb + fleet.containers * parameters.pod_kb) / 1e3
    _compare(report, "memory of a collector, MB", predicted, sum(memory) / 2)
    return report.close()


def _compare(report: Report, what: str, predicted: float, measured: float) -> None:
    off = max(predicted, measured) / max(min(predicted, measured), 1e-9)
    report.add(what, off, FACTOR, note=f"predicted {predicted:.3g}, measured {measured:.3g}")
