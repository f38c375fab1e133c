"""Compute what a fleet needs: how much load each part can carry, which part is full first, and what to add then.

    make simulate                                                  2 000 tasks, 10 000 containers, 200 viewers
    make simulate ARGS="--tasks 300 --containers 400 --lines-per-second 5000"
    make simulate ARGS=--measure                                   measure the costs again, on this machine (4 min)
    make simulate ARGS=--check                                     compare the model with a small real fleet (2 min)

The costs are in tests/simulate/parameters.json and were measured with the real parts. fleet.py has the assumptions about a
fleet.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
from simulate.fleet import BURST_SHARE, RATE_SIGMA, Fleet, FleetError, Population
from simulate.parameters import FILE, Parameters, ParametersError
from simulate.picture import picture
from simulate.sizing import FleetLoads, mean_age

#: The parts that are drawn, with a label. The picture shows how many of each part are busy.
_DRAWN = {
    "collectors: CPU": "collector core",
    "Valkey: its one thread": "Valkey's thread",
    "servers: CPU": "server core",
    "Valkey: memory for what runs": "Valkey of {valkey_gb:g} GB",
    "archivers: CPU, one beside each collector": "archiver core",
    "bucket: bytes": "bucket of {bucket_mb:g} MB/s",
    "API server: requests": "API server",
}


def _options() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "make simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    helps = {
        "tasks": "running at one time",
        "containers": "of all tasks together",
        "viewers": "users who have a task's log open",
        "lines_per_second": "of all containers together",
        "task_minutes": "how long a task lasts on average",
        "collectors": "0: as many as are needed",
        "servers": "server processes that viewers share: 1 is a service of a Hub",
        "nodes": "of the cluster",
        "valkey_gb": "Valkey's maxmemory",
        "task_gb": "limit for a running task in Valkey, store_max_task_bytes; 0: no limit",
        "bucket_mb": "bandwidth of the bucket for uploads, MB/s",
    }
    for field in fields(Fleet):
        made.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=int if field.type == "int" else float,
            default=field.default,
            metavar="N",
            help=f"{helps[field.name]} (default: %(default)s)",
        )
    made.add_argument(
        "--parameters", type=Path, default=FILE, metavar="FILE", help="costs (default: those of this folder)"
    )
    made.add_argument("--picture", type=Path, metavar="FILE", help="draw the loads by size, as SVG")
    made.add_argument(
        "--measure", action="store_true", help="measure the costs on this machine, and write them to FILE"
    )
    made.add_argument("--check", action="store_true", help="run a small fleet of real parts, and compare")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = _options()
    options = parser.parse_args(arguments)
    try:
        fleet = Fleet(**{field.name: getattr(options, field.name) for field in fields(Fleet)})
        if options.measure:
            from simulate.real.measure import measure  # noqa: PLC0415 - it imports the whole bench

            measure().save(options.parameters)
        parameters = Parameters.load(options.parameters)
        if options.check:
            from simulate.real.check import check  # noqa: PLC0415 - the same

            return check(parameters)
    except (FleetError, ParametersError) as error:
        parser.error(str(error))
    about = parameters.about
    print(f"costs: {about['date']}, {about['machine']}, {about['versions']}\n")
    loads = FleetLoads(fleet, parameters)
    _print_assumptions(loads)
    _print_capacity(loads)
    _print_table(loads)
    if options.picture:
        options.picture.write_text(_svg(fleet, parameters))
    return 0


def _print_assumptions(loads: FleetLoads) -> None:
    fleet, rates = loads.fleet, np.sort(Population(loads.fleet, np.random.default_rng(1)).rate)[::-1]
    busiest = rates[: max(1, len(rates) // 100)].sum() / rates.sum()
    print(
        f"{fleet.tasks:,} tasks of {fleet.task_minutes:g} minutes on average (a running one is {mean_age(fleet.task_minutes * 60) / 3600:.1f} h old),"
        f" {fleet.containers:,} containers,\n{fleet.lines_per_second:,.0f} lines/s of 150 bytes: log-normal (sigma {RATE_SIGMA:g}), the busiest 1 % write"
        f" {busiest:.0%}, half of them less than a line in {1 / np.median(rates):.1f} s;\neach writes {BURST_SHARE:.0%} of the time."
        f" {fleet.viewers} viewers.\n"
    )


def _print_capacity(loads: FleetLoads) -> None:
    """Print how much of such a fleet a single instance of each part can carry."""
    fleet = loads.fleet
    print("One of each carries, of such a fleet, at full load:")
    for name, busy in _needed(loads).items():
        print(f"  {name:22} {fleet.tasks / busy:12,.0f} tasks {fleet.lines_per_second / busy:14,.0f} lines/s")
    print()


def _needed(loads: FleetLoads) -> dict[str, float]:
    """Return how many instances of each drawn part the fleet keeps busy."""
    parts = {part.name: part for part in loads.parts()}
    return {label.format(**vars(loads.fleet)): parts[name].needed for name, label in _DRAWN.items()}


def _print_table(loads: FleetLoads) -> None:
    fleet = loads.fleet
    print(
        f"With {fleet.collectors} collectors, {fleet.servers} server process(es), a Valkey of {fleet.valkey_gb:g} GB:\n"
    )
    print(f"{'part':42} {'uses':>16} {'of it':>6}  full at  add then")
    for part in loads.parts():
        full = f"{fleet.tasks / part.load:9,.0f}" if part.load else ""
        mark = "  <-- too much" if part.load > part.max_load else ""
        print(f"{part.name:42} {part.amount:>16} {part.load:6.1%} {full}  {part.add}{mark}")
    first = loads.parts()[0]
    print(f"\nFirst to be full: {first.name}, at {fleet.tasks / first.load:,.0f} tasks of this kind. Add {first.add}.")
    if fleet.collectors > 1:
        print(f"If a collector dies, each other one needs {loads.takeover_s:.1f} s of its core to take over.")


def _svg(fleet: Fleet, parameters: Parameters) -> str:
    factors = np.geomspace(1 / 8, 8, 13)
    needed: dict[str, list[float]] = {}
    for factor in factors:
        for name, load in _needed(FleetLoads(fleet.scaled(factor), parameters)).items():
            needed.setdefault(name, []).append(load)
    return picture("How busy one of each part is, by the number of tasks", [fleet.tasks * f for f in factors], needed)
