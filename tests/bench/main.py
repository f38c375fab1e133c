"""`make bench`: the budgets (`docs/explanation/architecture.md`, "Budgets") as ratios of one run, or counts.

    make bench                 all
    make bench ARGS="pipe"     one of: pipe, recorder, takeover, valkey, order, day, gateway, viewers, fleet, containers, crowd, paint,
                               frames, objects, text, imports, page, long

`gateway`, `viewers`, `containers` and `crowd` run on the cluster that KUBECONFIG names, where it names one; all else on the sandbox.

Each line: what was measured, the figure, the budget, and whether it holds. The exit code is the number of budgets
that do not. The machine is noisy: trust ratios above 1.3, not below.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Instead of this folder, whose names are those of other packages.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import (  # noqa: E402 - the folder above comes first
    classic,
    containers,
    crowd,
    day,
    fleet,
    imports,
    long,
    objects,
    order,
    page,
    paint,
    pipe,
    recorder,
    server_store,
    tables,
    takeover,
    text,
    viewers,
)
from bench.report import Report  # noqa: E402


def main() -> int:
    """Run the parts that were asked for."""
    parts = {
        "imports": imports,
        "pipe": pipe,
        "recorder": recorder,
        "takeover": takeover,
        "valkey": server_store,
        "order": order,
        "day": day,
        "gateway": classic,
        "viewers": viewers,
        "fleet": fleet,
        "containers": containers,
        "crowd": crowd,
        "paint": paint,
        "frames": tables,
        "objects": objects,
        "text": text,
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
