"""Which texts hold something: looked for in bytes, where RE2 is ten times faster than in characters."""

from __future__ import annotations

import re
from typing import Any

from cortex_jupyter.archive.extra import library


def matching(text: Any, pattern: str) -> Any:
    """Tell which texts match.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.ChunkedArray
    pattern : str
        In RE2's syntax (https://github.com/google/re2/wiki/Syntax); `.` and classes are of bytes.
    """
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    return pc.match_substring_regex(text.cast(pa.large_binary()), pattern)


def holding(text: Any, word: str) -> Any:
    """Tell which texts hold a word; four times faster than `pyarrow.compute.match_substring`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> holding(pa.array(["a+b", "aab"], pa.large_string()), "a+").to_pylist()
    [True, False]
    """
    return matching(text, re.escape(word))


def any_matches(text: Any, pattern: str) -> bool:
    """Tell whether one of them matches."""
    return bool(library("pyarrow.compute").any(matching(text, pattern), min_count=0).as_py())
