"""Completion of `%tasklogs`: flags, and the tasks that are known; it never asks the cluster while the user types."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CortexError
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.parsing.level import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Names are asked for in the background when the last answer is older, seconds.
_FRESH_S: Final = 30.0
_VALUES: Final = {
    "--since": ["1m", "5m", "10m", "1h", "all"],
    "--level": [*LEVELS],
    "--stream": ["stdout", "stderr"],
}


class Completer:
    """What may come next on the line.

    Parameters
    ----------
    flags : list of str
    """

    def __init__(self, flags: list[str]) -> None:
        self._flags = flags
        self._names: dict[str, None] = {}
        self._asked = float("-inf")

    def learn(self, names: Iterable[str]) -> None:
        """Keep names of tasks that were seen."""
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
        """Ask for the names for next time."""
        if time.monotonic() - self._asked > _FRESH_S:
            self._asked = time.monotonic()
            runtime().submit(self._ask())

    async def _ask(self) -> None:
        from cortex_jupyter.cluster.tasks import list_tasks  # noqa: PLC0415 - heavy

        try:
            recordings = await runtime().recordings()
            self.learn(info.ref.name for info in recordings.store.recordings())
            if recordings.cluster is not None:
                self.learn(t["name"] for t in await list_tasks(recordings.cluster, recordings.namespace))
        except CortexError:
            return  # names are a convenience; whoever runs the line gets the error
