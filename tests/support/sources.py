"""The table of sources that queries want, and a task that has them: a line each, of the number that the table has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TABLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "query" / "fixtures" / "sources.json").read_text())
#: Pod, container and run of each.
SOURCES: list[tuple[str, str, int]] = [tuple(one) for one in _TABLE["sources"]]
#: A query, and which of them it wants.
CASES: list[tuple[dict[str, str], list[int]]] = [tuple(one) for one in _TABLE["cases"]]
#: What is no run.
WRONG: list[str] = _TABLE["wrong"]
