"""One task that this recorder records now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from cortex_jupyter.recorder.task import TaskRecorder
    from cortex_jupyter.store import Lease, RecordingInfo


@dataclass(slots=True)
class Running:
    """What is known of it while it is recorded.

    Parameters
    ----------
    lease : Lease
    info : RecordingInfo
        As it was when it was taken.
    recorder : TaskRecorder
    merged : int
        Up to which number nothing is left to merge.

    Attributes
    ----------
    task : asyncio.Task
    """

    lease: Lease
    info: RecordingInfo
    recorder: TaskRecorder
    merged: int = 0
    task: asyncio.Task[None] = field(init=False)
