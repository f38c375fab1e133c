"""Whether secrets and e-mail addresses in lines are masked before the lines are stored.

The setting applies to all users of a store.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery, StoreBusy, StoreError, StoreFull
from cortex_jupyter.parsing.masking import rules
from cortex_jupyter.store.settings import read_lock
from cortex_jupyter.store.url import is_shared

if TYPE_CHECKING:
    from cortex_jupyter.store.protocol import SettingsStore

_log = logging.getLogger(__name__)

#: What `CORTEX_MASK` may say.
WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def requested_masking(*, wish: bool | None = None) -> bool | None:
    """Return whether a setting or `CORTEX_MASK` asks for masking; None if neither says.

    Raises
    ------
    MissingExtra
        Masking is requested, and detect-secrets is not installed.
    BadQuery
        `CORTEX_MASK` is neither true nor false.
    """
    if wish is None and (word := os.environ.get("CORTEX_MASK", "").strip().lower()):
        if word not in WORDS:
            raise BadQuery(f"CORTEX_MASK={word!r} is neither yes nor no", "set it to 1 or 0")
        wish = WORDS[word]
    if wish:
        rules()
    return wish


def configure_masking(store: SettingsStore, *, wish: bool | None = None) -> bool:
    """Return whether lines are masked before they are stored. A request is first set for all users of the store.

    In a shared store only an administrator can set it. A request for masking then applies to the recorders that this
    process starts; a request against it has no effect.

    Parameters
    ----------
    store : SettingsStore
    wish : bool, optional
        What is requested. Default: `CORTEX_MASK`, else what is already set.

    Raises
    ------
    MissingExtra, BadQuery
        As `requested_masking`.
    StoreFull, StoreBusy
        It cannot be set now.
    """
    wish = requested_masking(wish=wish)
    if wish is not None and is_shared(store.url):
        if wish != (store.setting("mask") == "1"):
            word = "on" if wish else "off"
            _log.warning(
                "only an administrator can set masking in %s: cortex-jupyter store set mask=%s", store.url, word
            )
        return wish or store.setting("mask") == "1"
    if wish is not None and wish != (store.setting("mask") == "1"):
        if read_lock(store) is not None:
            return wish or store.setting("mask") == "1"
        try:
            store.set_setting("mask", str(int(wish)))
        except (StoreFull, StoreBusy):
            raise  # a recorder that can write a moment later must have the setting
        except StoreError:
            return wish  # the store is read-only: nothing is recorded, and reading continues
    return store.setting("mask") == "1"
