"""Counts over time as a picture the size of a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BARS = " ▁▂▃▄▅▆▇█"


def spark(counts: Sequence[int], colour: str = "#4c78a8", width: int = 128, height: int = 20) -> str:
    """Draw counts as bars: SVG."""
    top = max([*counts, 1])
    wide = width / max(1, len(counts))
    bars = "".join(
        f'<rect x="{i * wide:.1f}" y="{height - h:.1f}" width="{max(1.0, wide - 0.8):.1f}" height="{h:.1f}"/>'
        for i, n in enumerate(counts)
        if n and (h := max(1.5, n / top * height))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<g fill="{colour}">{bars}</g><path d="M0 {height - 0.5}H{width}" stroke="currentColor" stroke-opacity=".2"/></svg>'
    )


def bars(counts: Sequence[int]) -> str:
    """Draw counts as bars: text.

    Examples
    --------
    >>> bars([0, 1, 4, 8])
    ' ▁▄█'
    """
    top = max([*counts, 1])
    return "".join(_BARS[-(-n * 8 // top)] for n in counts)
