"""A million lines in the viewer's store: `npm run bench` in js/ prints its own figures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from report import Report


def run(report: Report) -> None:
    """Run it; it knows its budgets itself."""
    js = Path(__file__).parents[2] / "js"
    done = subprocess.run(["npm", "run", "--silent", "bench"], cwd=js, check=False)
    report.add("budgets of `npm run bench` that are missed", float(done.returncode), 0, "")
