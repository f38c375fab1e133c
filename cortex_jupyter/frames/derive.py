"""What is read out of a line: its level, its message, its fields."""

from __future__ import annotations

from typing import Any

from cortex_jupyter.frames.extras import library
from cortex_jupyter.frames.levels import levels


def derived(text: Any) -> dict[str, Any]:
    """Give the columns `level`, `message` and `fields` of a column of lines.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string
    """
    pa = library("pyarrow")
    return {
        "level": levels(text),
        "message": text,
        "fields": pa.chunked_array([pa.nulls(len(text), pa.large_string())]),
    }
