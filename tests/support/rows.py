"""Builds tables of records for tests of analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cortex_jupyter.tables.derive import derived

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[float, str, str]  # seconds, pod, text


def table(rows: Sequence[Row], task: str = "ml:job/train", container: str = "main") -> Any:
    """Return a table with the columns of `to_arrow`."""
    text = pa.chunked_array([pa.array([r[2] for r in rows], pa.large_string())])

    def dictionary_column(values: list[str]) -> Any:
        return pa.chunked_array([pa.array(values, pa.string()).dictionary_encode()])

    n = len(rows)
    return pa.table(
        {
            "time": pa.array([round(r[0] * 1e9) for r in rows], pa.timestamp("ns", "UTC")),
            "seq": pa.array(range(1, n + 1), pa.int64()),
            "task": dictionary_column([task] * n),
            "pod": dictionary_column([r[1] for r in rows]),
            "container": dictionary_column([container] * n),
            "kind": dictionary_column(["main"] * n),
            "run": pa.array([0] * n, pa.int32()),
            "stream": dictionary_column(["stdout"] * n),
            "text": text,
            **derived(text),
        }
    )
