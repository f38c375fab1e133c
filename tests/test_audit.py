"""`make audit` fails if a pinned package has a known vulnerability, and for no other reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "audit" / "main.py"
HEALTHY: dict[str, Any] = {"dependencies": [{"name": "a", "version": "1", "vulns": []}], "fixes": []}
FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["2"], "aliases": [], "description": "bad"}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found: b (1)"}
NPM_SOUND: dict[str, Any] = {"auditReportVersion": 2, "vulnerabilities": {}}
NPM_FAULT = {
    "vulnerabilities": {
        "x": {"name": "x", "severity": "high", "range": "<2", "via": [{"title": "reads what it may not"}]},
        "y": {"name": "y", "severity": "high", "range": "*", "via": ["x"]},
    }
}
UNREACHABLE = {"message": "405 Method Not Allowed", "error": {"summary": "", "detail": ""}}


@pytest.mark.parametrize(
    ("python", "npm", "code", "lines"),
    [
        (HEALTHY, NPM_SOUND, 0, ["constraints.txt: no fault is known", "js/package-lock.json: no fault is known"]),
        (
            {"dependencies": [{"name": "a", "version": "1", "vulns": [FAULT]}]},
            NPM_SOUND,
            1,
            ["  a 1: PYSEC-2026-1, mended in 2"],
        ),
        (
            HEALTHY,
            NPM_FAULT,
            1,
            ["js/package-lock.json: 2 known", "  x <2: high, reads what it may not", "  y *: high, by what it needs"],
        ),
        (
            {"dependencies": [UNKNOWN]},
            UNREACHABLE,
            0,
            [
                "constraints.txt: the database of known faults was not reachable (Dependency not found: b (1))",
                "js/package-lock.json: the database of known faults was not reachable (405 Method Not Allowed)",
            ],
        ),
        ({"dependencies": [*HEALTHY["dependencies"], UNKNOWN]}, NPM_SOUND, 0, ["  1 of 2 packages are unknown to it"]),
        (None, None, 0, ["constraints.txt: the database of known faults was not reachable (no way there)"]),
        (None, NPM_FAULT, 1, ["constraints.txt: the database of known faults was not reachable (no way there)"]),
    ],
)
def test_only_known_vulnerabilities_fail(
    tmp_path: Path, python: dict[str, Any] | None, npm: dict[str, Any] | None, code: int, lines: list[str]
) -> None:
    for name, answer, shebang in (("pip_audit.py", python, ""), ("npm", npm, f"#!{sys.executable}\n")):
        body = "sys.exit('no way there')" if answer is None else f"print({json.dumps(answer)!r}); sys.exit({code})"
        (tmp_path / name).write_text(f"{shebang}import sys\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = os.environ | {"PYTHONPATH": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert set(lines) <= set(done.stdout.splitlines()), done.stdout
