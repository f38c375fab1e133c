"""How much of the disk recordings may take, and for how long: as it is written, and as a store keeps it."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    from pathlib import Path

_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
#: Without a setting: this much, or this share of the disk where that is less; and this long.
_MOST_BYTES: Final = 20 << 30
_SHARE: Final = 0.1
MOST_AGE_S: Final = 30 * 86400.0
NOT_HELD: Final = (
    "start again without a cursor; how much is kept for how long is set by store_max_bytes and store_max_age "
    "(CORTEX_STORE_MAX_BYTES, CORTEX_STORE_MAX_AGE)"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What recordings may take; None where nothing is set.

    Parameters
    ----------
    max_bytes : int or None
    max_age_s : float or None
        Counted from the end of a task.
    """

    max_bytes: int | None = None
    max_age_s: float | None = None

    @classmethod
    def read(cls, max_bytes: str = "", max_age: str = "") -> Budget:
        """Read settings; what is empty is not set.

        Raises
        ------
        BadQuery

        Examples
        --------
        >>> Budget.read("50GB", "30d")
        Budget(max_bytes=50000000000, max_age_s=2592000.0)
        >>> Budget.read("1.5 GiB").max_bytes
        1610612736
        """
        return cls(_bytes(max_bytes) if max_bytes else None, _age(max_age) if max_age else None)

    @classmethod
    def from_environment(cls) -> Budget:
        """Read `CORTEX_STORE_MAX_BYTES` and `CORTEX_STORE_MAX_AGE`.

        Raises
        ------
        BadQuery
        """
        return cls.read(os.environ.get("CORTEX_STORE_MAX_BYTES", ""), os.environ.get("CORTEX_STORE_MAX_AGE", ""))

    def over(self, other: Budget) -> Budget:
        """Give what is set here, and what only the other sets."""
        return Budget(
            other.max_bytes if self.max_bytes is None else self.max_bytes,
            other.max_age_s if self.max_age_s is None else self.max_age_s,
        )


def default_budget(path: Path) -> Budget:
    """Give what holds for a store where nothing is set: 20 GiB or a tenth of its disk, whichever is less; 30 days."""
    try:
        share = int(shutil.disk_usage(path.parent).total * _SHARE)
    except OSError:
        share = _MOST_BYTES
    return Budget(min(_MOST_BYTES, share), MOST_AGE_S)


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise BadQuery(f"{text[:60]!r} is no size", "write store_max_bytes as 50GB, 500MiB or a number of bytes")
    number, power, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[power.lower()])


def _age(text: str) -> float:
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise BadQuery(f"{text[:60]!r} is no age", "write store_max_age as 30d, 12h or 4w")
    return float(found[1]) * _SECONDS[found[2]]
