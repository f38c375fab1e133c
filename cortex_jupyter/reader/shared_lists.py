"""Lists of tasks that the pages of a server share, so that keeping many pages fresh costs no more than one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.reader.task_list import list_tasks

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.errors import CortexError
    from cortex_jupyter.reader.session import Session

    Rows = tuple[list[dict[str, Any]], CortexError | None]

#: A namespace is listed again for pages after this many times the duration of the last list. So a page that shows a
#: namespace takes at most about a tenth of a core, however many users look at it, or one list in 30 s if that takes longer.
_REST: Final = 10.0
#: Maximum of that time (seconds).
_MAX_REST_S: Final = 30.0
#: Maximum of `max_age` (seconds).
MAX_AGE_S: Final = 60


class SharedLists:
    """The lists of tasks that pages keep fresh. All pages that show a namespace share one list of it."""

    def __init__(self) -> None:
        self._lists: dict[tuple[object, ...], _SharedList] = {}

    async def read(
        self, session: Session, namespace: str, selector: str, person: Person | None, max_age: float
    ) -> tuple[Rows, float]:
        """Return the tasks of a namespace, and in how many seconds there can be newer ones.

        Parameters
        ----------
        session : Session
        namespace, selector : str
        person : Person or None
            The list holds what this person may read, and is shared with no other.
        max_age : float
            Return a list that is up to this old (seconds), or older if the namespace takes long to list.

        Raises
        ------
        NotAllowed, NotFound, NoCluster, ClusterError, BadQuery
            As `task_list.list_tasks`.
        """
        await session.allow(namespace, person)  # a shared list is older than a right that was withdrawn
        now = time.monotonic()
        self._lists = {key: shared for key, shared in self._lists.items() if shared.is_held(now)}
        key = (session.origin, namespace, selector, person)
        shared = self._lists.get(key)
        if shared is None or shared.rest_s(now, max_age) <= 0:
            shared = self._lists[key] = _SharedList(list_tasks(session, namespace, selector, person))
        rows = await asyncio.shield(shared.listing)  # other pages wait for it too
        return rows, max(0.0, shared.rest_s(time.monotonic(), max_age))


class _SharedList:
    """One list of a namespace, which may still be read."""

    def __init__(self, listing: Coroutine[Any, Any, Rows]) -> None:
        self._began = self._ended = time.monotonic()
        self.listing = asyncio.create_task(listing)
        self.listing.add_done_callback(self._end)

    def _end(self, listing: asyncio.Task[Rows]) -> None:
        self._ended = time.monotonic()
        if not listing.cancelled():
            listing.exception()  # all pages may have gone; asyncio must not log it as never retrieved

    def rest_s(self, now: float, max_age: float) -> float:
        """Return for how many seconds the list may still be shown; while it is read, it may."""
        if not self.listing.done():
            return max_age
        return max(max_age, min(_REST * (self._ended - self._began), _MAX_REST_S)) - (now - self._ended)

    def is_held(self, now: float) -> bool:
        """Return whether the list may be needed again. A failure is not remembered."""
        if not self.listing.done():
            return True
        has_failed = self.listing.cancelled() or self.listing.exception() is not None
        return not has_failed and self.rest_s(now, MAX_AGE_S) > 0
