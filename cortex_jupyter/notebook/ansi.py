"""Terminal colours and weights as CSS that is legible on a light and on a dark page.

nbconvert's `ansi2html` needs classes that JupyterLab styles only in text outputs, and 350 ms to import.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SGR: Final = re.compile(r"\x1b\[([0-9;:]*)m")
_LEVELS: Final = (0, 95, 135, 175, 215, 255)
#: xterm's eight colours. Black, grey and white become the page's own text colour.
_HUES: Final = (None, (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), None)
#: A luminance with the same contrast to white and to black: 4.6 to 1.
_LUMINANCE: Final = 0.18
_FLAGS: Final = {1: "font-weight:600", 2: "opacity:.65", 3: "font-style:italic", 4: "text-decoration:underline"}
_OFF: Final = {22: (1, 2), 23: (3,), 24: (4,)}


def spans(text: str) -> Iterator[tuple[str, str]]:
    r"""Split a line where its style changes.

    It reads the SGR codes of ECMA-48, with the 256 colours and true colour of ISO 8613-6, and ignores backgrounds.

    Yields
    ------
    tuple of str and str
        CSS, empty for the page's default style, and the text.

    Examples
    --------
    >>> list(spans("a \x1b[1;31mred\x1b[0m b"))
    [('', 'a '), ('font-weight:600;color:#d04545', 'red'), ('', ' b')]
    """
    flags: set[int] = set()
    colour, start = "", 0
    for match in _SGR.finditer(text):
        if match.start() > start:
            yield _css(flags, colour), text[start : match.start()]
        start = match.end()
        codes = iter([int(c or 0) for c in re.split("[;:]", match[1])])
        for code in codes:
            if code == 0:
                flags, colour = set(), ""
            elif code in _FLAGS:
                flags.add(code)
            elif code in _OFF:
                flags.difference_update(_OFF[code])
            elif code in (38, 48):
                extended = _extended(codes)
                colour = extended if code == 38 else colour  # the code of foregrounds
            elif 30 <= code <= 37 or 90 <= code <= 97:  # the codes of colours
                colour = legible(_HUES[code % 10])
            elif code == 39:  # the page's default
                colour = ""
    if start < len(text):
        yield _css(flags, colour), text[start:]


def legible(rgb: tuple[int, int, int] | None) -> str:
    """Return a colour of the same hue that is legible on light and dark pages; for greys, none."""
    if rgb is None or max(rgb) - min(rgb) < 40:  # too pale to have a hue
        return ""
    light = [(min(c, 255) / 255) ** 2.2 for c in rgb]
    luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
    if luminance >= _LUMINANCE:
        light = [c * _LUMINANCE / luminance for c in light]
    else:
        white = (_LUMINANCE - luminance) / (1 - luminance)
        light = [c + (1 - c) * white for c in light]
    return "#" + "".join(f"{round(min(c, 1) ** (1 / 2.2) * 255):02x}" for c in light)


def _css(flags: set[int], colour: str) -> str:
    return ";".join([_FLAGS[f] for f in sorted(flags)] + ([f"color:{colour}"] if colour else []))


def _extended(codes: Iterator[int]) -> str:
    kind = next(codes, 0)
    if kind == 2:  # true colour
        return legible((next(codes, 0), next(codes, 0), next(codes, 0)))
    number = next(codes, 0)
    if number < 16:  # the sixteen basic colours
        return legible(_HUES[number % 8])
    if number < 232:  # the colour cube; what follows is grey
        cube = number - 16
        return legible((_LEVELS[cube // 36], _LEVELS[cube // 6 % 6], _LEVELS[cube % 6]))
    return ""
