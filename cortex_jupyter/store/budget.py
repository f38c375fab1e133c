"""How many bytes recordings may take and for how long they stay: parsed from settings, and kept in a store."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_VARIABLES: Final = ("CORTEX_STORE_MAX_BYTES", "CORTEX_STORE_MAX_AGE", "CORTEX_STORE_MAX_TASK_BYTES")
#: Default of the budget in bytes, unless `_SHARE` of the disk is less.
_MAX_BYTES: Final = 20 << 30
#: Default of the budget as a share of the disk, unless `_MAX_BYTES` is less.
_SHARE: Final = 0.1
#: Default of the maximum age of a completed recording in seconds.
MAX_AGE_S: Final = 30 * 86400.0
NOT_HELD_HINT: Final = (
    "start again without a cursor; store_max_bytes and store_max_age (CORTEX_STORE_MAX_BYTES, CORTEX_STORE_MAX_AGE) "
    "and the quota of the task's namespace set how much is kept, and for how long"
)
#: What to do about a Valkey server whose memory is full.
SERVER_FULL_HINT: Final = (
    "raise the server's `maxmemory`, or set an archive and less room for completed recordings "
    "(`cortex-jupyter store set archive=... max-bytes=...`); recording goes on by itself, and loses nothing that the "
    "cluster still has"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What recordings may take; None for a part that is not set.

    Parameters
    ----------
    max_bytes : int or None
    max_age_s : float or None
        Age since the end of the task.
    max_task_bytes : int or None
        Size of a recording while its task runs. Beyond it the oldest lines leave, and a gap notice says so.
    """

    max_bytes: int | None = None
    max_age_s: float | None = None
    max_task_bytes: int | None = None

    @classmethod
    def parse(
        cls,
        max_bytes: str = "",
        max_age: str = "",
        max_task_bytes: str = "",
        names: tuple[str, str, str] = ("store_max_bytes", "store_max_age", "store_max_task_bytes"),
    ) -> Budget:
        """Parse settings; an empty one is not set.

        Parameters
        ----------
        max_bytes, max_age, max_task_bytes : str, optional
        names : tuple of str, optional
            Where each was set, for messages.

        Raises
        ------
        BadQuery

        Examples
        --------
        >>> Budget.parse("50GB", "30d")
        Budget(max_bytes=50000000000, max_age_s=2592000.0, max_task_bytes=None)
        >>> Budget.parse("1.5 GiB").max_bytes
        1610612736
        """
        return cls(
            _bytes(max_bytes, names[0]) if max_bytes else None,
            _age(max_age, names[1]) if max_age else None,
            _bytes(max_task_bytes, names[2]) if max_task_bytes else None,
        )

    @classmethod
    def from_environment(cls) -> Budget:
        """Parse `CORTEX_STORE_MAX_BYTES`, `CORTEX_STORE_MAX_AGE` and `CORTEX_STORE_MAX_TASK_BYTES`.

        Raises
        ------
        BadQuery
        """
        size, age, task_size = (os.environ.get(name, "") for name in _VARIABLES)
        return cls.parse(size, age, task_size, _VARIABLES)

    def with_defaults(self, other: Budget) -> Budget:
        """Return this budget, with the other's values for parts that are not set here."""
        return Budget(
            **{name: getattr(other, name) if value is None else value for name, value in asdict(self).items()}
        )

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Budget:
        """Build a budget from a store's settings, ignoring unrelated ones."""
        size, age, task_size = (settings.get(name) for name in ("max_bytes", "max_age_s", "max_task_bytes"))
        return cls(int(size) if size else None, float(age) if age else None, int(task_size) if task_size else None)

    def changed_settings(self, current: Budget) -> dict[str, str]:
        """Return the settings that a store has to change, given the budget that it has."""
        return {k: str(v) for k, v in asdict(self).items() if v is not None and v != getattr(current, k)}


def default_budget(path: Path) -> Budget:
    """Return the default budget: 20 GiB or a tenth of the disk, whichever is less, and 30 days."""
    try:
        share = int(shutil.disk_usage(path.parent).total * _SHARE)
    except OSError:
        share = _MAX_BYTES
    return Budget(min(_MAX_BYTES, share), MAX_AGE_S)


def age_setting(age_s: float) -> str:
    """Return an age as `Budget.parse` takes it, in the largest unit that needs no fraction.

    Examples
    --------
    >>> [age_setting(age_s) for age_s in (30 * 86400, 3600, 1.5 * 86400, 90, 0.5)]
    ['30d', '1h', '36h', '90s', '0.5s']
    """
    for unit in "dhm":
        if age_s % _SECONDS[unit] == 0:
            return f"{age_s / _SECONDS[unit]:.0f}{unit}"
    return f"{age_s:.15g}s"


def _bytes(text: str, name: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadQuery(f"{name}={text[:60]!r} is not a size", "write 50GB, 500MiB or a number of bytes")
    number, power, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[power.lower()])


def _age(text: str, name: str) -> float:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise BadQuery(f"{name}={text[:60]!r} is not an age", "write 30d, 12h or 4w")
    return float(match[1]) * _SECONDS[match[2]]
