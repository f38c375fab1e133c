"""What is set for all who use a store: who may set it, and how one process writes it again where the store has lost it.

A server that was emptied has forgotten its recordings, and that secrets are to be masked. The first is plain to see, the
second would be found in the lines.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from cortex_jupyter.errors import BadQuery, StoreBusy, StoreFull
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.local import shared_filesystem
from cortex_jupyter.store.url import absolute_archive, is_shared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.store.protocol import Store

_log = logging.getLogger(__name__)

#: What is only ever changed, never taken away.
_NAMES: Final = ("mask", "archive", *(field.name for field in fields(Budget)))
#: A word that a recorder leaves there: another one, or none, and the store has begun anew.
_MARK: Final = "begun"
#: As `archive.objects.SCHEMES`, of a room above this one.
_SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https")
_PLACES: Final = "set s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, or a folder that all hosts have"


#: What an administrator sets, and the setting that keeps it.
NAMES: Final = {
    "archive": "archive",
    "max-bytes": "max_bytes",
    "max-age": "max_age_s",
    "max-task-bytes": "max_task_bytes",
    "mask": "mask",
}
_WORDS: Final = {"on": "1", "1": "1", "off": "0", "0": "0", "": "0"}


def read_settings(store: Store) -> dict[str, str]:
    """Return what is set in a store by the names of `NAMES`, "" for what is not."""
    held = store.settings(NAMES.values())
    found = {name: held.get(key, "") for name, key in NAMES.items()}
    if age := found["max-age"]:
        found["max-age"] = f"{float(age) / 86400:g}d"
    return found | {"mask": "on" if found["mask"] == "1" else "off"}


def write_settings(store: Store, wanted: Mapping[str, str]) -> None:
    """Set some for all who use a store; where one is wrong, none.

    Parameters
    ----------
    store : Store
    wanted : mapping
        By the names of `NAMES`; an empty value takes one back.

    Raises
    ------
    BadQuery
        A name or a value is wrong.
    StoreError
    """
    rows: dict[str, str] = {}
    for name, value in wanted.items():
        if name not in NAMES:
            raise BadQuery(f"{name!r} is no setting of a store", f"set one of {', '.join(NAMES)}")
        if name == "mask":
            if value.lower() not in _WORDS:
                raise BadQuery(f"mask={value!r} says neither on nor off", "write mask=on or mask=off")
            rows[name] = _WORDS[value.lower()]
        elif name == "archive":
            check_archive(store.url, value)
            rows[name] = absolute_archive(value)
        else:
            budget = Budget.read(**{name.replace("-", "_"): value}).settings(Budget())
            rows[NAMES[name]] = budget.get(NAMES[name], "")
    for key, value in rows.items():
        store.set_setting(key, value)


def check_archive(store_url: str, url: str) -> None:
    """Refuse a place that cannot be the archive of all who use a store.

    Raises
    ------
    BadQuery
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "file":
        if scheme not in _SCHEMES:
            raise BadQuery(f"{url[:200]!r} is no place for an archive", _PLACES)
        return
    folder = Path(unquote(rest) if separator else url).expanduser().absolute()
    if url and is_shared(store_url) and not shared_filesystem(folder):
        raise BadQuery(
            f"the folder {folder} is of this host alone, so it cannot be the archive of a store that others share",
            _PLACES,
        )


class Settings:
    """The settings of one store.

    Parameters
    ----------
    store : Store
    told : mapping, optional
        What this process was started with, to be set where nothing is.
    marks : bool, optional
        Whether it has to know that the store was emptied.
    administrator : bool, optional
        Whether what it was told is set also in a store that others share.
    """

    def __init__(
        self,
        store: Store,
        told: Mapping[str, str] | None = None,
        *,
        marks: bool = False,
        administrator: bool = False,
    ) -> None:
        self._store, self._marks = store, marks
        self._told = dict(told or {})
        self._known = dict(self._told) if administrator or not is_shared(store.url) else {}

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
