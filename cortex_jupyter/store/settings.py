"""Read and write the settings that all users of a store share.

A process also restores settings that its store has lost.

A server that was emptied has forgotten its recordings and its settings, masking among them. Lost recordings are
noticed at once; lost masking would show only in unmasked lines.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import orjson

from cortex_jupyter.errors import BadQuery, StoreBusy, StoreFull
from cortex_jupyter.store.budget import Budget, age_setting
from cortex_jupyter.store.local import shared_filesystem
from cortex_jupyter.store.quotas import SETTING as QUOTAS
from cortex_jupyter.store.quotas import Quota, Quotas, read_quotas
from cortex_jupyter.store.url import absolute_archive, is_shared, without_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.store.protocol import SettingsStore

_log = logging.getLogger(__name__)

#: Settings that are changed, but never removed.
_NAMES: Final = ("mask", "archive", "collectors", QUOTAS, *(field.name for field in fields(Budget)))
#: Setting with a random word that a recorder writes. If it is missing or different, the store was emptied.
_MARK: Final = "begun"
#: Setting with the origin of the lock; empty if the settings are not locked.
_LOCK: Final = "locked"
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
    "collectors": "collectors",
}
#: The environment variables of these settings.
VARIABLES: Final = {
    "archive": "CORTEX_ARCHIVE",
    "max_bytes": "CORTEX_STORE_MAX_BYTES",
    "max_age_s": "CORTEX_STORE_MAX_AGE",
    "max_task_bytes": "CORTEX_STORE_MAX_TASK_BYTES",
    "mask": "CORTEX_MASK",
}
_WORDS: Final = {"on": "1", "1": "1", "off": "0", "0": "0", "": "0"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Who set a setting, and when.

    Parameters
    ----------
    by : str
    at : float
        Seconds since the Unix epoch.
    value : str, optional
        The value that was set then. If the store has another one, a program set that without being an administrator:
        an older version did so.
    """

    by: str
    at: float
    value: str = ""

    def __str__(self) -> str:
        return f"by {self.by}, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(self.at))}"

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Return the origin that a store keeps as text, None for an empty or unknown one."""
        try:
            return cls(**orjson.loads(text))
        except (ValueError, TypeError):
            return None

    def encode(self) -> str:
        """Return the form that a store keeps."""
        return orjson.dumps(self).decode()


def read_settings(store: SettingsStore) -> dict[str, str]:
    """Return a store's settings by the names of `NAMES`, "" for a setting that is not set."""
    stored = store.settings(NAMES.values())
    values = {name: stored.get(key, "") for name, key in NAMES.items()}
    if age := values["max-age"]:
        values["max-age"] = age_setting(float(age))
    return values | {"mask": "on" if values["mask"] == "1" else "off"}


def read_origins(store: SettingsStore) -> dict[str, Origin]:
    """Return who set each setting, by the names of `NAMES`, as far as that is known."""
    stored = store.settings(_origin_of(key) for key in NAMES.values())
    origins = {name: Origin.parse(stored.get(_origin_of(key), "")) for name, key in NAMES.items()}
    return {name: origin for name, origin in origins.items() if origin is not None}


def read_lock(store: SettingsStore) -> Origin | None:
    """Return who locked the settings of a store, None if they are not locked."""
    return Origin.parse(store.setting(_LOCK))


def lock_settings(store: SettingsStore, by: str, *, locked: bool = True) -> None:
    """Lock the settings of a store, so that no program changes them, or unlock them."""
    store.set_setting(_LOCK, Origin(by, time.time()).encode() if locked else "")


