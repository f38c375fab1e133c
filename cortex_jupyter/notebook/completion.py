"""Completion of `%tasklogs`: flags and known tasks. It asks the cluster in the background, never while the user waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CortexError
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.parsing.level import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Age (seconds) above which the names of tasks are read again.
_FRESH_S: Final = 30.0
_VALUES: Final = {
    "--since": ["1m", "5m", "10m", "1h", "all"],
    "--level": [*LEVELS],
    "--stream": ["stdout", "stderr"],
}


class Completer:
    """Completes the line of the magic.

    Parameters
    ----------
    flags : list of str
    """

    def __init__(self, flags: list[str]) -> None:
        self._flags = flags
        self._names: dict[str, None] = {}
        self._read_at = float("-inf")

    def learn(self, names: Iterable[str]) -> None:
        """Remember names of tasks."""
        self._names |= dict.fromkeys(names)

    def __call__(self, _: object, event: Any) -> list[str]:
        """Answer IPython's `complete_command` hook."""
        self._refresh()
        words = str(event.line).split()
        symbol = str(event.symbol)
        before = words[-2] if symbol and len(words) > 1 else words[-1]
        if before in _VALUES:
            return [v for v in _VALUES[before] if v.startswith(symbol)]
        flags = [f for f in self._flags if f.startswith(symbol)]
        return flags if symbol.startswith("-") else [n for n in self._names if n.startswith(symbol)] + flags

    def _refresh(self) -> None:
        """Read the names in the background, for the next completion."""
        if time.monotonic() - self._read_at > _FRESH_S:
            self._read_at = time.monotonic()
            runtime().submit(self._read_names())

    async def _read_names(self) -> None:
        from cortex_jupyter.cluster.tasks import list_tasks  # heavy

        try:
            recordings = await runtime().recordings()
            self.learn(info.ref.name for info in recordings.store.recordings())
            if recordings.cluster is not None:
                self.learn(t["name"] for t in await list_tasks(recordings.cluster, recordings.namespace))
        except CortexError:
            return  # the magic itself reports the error when the line is run
