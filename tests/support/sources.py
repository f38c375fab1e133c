"""Shared test cases for queries that select sources; `query/fixtures/sources.json` holds them for Python and TypeScript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TABLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "query" / "fixtures" / "sources.json").read_text())
#: Pod, container and run of each source.
SOURCES: list[tuple[str, str, int]] = [tuple(item) for item in _TABLE["sources"]]
#: Queries, and the numbers of the sources that each selects.
CASES: list[tuple[dict[str, str], list[int]]] = [tuple(item) for item in _TABLE["cases"]]
#: Invalid values of `run`.
WRONG: list[str] = _TABLE["wrong"]
