"""When a recording is to be archived again that could not be: later each time, whichever recorder tries.

An attempt is noted before it begins, for what it fails by may be that it takes its process with it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.store.protocol import Store

#: After the first attempt, each time twice as long, and at most, seconds.
FIRST_S, MOST_S = 120.0, 3600.0
_NAME: Final = "archiving:"


def attempts_setting(recording: int) -> str:
    """Give the name of the setting in which a recording's attempts stand; it goes when it is archived, or leaves."""
    return f"{_NAME}{recording}"


def due_recordings(store: Store, recordings: Iterable[int], url: str) -> list[int]:
    """Give those of some recordings that may be tried now.

    Parameters
    ----------
    store : Store
    recordings : iterable of int
    url : str
        Of the archive; an attempt with another does not count.

    Raises
    ------
    StoreError
    """
    return [one for one in recordings if _held(store, one, url)[1] <= time.time()]


def note_attempt(store: Store, recording: int, url: str) -> None:
    """Note that one is tried; where the store has no room for that it is tried all the same, for it makes room.

    Raises
    ------
    StoreError
    """
    before, _ = _held(store, recording, url)
    until = time.time() + min(FIRST_S * 2 ** min(before, 16), MOST_S)
    with contextlib.suppress(StoreFull):
        store.set_setting(attempts_setting(recording), f"{before + 1} {until:.0f} {url}")


def _held(store: Store, recording: int, url: str) -> tuple[int, float]:
    """Give how often it was tried, and until when it is left."""
    count, _, rest = store.setting(attempts_setting(recording)).partition(" ")
    until, _, where = rest.partition(" ")
    return (int(count), float(until)) if where == url else (0, 0.0)
