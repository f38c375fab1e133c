"""`make bench`: measure the budgets of `docs/explanation/architecture.md`. Figures are ratios within one run, or counts.

    make bench                 all
    make bench ARGS="pipe"     one of: pipe, recorder, takeover, valkey, order, day, gateway, viewers, fleet, containers, kinds, crowd,
                               paint, frames, objects, text, patterns, imports, page,
                               long

`gateway`, `viewers`, `containers` and `crowd` run on the cluster that KUBECONFIG names, if there is one; all others on the
sandbox.

Each line has the name of a figure, its value, the budget, and whether the budget is met. The exit code is the number of
budgets that are not met. The machine is noisy: differences below a factor of 1.3 mean nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Import from `tests` instead of this folder, because some modules here have the names of other packages.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import (  # noqa: E402 - the folder above comes first
    containers,
    crowd,
    day,
    fleet,
    imports,
    kinds,
    long,
    objects,
    order,
    page,
    paint,
    patterns,
    pipe,
    recorder,
    rivals,
    server_store,
    tables,
    takeover,
    text,
    viewers,
)
from bench.report import Report  # noqa: E402


def main() -> int:
    """Run the parts that the command line names."""
    parts = {
        "imports": imports,
        "pipe": pipe,
        "recorder": recorder,
        "takeover": takeover,
        "valkey": server_store,
        "order": order,
        "day": day,
        "gateway": rivals,
        "viewers": viewers,
        "fleet": fleet,
        "containers": containers,
        "kinds": kinds,
        "crowd": crowd,
        "paint": paint,
        "frames": tables,
        "objects": objects,
        "text": text,
        "patterns": patterns,
        "page": page,
        "long": long,
    }
    names = sys.argv[1:] or list(parts)
    if unknown := set(names) - parts.keys():
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(parts)}", file=sys.stderr)
        return 2
    report = Report()
    for name in names:
        parts[name].run(report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
