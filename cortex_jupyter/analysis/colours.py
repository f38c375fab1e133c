"""The colour of a source: one for each rank, or for each pod that has none, in every picture and every notebook.

js/src/text/colours.ts has the same rule for the viewer. tests/analysis/fixtures/colours.json holds both to the same answers.
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

#: Number of colours: 32 hues, in two shades each that alternate.
COLOURS: Final = 32
#: The roles whose members are the most. Their colours begin with the first; all other roles begin in the second half.
_WORKERS: Final = frozenset({"worker", "node", "executor"})
_INDEX: Final = re.compile(r"(\d{1,5})(?:-[a-z0-9]{5})?")
_ORDINAL: Final = re.compile(r"(.+)-(\d{1,5})")
_CHROMA: Final = 0.13
#: OKLCH lightness of the two shades; both stand out from white and from black.
_LIGHTNESS: Final = (0.66, 0.55)


class PaletteColour(NamedTuple):
    """A colour of the palette.

    Parameters
    ----------
    hue : float
        Degrees in OKLCH. Sixteen colours in sequence have hues that are 22.5 degrees apart.
    strong : int
        1 for the stronger shade, which is farther from the page's background; else 0.
    """

    hue: float
    strong: int


def source_colour(pod: str, task: str, role: str = "", rank: str = "", position: int = 0) -> int:
    """Return the number of a source's colour. Ranks and numbered pods follow each other, so that neighbours differ most.

    Parameters
    ----------
    pod, task : str
        The pod's name, and the task's name or key.
    role, rank : str, optional
        Where the source stands in its task.
    position : int, optional
        Position of the task among the displayed tasks: equal ranks of two tasks have different colours.

    Examples
    --------
    >>> source_colour("train-1-x2k4f", "ml:job/train-1", "worker", "3"), source_colour("train-1-3-x2k4f", "train-1")
    (3, 3)
    """
    name = task.rpartition("/")[2]
    if role and rank:
        number = _rank_number(rank) + (0 if role in _WORKERS else 16 + _hash(role) % 16)
    elif pod.startswith(f"{name}-") and (index := _INDEX.fullmatch(pod, len(name) + 1)):
        number = int(index[1])
    elif ordinal := _ORDINAL.fullmatch(pod):
        number = int(ordinal[2]) + _hash(ordinal[1]) % COLOURS
    else:
        number = _hash(pod) % COLOURS
    return (number + 5 * position) % COLOURS


def palette_colour(colour: int) -> PaletteColour:
    """Return a colour of the palette by its number."""
    half = colour >> 4
    return PaletteColour((255 + 157.5 * colour + 11.25 * half) % 360, (colour + half) & 1)


def rgb(colour: int) -> tuple[int, int, int]:
    """Return a colour as red, green and blue (0 to 255), for a page that may be light or dark.

    Examples
    --------
    >>> rgb(0), len({rgb(colour) for colour in range(COLOURS)})
    ((88, 148, 224), 32)
    """
    hue, strong = palette_colour(colour)
    a, b = _CHROMA * math.cos(math.radians(hue)), _CHROMA * math.sin(math.radians(hue))
    # From OKLab to linear sRGB: https://bottosson.github.io/posts/oklab/
    lightness = _LIGHTNESS[strong]
    long, medium, short = (
        (lightness + p * a + q * b) ** 3
        for p, q in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
    )
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (round(255 * _gamma(min(1.0, max(0.0, value)))) for value in linear)
    return red, green, blue


def hex_colour(colour: int) -> str:
    """Return a colour as `#rrggbb`."""
    return "#" + "".join(f"{value:02x}" for value in rgb(colour))


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _hash(text: str) -> int:
    """Return the FNV-1a hash of a text, which unlike Python's own is the same in every process."""
    value = 2166136261
    for char in text:
        value = (value ^ ord(char)) * 16777619 & 0xFFFFFFFF
    return value


def _rank_number(rank: str) -> int:
    """Return the place of a rank such as `3`, or `2-3` in group 2."""
    number = 0
    for part in rank.split("-"):
        number = 4 * number + (int(part) if part.isdecimal() and part.isascii() else _hash(part))
    return number
