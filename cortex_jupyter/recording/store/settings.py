"""What is set for all who use a store, as one process knows it: written again where the store has lost it.

A server that was emptied has forgotten its recordings, and that secrets are to be masked. The first is plain to see, the
second would be found in the lines.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import StoreBusy, StoreFull
from cortex_jupyter.recording.store.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.recording.store.store import Store

_log = logging.getLogger(__name__)

#: What is only ever changed, never taken away.
_NAMES: Final = ("mask", "archive", *(field.name for field in fields(Budget)))
#: A word that a recorder leaves there: another one, or none, and the store has begun anew.
_MARK: Final = "begun"


class Settings:
    """The settings of one store.

    Parameters
    ----------
    store : Store
    told : mapping, optional
        What this process was started with, to be set where nothing is.
    marks : bool, optional
        Whether it has to know that the store was emptied.
    """

    def __init__(self, store: Store, told: Mapping[str, str] | None = None, *, marks: bool = False) -> None:
        self._store, self._marks = store, marks
        self._told = dict(told or {})
        self._known = dict(self._told)

    @property
    def masked(self) -> bool:
        """Whether secrets are masked before lines are stored: where this process was told so, whatever others say."""
        return "1" in (self._told.get("mask"), self._known.get("mask"))

    def look(self) -> bool:
        """Take in what is set, and set again what the store has lost; it blocks.

        Returns
        -------
        bool
            Whether the store was emptied since the last look.

        Raises
        ------
        StoreError
        """
        held = self._store.settings((*_NAMES, _MARK))
        lost = [name for name in _NAMES if name in self._known and name not in held]
        for name in lost:
            self._store.set_setting(name, self._known[name])
        emptied = _MARK in self._known and self._known.pop(_MARK) != held.get(_MARK)
        if emptied:
            _log.warning("the store %s was emptied; set again: %s", self._store.url, ", ".join(lost) or "nothing")
        self._known |= held
        if self._marks and _MARK not in held:
            mark = secrets.token_hex(8)
            with contextlib.suppress(StoreFull, StoreBusy):  # the next look is soon
                self._store.set_setting(_MARK, mark)
                self._known[_MARK] = mark
        return emptied
