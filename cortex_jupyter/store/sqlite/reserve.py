"""A reserve of disk space beside the store, given up when the disk is full so that the store can still record that."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Size of the reserve in bytes. As many again must be free before recording continues, since space that was just given
#: up does not count. It suffices for a checkpoint of the whole write-ahead log (4 MB), after which notices fit into
#: the log.
SIZE: Final = 8 << 20


class Reserve:
    """A file of zeros.

    Parameters
    ----------
    path : Path
    size : int, optional
    """

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path, self._size = path, size

    def keep(self) -> bool:
        """Create the reserve if it does not exist; return whether it exists."""
        try:
            if self._path.exists() and self._path.stat().st_size == self._size:
                return True
            with self._path.open("wb") as file:
                file.write(bytes(2 * self._size))
                file.flush()
                file.truncate(self._size)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the space back to the disk."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
