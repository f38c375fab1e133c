"""How long readers wait for a store that does not answer: a server that is started anew, or fails over to another."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cortex_jupyter.errors import StoreBusy

#: So long, seconds; who reads again later goes on from their cursor.
_PATIENCE_S: Final = 60.0
_AGAIN_S: Final = 0.5


class Away:
    """One reader's patience."""

    def __init__(self) -> None:
        self._since = 0.0

    async def wait(self, error: StoreBusy) -> None:
        """Wait until it is worth another attempt.

        Raises
        ------
        StoreBusy
            It has lasted too long.
        """
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > _PATIENCE_S:
            raise error
        await asyncio.sleep(_AGAIN_S)

    def over(self) -> None:
        """Note that it answers."""
        self._since = 0.0
