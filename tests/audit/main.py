"""`make audit`: check the pinned packages for known vulnerabilities; exit with 1 if there are any.

If a database cannot be reached, that is printed and is no failure, so that the check can run offline.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: A file of pinned packages, the command that checks it, and the folder to run it in.
_PYTHON = (
    "constraints.txt",
    [
        sys.executable,
        "-m",
        "pip_audit",
        "-r",
        "constraints.txt",
        "--no-deps",
        "--disable-pip",
        "-f",
        "json",
        "--progress-spinner",
        "off",
    ],
    ROOT,
)
_NPM = ("js/package-lock.json", ["npm", "audit", "--json"], ROOT / "js")


class Unreachable(Exception):
    """The database of known vulnerabilities cannot be reached."""


def python_faults(report: dict[str, Any]) -> list[str]:
    """Return the vulnerabilities in a report of pip-audit."""
    known = report["dependencies"]
    judged = [one for one in known if "vulns" in one]
    if known and not judged:  # without a connection, pip-audit skips all packages and exits with 0
        raise Unreachable(known[0].get("skip_reason", "it knows none of them"))
    if len(judged) < len(known):
        print(f"  {len(known) - len(judged)} of {len(known)} packages are unknown to it")
    return [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for one in judged
        for fault in one["vulns"]
    ]


def npm_faults(report: dict[str, Any]) -> list[str]:
    """Return the vulnerabilities in a report of npm."""
    if "vulnerabilities" not in report:
        raise Unreachable(report.get("message") or report.get("error", {}).get("summary") or "it does not say why")
    found = []
    for name, one in report["vulnerabilities"].items():
        titles = [via["title"] for via in one["via"] if isinstance(via, dict)]
        found.append(f"{name} {one['range']}: {one['severity']}, {'; '.join(titles) or 'by what it needs'}")
    return found


def read_report(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command and return the JSON that it prints; its exit code does not tell enough."""
    program = shutil.which(command[0])
    if program is None:
        raise Unreachable(f"there is no {command[0]}")
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = None
    if not isinstance(report, dict):
        lines = done.stderr.strip().splitlines()
        raise Unreachable(lines[-1][:200] if lines else f"exit {done.returncode}")
    return report


def main() -> int:
    """Check the Python and the npm packages."""
    code = 0
    for (what, command, folder), judge in ((_PYTHON, python_faults), (_NPM, npm_faults)):
        try:
            faults = judge(read_report(command, folder))
        except Unreachable as error:
            print(f"{what}: the database of known faults was not reachable ({error})")
            continue
        print(f"{what}: {'no fault is known' if not faults else f'{len(faults)} known'}")
        for fault in faults:
            print(f"  {fault}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
