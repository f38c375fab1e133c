"""Reports the results of the fault matrix: a JSON file, and a table at the end of the session."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME = "fault"
_COLUMNS = ("row", "allowed", "in", "out", "doubled", "missing", "gaps", "recovery_s", "result")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the recorders' log files out of the user's home."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def result(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that attaches a row's figures to the test's report, which works across test processes."""
    return lambda **figures: request.node.user_properties.append((_NAME, figures))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [r for kind in ("passed", "failed", "xfailed", "xpassed") for r in terminalreporter.stats.get(kind, [])]
    figures = [value for r in reports if r.when == "call" for name, value in r.user_properties if name == _NAME]
    results: list[dict[str, Any]] = sorted(figures, key=lambda row: row["row"])
    if not results:
        return
    if cache := getattr(config, "cache", None):
        (cache.mkdir("faults") / "matrix.json").write_text(json.dumps(results, indent=1))
    table = [_COLUMNS, *(tuple(str(r.get(c, "")) for c in _COLUMNS) for r in results)]
    widths = [max(len(row[i]) for row in table) for i in range(len(_COLUMNS))]
    terminalreporter.section("fault matrix")
    for row in table:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
