"""Read and write the settings that all users of a store share.

A process also restores settings that its store has lost.

A server that was emptied has forgotten its recordings and its settings, masking among them. Lost recordings are
noticed at once; lost masking would show only in unmasked lines.
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
from cortex_jupyter.store.url import absolute_archive, is_shared, without_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.store.protocol import SettingsStore

_log = logging.getLogger(__name__)

#: Settings that are changed, but never removed.
_NAMES: Final = ("mask", "archive", *(field.name for field in fields(Budget)))
#: Setting with a random word that a recorder writes. If it is missing or different, the store was emptied.
_MARK: Final = "begun"
#: The same as `archive.objects.SCHEMES`, which this room may not import.
_SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https")
_ARCHIVE_HINT: Final = "set s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, or a folder on a file system that all hosts share"


#: Names that an administrator uses, and the settings that keep them.
NAMES: Final = {
    "archive": "archive",
    "max-bytes": "max_bytes",
    "max-age": "max_age_s",
    "max-task-bytes": "max_task_bytes",
    "mask": "mask",
}
_WORDS: Final = {"on": "1", "1": "1", "off": "0", "0": "0", "": "0"}


def read_settings(store: SettingsStore) -> dict[str, str]:
    """Return a store's settings by the names of `NAMES`, "" for those that are not set."""
    stored = store.settings(NAMES.values())
    values = {name: stored.get(key, "") for name, key in NAMES.items()}
    if age := values["max-age"]:
        values["max-age"] = _age_text(float(age))
    return values | {"mask": "on" if values["mask"] == "1" else "off"}


def _age_text(seconds: float) -> str:
    """Return an age as an administrator writes it, without rounding.

    Examples
    --------
    >>> [_age_text(s) for s in (60, 5400, 86400 * 7, 90.5)]
    ['1m', '90m', '7d', '90.5s']
    """
    unit, size = next((u, s) for u, s in (("d", 86400), ("h", 3600), ("m", 60), ("s", seconds or 1)) if not seconds % s)
    return f"{seconds:g}s" if unit == "s" else f"{seconds / size:g}{unit}"


def write_settings(store: SettingsStore, changes: Mapping[str, str]) -> None:
    """Set settings for all users of a store; if one is wrong, set none.

    Parameters
    ----------
    store : SettingsStore
    changes : mapping
        By the names of `NAMES`. An empty value resets a setting.

    Raises
    ------
    BadQuery
        A name or a value is wrong.
    StoreError
    """
    rows: dict[str, str] = {}
    for name, value in changes.items():
        if name not in NAMES:
            raise BadQuery(f"a store has no setting {name!r}", f"set one of {', '.join(NAMES)}")
        if name == "mask":
            if value.lower() not in _WORDS:
                raise BadQuery(f"mask={value!r} is neither on nor off", "write mask=on or mask=off")
            rows[name] = _WORDS[value.lower()]
        elif name == "archive":
            check_archive(store.url, value)
            rows[name] = absolute_archive(value)
        else:
            budget = Budget.parse(**{name.replace("-", "_"): value}, names=(name,) * 3).changed_settings(Budget())
            rows[NAMES[name]] = budget.get(NAMES[name], "")
    for key, value in rows.items():
        store.set_setting(key, value)


def check_archive(store_url: str, url: str) -> None:
    """Check that a URL can be the archive of a store.

    Raises
    ------
    BadQuery
    """
    check_scheme(url, "archive")
    _, separator, rest = url.partition("://")
    if separator and not url.startswith("file:"):
        return
    folder = Path(unquote(rest) if separator else url).expanduser().absolute()
    if url and is_shared(store_url) and not shared_filesystem(folder):
        raise BadQuery(
            f"the folder {folder} is on this host only, so it cannot be the archive of a shared store",
            _ARCHIVE_HINT,
        )


def check_scheme(url: str, name: str) -> None:
    """Check that a URL can be an archive: a folder, or an object store of a known scheme.

    Raises
    ------
    BadQuery
        The message begins with the name of the setting.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme not in ("file", *_SCHEMES):
        raise BadQuery(f"{name}={without_password(url)[:200]!r} cannot be an archive", _ARCHIVE_HINT)


class Settings:
    """Reads a store's settings, and restores those that the store has lost.

    Parameters
    ----------
    store : SettingsStore
    initial : mapping, optional
        The settings that this process was started with. They apply if nothing is set.
    marks : bool, optional
        Whether `look` has to notice that the store was emptied.
    administrator : bool, optional
        Whether `initial` is set in a shared store too.
    """

    def __init__(
        self,
        store: SettingsStore,
        initial: Mapping[str, str] | None = None,
        *,
        marks: bool = False,
        administrator: bool = False,
    ) -> None:
        self._store, self._marks = store, marks
        self._initial = dict(initial or {})
        self._known = dict(self._initial) if administrator or not is_shared(store.url) else {}

    @property
    def masked(self) -> bool:
        """Whether secrets are masked before lines are stored.

        True if this process was started so, whatever the store says.
        """
        return "1" in (self._initial.get("mask"), self._known.get("mask"))

    def look(self) -> bool:
        """Read the settings, and set again those that the store has lost. This blocks.

        Returns
        -------
        bool
            Whether the store was emptied since the last call.

        Raises
        ------
        StoreError
        """
        stored = self._store.settings((*_NAMES, _MARK))
        lost = [name for name in _NAMES if name in self._known and name not in stored]
        for name in lost:
            self._store.set_setting(name, self._known[name])
        emptied = _MARK in self._known and self._known.pop(_MARK) != stored.get(_MARK)
        if emptied:
            _log.warning("the store %s was emptied; set again: %s", self._store.url, ", ".join(lost) or "nothing")
        self._known |= stored
        if self._marks and _MARK not in stored:
            mark = secrets.token_hex(8)
            with contextlib.suppress(StoreFull, StoreBusy):  # the next call is soon
                self._store.set_setting(_MARK, mark)
                self._known[_MARK] = mark
        return emptied
