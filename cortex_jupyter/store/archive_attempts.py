"""When a recording that could not be archived is tried again: later each time, by any recorder.

An attempt is noted before it begins, because a failure may kill the process that tries.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.store.protocol import SettingsStore

#: Seconds until the second attempt. They double with each attempt, up to the maximum.
FIRST_S, MAX_S = 120.0, 3600.0
_NAME: Final = "archiving:"


def attempts_setting(recording: int) -> str:
    """Return the name of the setting that holds a recording's attempts.

    It is deleted when the recording is archived or leaves.
    """
    return f"{_NAME}{recording}"


def due_recordings(store: SettingsStore, recordings: Iterable[int], url: str) -> list[int]:
    """Return the recordings that may be tried now.

    Parameters
    ----------
    store : SettingsStore
    recordings : iterable of int
    url : str
        URL of the archive. Attempts with another archive do not count.

    Raises
    ------
    StoreError
    """
    return [recording for recording in recordings if _attempts(store, recording, url)[1] <= time.time()]


def is_archived(store: SettingsStore, recording: int, url: str) -> bool:
    """Return whether a recording is in this archive.

    Raises
    ------
    StoreError
    """
    return store.setting(f"archived:{recording}") == url


def note_attempt(store: SettingsStore, recording: int, url: str) -> None:
    """Note an attempt. If the store is full the attempt goes ahead anyway, since archiving makes room.

    Raises
    ------
    StoreError
    """
    attempts, _ = _attempts(store, recording, url)
    until = time.time() + min(FIRST_S * 2 ** min(attempts, 16), MAX_S)
    with contextlib.suppress(StoreFull):
        store.set_setting(attempts_setting(recording), f"{attempts + 1} {until:.0f} {url}")


def _attempts(store: SettingsStore, recording: int, url: str) -> tuple[int, float]:
    """Return the number of attempts, and the earliest time of the next one (epoch seconds)."""
    count, _, rest = store.setting(attempts_setting(recording)).partition(" ")
    until, _, archive = rest.partition(" ")
    return (int(count), float(until)) if archive == url else (0, 0.0)
