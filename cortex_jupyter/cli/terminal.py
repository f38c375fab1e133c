"""Text for a terminal: safe, and in colour."""

from __future__ import annotations

import os
import re
import sys
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

#: Escape codes other than colours: they could move the cursor, rename the window or type for the user.
_UNSAFE: Final = re.compile(
    r"\x1b\[[0-9;:]*m|\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|.|\Z)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def wants_colour(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def safe(text: str) -> str:
    r"""Return a line without control characters and escape codes, except colours. Keep only a progress bar's last state.

    Examples
    --------
    >>> safe("\x1b[31mred\x1b[0m\x1b[2J\x1b]0;title\x07 10%\r20%")
    '20%'
    >>> safe("\x1b[31mred\x1b[0m\x1b[2J\x00\x9b")
    '\x1b[31mred\x1b[0m'
    """
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if part), "")
    return _UNSAFE.sub(lambda m: m[0] if m[0][:2] == "\x1b[" and m[0][-1] == "m" else "", text)


def prefix(pod: str, container: str, *, colour: bool) -> str:
    """Return the prefix of a line. Each pod has its own colour, the same in every run of the program."""
    name = f"{pod}/{container} "
    return f"\x1b[{_COLOURS[zlib.crc32(pod.encode()) % len(_COLOURS)]}m{name}\x1b[0m" if colour else name


def print_status(message: str) -> None:
    """Write a status line to standard error."""
    text = safe(message) if sys.stderr.isatty() else message
    print(f"\x1b[2m{text}\x1b[0m" if wants_colour(sys.stderr) else text, file=sys.stderr, flush=True)
