"""The matrix's result: a JSON file, and a table at the end of the session."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_RESULTS = pytest.StashKey[list[dict[str, Any]]]()
_COLUMNS = ("row", "allowed", "in", "out", "doubled", "missing", "gaps", "recovery_s", "result")


@pytest.fixture
def result(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Give what takes down a row's figures."""
    results = request.config.stash.setdefault(_RESULTS, [])
    return lambda **figures: results.append(figures)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    results = config.stash.get(_RESULTS, [])
    if not results:
        return
    if cache := getattr(config, "cache", None):
        (cache.mkdir("faults") / "matrix.json").write_text(json.dumps(results, indent=1))
    table = [_COLUMNS, *(tuple(str(r.get(c, "")) for c in _COLUMNS) for r in results)]
    widths = [max(len(row[i]) for row in table) for i in range(len(_COLUMNS))]
    terminalreporter.section("fault matrix")
    for row in table:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
