"""What shows others that this recorder lives."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError, StoreBusy, StoreFull, StoreTooNew
from cortex_jupyter.recording.process import telemetry
from cortex_jupyter.recording.writing.patience import RETRY_S

if TYPE_CHECKING:
    from cortex_jupyter.recording.process.pulse import Pulse
    from cortex_jupyter.recording.store import Recorder, Store

_log = logging.getLogger(__name__)

#: How long, seconds, it tries to write its first heartbeat into a store that is full or busy.
_APPEAR_S: Final = 60.0
BEAT_S: Final = 1.0


async def appear(store: Store, me: Recorder, pulse: Pulse, *, patient: bool = False) -> None:
    """Be seen by who looks for a recorder, as soon as the store takes it.

    Parameters
    ----------
    store : Store
    me : Recorder
    pulse : Pulse
    patient : bool, optional
        Wait for the store for as long as it takes: nobody waits for us.

    Raises
    ------
    StoreError
    """
    end = time.monotonic() + (math.inf if patient else _APPEAR_S)
    while True:
        try:
            await _beat(store, me, pulse)
        except (StoreFull, StoreBusy):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return


async def beat(store: Store, me: Recorder, pulse: Pulse) -> StoreTooNew:
    """Be seen for ever after; gives why it cannot go on."""
    said = ""
    while True:
        await asyncio.sleep(BEAT_S)
        try:
            await _beat(store, me, pulse)
            said = ""
        except StoreTooNew as error:
            return error
        except CortexError as error:
            if error.message != said:  # not every second: our log may be on the same full disk
                _log.warning("%s", error)
            said = error.message
        except Exception:  # noqa: BLE001 - others take over what we record where none comes
            _log.exception("A heartbeat failed")


async def _beat(store: Store, me: Recorder, pulse: Pulse) -> None:
    pulse.turned()
    await asyncio.to_thread(store.beat, me)
    pulse.taken()
    telemetry.BEAT.set_to_current_time()
