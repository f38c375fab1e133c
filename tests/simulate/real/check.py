"""The model against a small fleet of real parts: two collectors, Valkey, a server, on the sandbox cluster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from bench.report import Report, resident
from simulate.fleet import Fleet, Population
from simulate.real.small import small
from simulate.sizing import Paper
from tqdm import tqdm

if TYPE_CHECKING:
    from simulate.parameters import Parameters

#: Neither the tasks nor the rates at which costs are measured.
TASKS, CONTAINERS, VIEWERS, PAUSE_S = 30, 4, 15, 0.2
SECONDS = 20.0
#: Predicted and measured may differ by this factor; on a machine that others use, CPU seconds alone differ by as much.
FACTOR = 1.5


def check(parameters: Parameters) -> int:
    """Compare, and print; gives how many figures are off by more than `FACTOR`."""
    fleet = Fleet(TASKS, TASKS * CONTAINERS, VIEWERS, TASKS * CONTAINERS / PAUSE_S, 1e6, 2)
    people = Population(fleet, np.random.default_rng(1))
    people.rate[:] = 1 / PAUSE_S
    report = Report()
    with tqdm(total=4, desc="a small fleet", unit="step", leave=False) as bar, small(2, served=True) as one:
        bar.update()
        one.tasks("checked", TASKS, CONTAINERS, PAUSE_S)
        bar.update()
        time.sleep(3)
        unread = one.spend(SECONDS)
        bar.update()
        memory = [resident(p.pid) for p in one.collectors]
        with one.viewed(VIEWERS):
            read = one.spend(SECONDS)
        bar.update()
        lines = (unread.lines, read.lines)
    silent = Fleet(**vars(fleet) | {"viewers": 0})
    print(f"{TASKS} tasks of {CONTAINERS} containers, {lines[0]:.0f} and {lines[1]:.0f} lines/s, two collectors\n")
    for name, what, spent in (("unread", silent, unread), ("read by one in two", fleet, read)):
        paper = Paper(what, parameters, people, bursts=False, seen=np.arange(what.viewers) % TASKS)
        loads = {part.name: part for part in paper.parts()}
        for part, measured in (
            ("collectors: CPU", sum(spent.collectors)),
            ("Valkey: its one thread", spent.valkey),
            ("servers: CPU", spent.server),
        ):
            if part != "servers: CPU" or what.viewers:
                _compare(report, f"{name}: {part}", loads[part].one, measured)
        _compare(report, f"{name}: commits/s", paper.commits, spent.commits)
    share = fleet.containers / 2
    predicted = parameters.base_mb + (share * parameters.source_kb + fleet.containers * parameters.pod_kb) / 1e3
    _compare(report, "memory of a collector, MB", predicted, sum(memory) / 2)
    return report.close()


def _compare(report: Report, what: str, predicted: float, measured: float) -> None:
    off = max(predicted, measured) / max(min(predicted, measured), 1e-9)
    report.add(what, off, FACTOR, note=f"predicted {predicted:.3g}, measured {measured:.3g}")
