"""Tables of records made by hand, for what reads the text of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cortex_jupyter.tables.derive import derived

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[float, str, str]  # seconds, pod, text


def table(rows: Sequence[Row], task: str = "ml:job/train", container: str = "main") -> Any:
    """Records with the columns of `to_arrow`."""
    text = pa.chunked_array([pa.array([r[2] for r in rows], pa.large_string())])

    def few(values: list[str]) -> Any:
        return pa.chunked_array([pa.array(values, pa.string()).dictionary_encode()])

    n = len(rows)
    return pa.table({
        "time": pa.array([round(r[0] * 1e9) for r in rows], pa.timestamp("ns", "UTC")),
        "seq": pa.array(range(1, n + 1), pa.int64()),
        "task": few([task] * n),
        "pod": few([r[1] for r in rows]),
        "container": few([container] * n),
        "kind": few(["main"] * n),
        "run": pa.array([0] * n, pa.int32()),
        "stream": few(["stdout"] * n),
        "text": text,
        **derived(text),
    })  # fmt: skip
