"""Map errors of SQLite and the system to ours: full, busy, or broken, each with a hint.

Full and busy are temporary: a writer waits and tries again. Broken does not pass by itself.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import StoreBusy, StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAMAGED_HINT: Final = "move the file away, or set CORTEX_STORE to another place; lines are read again from the cluster where they still are"
_READ_ONLY_HINT: Final = "make the file and its folder writable, or set CORTEX_STORE to another place"
#: With less free space than this (bytes) nothing can be written.
_MIN_FREE_BYTES: Final = 256 << 10
#: https://sqlite.org/rescode.html. A quota or a size limit shows as a failed write; a full disk may also show as
#: shared memory that cannot grow.
_FULL: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
#: Mask of a primary result code.
_PRIMARY: Final = 0xFF


def disk_full(path: Path) -> bool:
    """Return whether the disk of a file has no room for another commit."""
    try:
        return shutil.disk_usage(path.parent).free < _MIN_FREE_BYTES
    except OSError:
        return False


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Raise our own errors in place of errors of SQLite and the system.

    Raises
    ------
    StoreFull, StoreBusy, StoreError
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _mapped(path, error) from error


def _mapped(path: Path, error: sqlite3.Error | OSError) -> StoreError:
    text = f"the recordings in {path} cannot be used: {error}"
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return StoreFull(text) if full else StoreError(text, DAMAGED_HINT)
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code in _FULL or (code & _PRIMARY in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and disk_full(path)):
        return StoreFull(text)
    if code & _PRIMARY in _BUSY:
        return StoreBusy(text)
    return StoreError(text, _READ_ONLY_HINT if code & _PRIMARY == sqlite3.SQLITE_READONLY else DAMAGED_HINT)
