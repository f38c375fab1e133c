"""Return the numbers, the patterns or the ranks of a whole recording as events, for the HTTP handlers and for the comm.

A process of its own (`analysis.metrics_worker` and others) does the work, and ends with its last reader.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError
from cortex_jupyter.query.bounds import QUERY_S
from cortex_jupyter.reader.answers import Answers
from cortex_jupyter.reader.process import EndedEarlyError, event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cortex_jupyter.reader.session import Recording

#: Longest silence (seconds). A process reports after each piece of 65 536 lines and while it groups lines, so its silences take
#: a few seconds, on a busy machine too.
_SILENCE_S: Final = 60.0


def measured(recording: Recording, query_s: float = QUERY_S) -> AsyncGenerator[bytes]:
    """Return the events of `analysis.metrics_worker.measure`, in pieces; readers at the same time share one process."""
    return _events(recording, "metrics", query_s)


def patterned(recording: Recording, query_s: float = QUERY_S) -> AsyncGenerator[bytes]:
    """Return the events of `analysis.patterns_worker.summarize`, in pieces; readers at the same time share one process."""
    return _events(recording, "patterns", query_s)


def ranked(recording: Recording, query_s: float = QUERY_S) -> AsyncGenerator[bytes]:
    """Return the events of `analysis.ranks_worker.compare`, in pieces; readers at the same time share one process."""
    return _events(recording, "ranks", query_s)


async def _events(recording: Recording, kind: str, query_s: float) -> AsyncGenerator[bytes]:
    request = {"store": recording.store.url, "recording": recording.id, "query_s": query_s}
    try:
        upto = (await recording.info()).last_seq
        async with aclosing(
            Answers.of_running_loop().read(f"cortex_jupyter.analysis.{kind}_worker", request, _SILENCE_S, upto)
        ) as pieces:
            async for piece in pieces:
                yield piece
    except CortexError as error:
        yield event("error", **error.as_dict())
    except (EndedEarlyError, OSError):  # includes TimeoutError
        message = f"the {kind} could not be read to the end"
        yield event("error", code=f"{kind.title()}Failed", message=message, hint="the server's log says why")
