"""Compare what a page looks like with a small picture of how it looked, so that a broken layout is noticed.

The pictures are a tenth as wide and high as the page. Times, durations and how a font draws its letters make little
difference there; a panel at another place, a missing colour or lines on top of each other do.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageFilter

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parents[1] / "browser" / "pictures"
_SCALE = 10
#: A cell of the small picture differs if a colour does by more than this (0 to 255).
_COLOUR = 28
#: Share of cells that may differ.
TOLERANCE = 0.02


def difference(seen: Image.Image, before: Image.Image) -> float:
    """Return the share of cells that differ; 1 if the sizes do."""
    if seen.size != before.size:
        return 1.0
    # A line one pixel higher or lower is no difference.
    blurred = [image.convert("RGB").filter(ImageFilter.BoxBlur(1)) for image in (seen, before)]
    bands = ImageChops.difference(*blurred).split()
    most = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    return sum(most.histogram()[_COLOUR + 1 :]) / (most.width * most.height)


def small(page: Page) -> Image.Image:
    """Return a small picture of the page."""
    image = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
    return image.resize((image.width // _SCALE, image.height // _SCALE), Image.Resampling.BOX)


def unlike(page: Page, name: str) -> str:
    """Return how the page differs from its picture; empty if it does not.

    With CORTEX_PICTURES=write the picture is made anew.
    """
    file, seen = FOLDER / f"{name}.png", small(page)
    if os.environ.get("CORTEX_PICTURES") == "write":
        FOLDER.mkdir(exist_ok=True)
        seen.quantize(64).save(file, optimize=True)
        return ""
    if (share := difference(seen, Image.open(file))) <= TOLERANCE:
        return ""
    return f"{name}: {share:.0%} of the picture differ from {file}. If that is wanted, run the test with CORTEX_PICTURES=write"