def write_settings(store: SettingsStore, changes: Mapping[str, str], by: str) -> None:
    """Set settings for all users of a store; if one is wrong, set none.

    Parameters
    ----------
    store : SettingsStore
    changes : mapping
        By the names of `NAMES`. An empty value resets a setting.
    by : str
        Who sets them.

    Raises
    ------
    BadQuery
        A name or a value is wrong, or the settings are locked.
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
        elif name == "collectors":
            if value and not value.isdecimal():
                raise BadQuery(f"collectors={value!r} is no number", "write how many should run, such as collectors=2")
            rows[name] = value
        elif name == "archive":
            check_archive(store.url, value)
            rows[name] = absolute_archive(value)
        else:
            budget = Budget.parse(**{name.replace("-", "_"): value}, names=(name,) * 3).changed_settings(Budget())
            rows[NAMES[name]] = budget.get(NAMES[name], "")
    _check_unlocked(store)
    store.set_settings(_with_origins(rows, by))


def write_quota(store: SettingsStore, namespace: str, changes: Mapping[str, str], by: str) -> None:
    """Change the quota of a namespace for all users of a store.

    Parameters
    ----------
    store : SettingsStore
    namespace : str
        `quotas.ANY` for all namespaces without a value of their own.
    changes : mapping
        As for `Quota.changed`.
    by : str
        Who changes it.

    Raises
    ------
    BadQuery
        A name or a value is wrong, or the settings are locked.
    StoreError
    """
    quotas = read_quotas(store)
    quotas = quotas.with_quota(namespace, quotas.named.get(namespace, Quota()).changed(changes))
    _check_unlocked(store)
    store.set_settings({QUOTAS: quotas.encode(), _origin_of(QUOTAS): Origin(by, time.time()).encode()})


def read_quotas_origin(store: SettingsStore) -> Origin | None:
    """Return who changed the quotas last; None if they were never changed."""
    return Origin.parse(store.setting(_origin_of(QUOTAS)))


def _check_unlocked(store: SettingsStore) -> None:
    if lock := read_lock(store):
        raise BadQuery(
            f"the settings of {store.url} are locked {lock}", "unlock them first: cortex-jupyter store lock --off"
        )


def adopt_settings(store: SettingsStore, own: Mapping[str, str], by: str) -> None:
    """Set a collector's own settings for all users of a shared store, unless they are locked.

    Parameters
    ----------
    store : SettingsStore
    own : mapping
        By the names that stores keep.
    by : str
        Who sets them; the variable is added.

    Raises
    ------
    BadQuery
        The archive is on this host only.
    StoreError
    """
    check_archive(store.url, own.get("archive", ""))
    if not own:
        return
    stored = store.settings(own)
    if lock := read_lock(store):
        for name, value in own.items():
            if stored.get(name, "") != value:
                _log.warning(
                    "%s of this collector has no effect: the settings of %s are locked %s",
                    VARIABLES[name],
                    store.url,
                    lock,
                )
        return
    rows: dict[str, str] = {}
    for name, value in own.items():
        rows |= _with_origins({name: value}, f"{by} with {VARIABLES[name]}")
        if stored.get(name, value) != value:
            _log.info("the setting %s of %s was %s, and is %s now", name, store.url, stored[name] or "empty", value)
    store.set_settings(rows)


def _with_origins(rows: Mapping[str, str], by: str) -> dict[str, str]:
    origins = {_origin_of(name): Origin(by, time.time(), value).encode() for name, value in rows.items()}
    return {**rows, **origins}


def _origin_of(key: str) -> str:
    return f"set:{key}"


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


_KEPT: Final = (*_NAMES, _LOCK, *map(_origin_of, (*NAMES.values(), QUOTAS)))


class Settings:
    """Reads a store's settings, and restores the ones that the store has lost.

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
        self._own = dict(self._initial) if administrator and is_shared(store.url) else {}
        self._known = dict(self._initial) if administrator or not is_shared(store.url) else {}

    @property
    def masked(self) -> bool:
        """Whether secrets are masked before lines are stored.

        True if this process was started so, whatever the store says.
        """
        return "1" in (self._initial.get("mask"), self._known.get("mask"))

    @property
    def quotas(self) -> Quotas:
        """The quotas of namespaces, as `look` has read them."""
        return Quotas.decode(self._known.get(QUOTAS, ""))

    def look(self) -> bool:
        """Read the settings, and set the ones again that the store has lost. This blocks.

        Returns
        -------
        bool
            Whether the store was emptied since the last call.

        Raises
        ------
        StoreError
        """
        stored = self._store.settings((*_KEPT, _MARK))
        if stored.get(_LOCK):
            self._known = {name: value for name, value in self._known.items() if name not in self._own}
            self._own = {}
        self._restore_own(stored)
        lost = [name for name in _KEPT if name in self._known and name not in stored]
        if lost and not self._store.is_reader():
            self._store.set_settings({name: self._known[name] for name in lost})
        emptied = _MARK in self._known and self._known.pop(_MARK) != stored.get(_MARK)
        if emptied:
            names = ", ".join(name for name in lost if name in _NAMES)
            _log.warning("the store %s was emptied; set again: %s", self._store.url, names or "nothing")
        self._known |= stored
        if self._marks and _MARK not in stored:
            mark = secrets.token_hex(8)
            with contextlib.suppress(StoreFull, StoreBusy):  # the next call is soon
                self._store.set_setting(_MARK, mark)
                self._known[_MARK] = mark
        return emptied

    def _restore_own(self, stored: dict[str, str]) -> None:
        """Set a collector's own settings again if a program has replaced them that is no administrator."""
        for name, value in self._own.items():
            origin = Origin.parse(stored.get(_origin_of(name), ""))
            if name in stored and origin is not None and stored[name] not in (origin.value, value):
                _log.warning(
                    "the setting %s of %s was changed to %s by a program of an older version; set again: %s",
                    name,
                    self._store.url,
                    stored[name],
                    value,
                )
                rows = _with_origins({name: value}, f"{origin.by}, again")
                self._store.set_settings(rows)
                stored |= rows
