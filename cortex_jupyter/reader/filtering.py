"""Threads for what filters lines: a pattern that takes its time keeps nobody waiting who has none."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.query.filter import RowFilter

T = TypeVar("T")

#: Of all readers together.
THREADS: Final = 4
_POOL: Final = ThreadPoolExecutor(THREADS, "cortex-filter")


async def in_turn(keep: RowFilter | None, work: Callable[..., T], *args: Any) -> T:
    """Do in a thread what blocks, as `asyncio.to_thread`; where it filters, in one of those for that."""
    if keep is None:
        return await asyncio.to_thread(work, *args)
    return await asyncio.get_running_loop().run_in_executor(_POOL, work, *args)
