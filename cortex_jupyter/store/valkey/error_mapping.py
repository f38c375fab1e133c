"""Map errors of a Valkey server and its connection to ours, each with a hint."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from valkey import exceptions as theirs

from cortex_jupyter.errors import LeaseLost, StoreError, StoreFull, StoreTooNew, StoreUnreachable
from cortex_jupyter.store.budget import SERVER_FULL_HINT

if TYPE_CHECKING:
    from collections.abc import Iterator

_DISK: Final = "make room on the disk of the Valkey server; recording goes on by itself, and loses nothing that the cluster still has"
_REFUSED: Final = "put the password into CORTEX_STORE_PASSWORD, or into CORTEX_STORE as valkey://USER:PASSWORD@HOST"
_ALLOWED: Final = (
    "use a user of the Valkey server with that right: `recorder` records, `reader` only reads (their ACLs are in "
    "docs/how-to/valkey-users.acl; a recorder needs ~cortex:* and &cortex:*)"
)
#: Conditions that pass by themselves: the server starts, has no primary or too few replicas, or runs a long script.
_PASSES: Final = ("LOADING", "MASTERDOWN", "NOREPLICAS", "BUSY", "READONLY", "CLUSTERDOWN", "TRYAGAIN")

_AWAY: Final = (theirs.ConnectionError, theirs.TimeoutError, theirs.ReadOnlyError, OSError)


@contextmanager
def errors(url: str) -> Iterator[None]:
    """Raise our own errors in place of the client's.

    Parameters
    ----------
    url : str
        URL of the store, without a password.

    Raises
    ------
    StoreUnreachable, StoreFull, StoreTooNew, LeaseLost, StoreError
    """
    try:
        yield
    except (theirs.ValkeyError, OSError) as error:
        raise _mapped(url, error) from error


def too_new(url: str, form: str) -> StoreTooNew:
    """Return the error for a store whose `cortex:version` is of a newer program."""
    return StoreTooNew(f"{url} is kept by a newer version of cortex-jupyter (form {form.split(maxsplit=1)[0]})")


def _mapped(url: str, error: Exception) -> StoreError:
    message = str(error)
    text = f"the recordings in {url} cannot be used: {message}"
    mapped = StoreError(text, "`cortex-jupyter doctor` examines the store")
    if message.startswith("LEASE "):
        mapped = LeaseLost(message.removeprefix("LEASE ").partition(" script:")[0])
    elif message.startswith("VERSION "):
        mapped = too_new(url, message.removeprefix("VERSION "))
    elif isinstance(error, theirs.AuthenticationError) or message.startswith(("NOAUTH", "WRONGPASS")):
        mapped = StoreError(f"{url} refuses the user or the password", _REFUSED)
    elif isinstance(error, theirs.NoPermissionError) or message.startswith("ACL failure in script"):
        reason = message.removeprefix("ACL failure in script: ").partition(" script: ")[0]
        mapped = StoreError(f"{url} refuses a command to this user: {reason}", _ALLOWED)
    elif isinstance(error, theirs.OutOfMemoryError):
        mapped = StoreFull(f"{url} has reached its memory limit", SERVER_FULL_HINT)
    elif message.startswith("MISCONF"):
        mapped = StoreFull(f"{url} cannot write to its disk", _DISK)
    # The client has classes for some answers, and removes the first word of their text.
    elif isinstance(error, _AWAY) or message.startswith(_PASSES):
        mapped = StoreUnreachable(f"{url} does not answer: {message}")
    return mapped
