"""Open a store from its URL."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from cortex_jupyter.errors import MissingExtra, StoreError
from cortex_jupyter.store import default_url, is_shared, path_of
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.settings import read_lock
from cortex_jupyter.store.url import SERVERS, without_password

if TYPE_CHECKING:
    from cortex_jupyter.store import Store


def open_store(url: str | None = None, budget: Budget | None = None, *, weak: bool = False) -> Store:
    """Open the store that a URL names.

    Parameters
    ----------
    url : str, optional
        `sqlite:///absolute/path` or `valkey://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?replicas=1]` (`valkeys://` for
        TLS); default `default_url`.
    budget : Budget, optional
        Sets what recordings may take. The environment supplies missing parts; others stay as they are. In a shared
        store only an administrator sets it (`cortex-jupyter store set`), so it is ignored there.
    weak : bool, optional
        Keep parts of the budget that are already set.

    Raises
    ------
    StoreError
        The URL names no store, or the store cannot be opened.
    MissingExtra
    """
    store = _open(url or default_url())
    # A wrong value is an error also for a shared store.
    requested = (budget or Budget()).with_defaults(Budget.from_environment())
    if not is_shared(store.url) and requested != Budget() and read_lock(store) is None:
        with contextlib.suppress(StoreError):  # a read-only store can still be read
            store.set_budget(requested, weak=weak)
    return store


def _open(url: str) -> Store:
    if (path := path_of(url)) is not None:
        from cortex_jupyter.store.sqlite.store import SqliteStore

        return SqliteStore(path)
    if not url.startswith(SERVERS):
        raise StoreError(
            f"{without_password(url)!r} is not the URL of a store",
            "set CORTEX_STORE to sqlite:///absolute/path or valkey://host",
        )
    try:
        from cortex_jupyter.store.valkey.address import Address
        from cortex_jupyter.store.valkey.store import ValkeyStore
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "a store on a server needs the package valkey, which is not installed",
            'pip install "cortex-jupyter[valkey]"',
        ) from error
    address = Address.parse(url)
    if address.password:
        # For the recorder and our other child processes. Other users can read their command lines, but not their
        # environment.
        os.environ["CORTEX_STORE_PASSWORD"] = address.password
    return ValkeyStore(address)
