"""The kinds of store there are: one is opened from its URL."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from cortex_jupyter.errors import MissingExtra, StoreError
from cortex_jupyter.store import default_url, is_shared, path_of
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.url import SERVERS, without_password

if TYPE_CHECKING:
    from cortex_jupyter.store import Store


def open_store(url: str | None = None, budget: Budget | None = None, *, weak: bool = False) -> Store:
    """Open the store a URL names.

    Parameters
    ----------
    url : str, optional
        `sqlite:///absolute/path` or `valkey://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?replicas=1]` (`valkeys://` for
        TLS); else `default_url`.
    budget : Budget, optional
        What it may take from now on; parts that are not set are taken from the environment, else left as they are. A
        store that others share is an administrator's to set (`cortex-jupyter store set`), so it is left as it is.
    weak : bool, optional
        Leave what others have set.

    Raises
    ------
    StoreError
        No such kind of store, or it cannot be opened.
    MissingExtra
    """
    store = _opened(url or default_url())
    wanted = (budget or Budget()).over(Budget.from_environment())  # what cannot be read is an error in any case
    if not is_shared(store.url):
        with contextlib.suppress(StoreError):  # where nothing can be written, reading goes on
            store.set_budget(wanted, weak=weak)
    return store


def _opened(url: str) -> Store:
    if (path := path_of(url)) is not None:
        from cortex_jupyter.store.sqlite.store import SqliteStore  # noqa: PLC0415

        return SqliteStore(path)
    if not url.startswith(SERVERS):
        raise StoreError(
            f"{without_password(url)!r} is no store", "set CORTEX_STORE to sqlite:///absolute/path or valkey://host"
        )
    try:
        from cortex_jupyter.store.valkey.address import Address  # noqa: PLC0415
        from cortex_jupyter.store.valkey.store import ValkeyStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "recordings on a server need valkey, which is not installed", 'pip install "cortex-jupyter[valkey]"'
        ) from error
    address = Address.parse(url)
    if address.password:
        # For the recorder and the other processes that we start: everybody may read their command lines.
        os.environ["CORTEX_STORE_PASSWORD"] = address.password
    return ValkeyStore(address)
