"""Threads for filters, so that a slow pattern delays only readers that filter."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from cortex_jupyter.query.filter import RowFilter

T = TypeVar("T")

#: Threads that all filtering readers share.
THREADS: Final = 4
_POOL: Final = ThreadPoolExecutor(THREADS, "cortex-filter")


async def run_filter(keep: RowFilter | None, work: Callable[..., T], *args: object) -> T:
    """Run blocking work in a thread, like `asyncio.to_thread`; with a filter, in one of the threads for filters."""
    if keep is None:
        return await asyncio.to_thread(work, *args)
    return await asyncio.get_running_loop().run_in_executor(_POOL, work, *args)


async def in_thread(iterator: Iterator[T], keep: RowFilter | None = None) -> AsyncGenerator[T]:
    """Run a blocking iterator in threads, one step at a time; with a filter, in the threads for filters."""
    nothing = object()
    while (item := await run_filter(keep, next, iterator, nothing)) is not nothing:
        yield item
