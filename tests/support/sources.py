"""Shared test cases for queries that select sources; `query/fixtures/sources.json` holds them for Python and TypeScript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FIXTURES = Path(__file__).parents[1] / "query" / "fixtures"
_TABLE: dict[str, Any] = json.loads((_FIXTURES / "sources.json").read_text())
#: Pod, container and run of each source.
SOURCES: list[tuple[str, str, int]] = [tuple(item) for item in _TABLE["sources"]]
#: Queries, and the numbers of the sources that each selects.
CASES: list[tuple[dict[str, str], list[int]]] = [tuple(item) for item in _TABLE["cases"]]
#: Invalid values of `run`.
WRONG: list[str] = _TABLE["wrong"]
_MEMBERS: dict[str, Any] = json.loads((_FIXTURES / "members.json").read_text())
#: Role, rank and attempt of each source.
MEMBERS: list[tuple[str, str, str]] = [tuple(item) for item in _MEMBERS["sources"]]
#: As `CASES`, for these sources.
MEMBER_CASES: list[tuple[dict[str, str], list[int]]] = [tuple(item) for item in _MEMBERS["cases"]]
#: Invalid values of `rank` and `attempt`.
WRONG_NUMBERS: list[tuple[str, str]] = [(name, text) for name, texts in _MEMBERS["wrong"].items() for text in texts]
