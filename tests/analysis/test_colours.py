"""The colours of sources: the fixture that js/test/text/colours.test.ts reads, too."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from cortex_jupyter.analysis.colours import COLOURS, hex_colour, palette_colour, source_colour

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "colours.json").read_text())


@pytest.mark.parametrize(("task", "pod", "role", "rank", "position", "colour"), TABLE["colours"])
def test_the_colour_of_a_source(task: str, pod: str, role: str, rank: str, position: int, colour: int) -> None:
    assert source_colour(pod, task, role, rank, position) == colour


def test_the_palette() -> None:
    assert [list(palette_colour(colour)) for colour in range(COLOURS)] == TABLE["palette"]


def distance(a: int, b: int) -> float:
    """Return how far the hues of two colours are apart (degrees)."""
    apart = abs(palette_colour(a).hue - palette_colour(b).hue)
    return min(apart, 360 - apart)


def test_sixteen_ranks_can_be_told_apart_and_neighbours_differ_most() -> None:
    assert min(distance(n, n + 1) for n in range(15)) > 150
    pairs = list(itertools.combinations(range(16), 2))
    assert min(distance(a, b) for a, b in pairs) == 22.5
    # Colours with the nearest hues have different shades.
    assert all(palette_colour(a).strong != palette_colour(b).strong for a, b in pairs if distance(a, b) == 22.5)
    assert len({hex_colour(n) for n in range(COLOURS)}) == COLOURS
