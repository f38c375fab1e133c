"""A little room beside the store, given up when the disk is full so that this can still be said in the store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes that are kept, and as many again that must be free before recording goes on: what was just given up is no room.
#: Enough for a checkpoint of the whole write-ahead log (4 MB), which then has room within itself for what is to be said.
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
        """Take the room where it is not taken; tell whether it is."""
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
        """Give it up."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
