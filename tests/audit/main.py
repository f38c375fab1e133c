"""`make audit`: what is pinned here, against what is known of it; exit code 1 where a fault is known.

A database that cannot be reached is said in a line and is no failure: who is offline learns nothing, and breaks nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: What is judged, by which command, where.
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
    """There is nothing to judge by."""


def python_faults(said: dict[str, Any]) -> list[str]:
    """Give what pip-audit has found."""
    known = said["dependencies"]
    judged = [one for one in known if "vulns" in one]
    if known and not judged:  # what it cannot ask for it leaves out, and calls that a success
        raise Unreachable(known[0].get("skip_reason", "it knows none of them"))
    if len(judged) < len(known):
        print(f"  {len(known) - len(judged)} of {len(known)} packages are unknown to it")
    return [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for one in judged
        for fault in one["vulns"]
    ]


def npm_faults(said: dict[str, Any]) -> list[str]:
    """Give what npm has found."""
    if "vulnerabilities" not in said:
        raise Unreachable(said.get("message") or said.get("error", {}).get("summary") or "it does not say why")
    found = []
    for name, one in said["vulnerabilities"].items():
        titles = [via["title"] for via in one["via"] if isinstance(via, dict)]
        found.append(f"{name} {one['range']}: {one['severity']}, {'; '.join(titles) or 'by what it needs'}")
    return found


def said_by(command: list[str], folder: Path) -> dict[str, Any]:
    """Give the JSON that a command prints; what it exits with says too little."""
    program = shutil.which(command[0])
    if program is None:
        raise Unreachable(f"there is no {command[0]}")
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        lines = done.stderr.strip().splitlines()
        raise Unreachable(lines[-1][:200] if lines else f"exit {done.returncode}")
    return found


def main() -> int:
    """Judge both."""
    code = 0
    for (what, command, folder), judge in ((_PYTHON, python_faults), (_NPM, npm_faults)):
        try:
            faults = judge(said_by(command, folder))
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
