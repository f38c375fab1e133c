"""Wait for a store that does not answer, such as a server that is restarted or fails over to another."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cortex_jupyter.errors import StoreBusy

#: A reader gives up after this time (seconds); it can come back later with its cursor.
_GIVE_UP_S: Final = 60.0
_RETRY_S: Final = 0.5


class RetryDeadline:
    """How long one reader retries."""

    def __init__(self) -> None:
        self._since = 0.0

    async def wait(self, error: StoreBusy) -> None:
        """Wait before the next attempt.

        Raises
        ------
        StoreBusy
            The store has not answered for too long.
        """
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > _GIVE_UP_S:
            raise error
        await asyncio.sleep(_RETRY_S)

    def clear(self) -> None:
        """Note that the store answers."""
        self._since = 0.0
