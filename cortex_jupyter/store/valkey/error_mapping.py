"""What a Valkey server and the way to it say, as our own errors; each with what to do next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from valkey import exceptions as theirs

from cortex_jupyter.errors import LeaseLost, StoreError, StoreFull, StoreTooNew, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL: Final = "raise the server's `maxmemory`, or lower store_max_bytes (CORTEX_STORE_MAX_BYTES) so that completed recordings leave earlier; recording goes on by itself, and loses nothing that the cluster still has"
_DISK: Final = "make room on the disk of the Valkey server; recording goes on by itself, and loses nothing that the cluster still has"
_REFUSED: Final = "put the password into CORTEX_STORE_PASSWORD, or into CORTEX_STORE as valkey://USER:PASSWORD@HOST"
_ALLOWED: Final = "let this user read and write `cortex:*` and run scripts: ACL SETUSER NAME ~cortex:* &cortex:* +@all"
#: What passes by itself: it starts, it has no primary or too few replicas now, a script takes long.
_PASSES: Final = ("LOADING", "MASTERDOWN", "NOREPLICAS", "BUSY", "READONLY", "CLUSTERDOWN", "TRYAGAIN")

_AWAY: Final = (theirs.ConnectionError, theirs.TimeoutError, theirs.ReadOnlyError, OSError)


@contextmanager
def errors(url: str) -> Iterator[None]:
    """Turn what the client raises into our own errors.

    Parameters
    ----------
    url : str
        The store's, without a password.

    Raises
    ------
    StoreUnreachable, StoreFull, StoreTooNew, LeaseLost, StoreError
    """
    try:
        yield
    except (theirs.ValkeyError, OSError) as error:
        raise _meaning(url, error) from error


def too_new(url: str, form: str) -> StoreTooNew:
    """Give what to say of a store whose `cortex:version` is that of a newer program."""
    return StoreTooNew(f"{url} is kept by a newer version of cortex-jupyter (form {form.split(maxsplit=1)[0]})")


def _meaning(url: str, error: Exception) -> StoreError:
    said = str(error)
    text = f"the recordings in {url} cannot be used: {said}"
    found = StoreError(text, "`cortex-jupyter doctor` looks at the store")
    if said.startswith("LEASE "):
        found = LeaseLost(said.removeprefix("LEASE ").partition(" script:")[0])
    elif said.startswith("VERSION "):
        found = too_new(url, said.removeprefix("VERSION "))
    elif isinstance(error, theirs.AuthenticationError) or said.startswith(("NOAUTH", "WRONGPASS")):
        found = StoreError(f"{url} refuses the user or the password", _REFUSED)
    elif isinstance(error, theirs.NoPermissionError):
        found = StoreError(text, _ALLOWED)
    elif isinstance(error, theirs.OutOfMemoryError):
        found = StoreFull(f"{url} has reached its memory limit", _FULL)
    elif said.startswith("MISCONF"):
        found = StoreFull(f"{url} cannot write to its disk", _DISK)
    # The client knows some answers as classes of their own, and takes the first word away.
    elif isinstance(error, _AWAY) or said.startswith(_PASSES):
        found = StoreUnreachable(f"{url} does not answer: {said}")
    return found
