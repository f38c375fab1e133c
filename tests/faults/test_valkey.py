"""Faults of a store that is a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faults.row import each, hold
from faults.rows_valkey import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.case import Row


@each(ROWS)
async def test_row(
    row: Row, sandbox: Any, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    await hold(row, sandbox, unique("f"), tmp_path, result)
