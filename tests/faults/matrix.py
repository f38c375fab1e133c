"""The matrix: every row, in one table."""

from __future__ import annotations

from faults import rows_node, rows_readers, rows_recorder, rows_way

ROWS = [*rows_way.ROWS, *rows_node.ROWS, *rows_recorder.ROWS, *rows_readers.ROWS]
