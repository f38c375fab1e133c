"""Recordings with everything that a log may hold, and their archives."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import ArchiveStore

if TYPE_CHECKING:
    from support.filled import Filled

    from cortex_jupyter.archive.recording import ArchivedRecording

GAP = {"from": "2026-01-01T00:00:01Z", "to": "2026-01-01T00:00:04Z", "reason": "rotated away"}


def lively(filled: Filled, n: int = 9_000, seed: int = 1) -> Filled:
    """Record three sources whose clocks differ and sometimes go back, with notices and a late batch of old lines."""
    rng, clock = random.Random(seed), [0, 0, 0]
    for start in range(0, n, 300):
        lines = []
        for i in range(start, min(n, start + 300)):
            source = rng.randrange(3)
            clock[source] += rng.randrange(-20_000, 400_000)
            text = rng.choice(
                [
                    f"2026-01-01 12:00:00,123 INFO step {i} loss=0.{i}",
                    f'{{"level":"warn","msg":"hot \\"{i}\\"","n":{i}}}',
                    f"E0102 10:00:00.000000 1 main.go:3] no {i}",
                    f'level=error msg="x" n={i}',
                    f"é {i}",
                    "",
                ]
            )
            lines.append((source + 1, clock[source], text))
        filled.lines(lines)
        if start % 900 == 0:
            filled.notice("status", f"notice {start}", at=clock[0])
    filled.notice("gap", "lines are missing", at=5, **GAP)
    return filled.lines([(3, i, f"old {i}") for i in range(50)]).end()


def archived(filled: Filled, url: str) -> tuple[ArchiveStore, ArchivedRecording]:
    """Archive a recording at a URL."""
    catalog = Catalog(ObjectStore(url))
    held = catalog.put(filled.store, filled.id)
    return ArchiveStore(url, catalog), held
