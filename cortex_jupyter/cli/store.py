"""`cortex-jupyter store`: the settings of a store, for all its users; its backup."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import BadQuery, StoreError
from cortex_jupyter.store import path_of
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.quotas import read_quotas
from cortex_jupyter.store.settings import (
    lock_settings,
    read_lock,
    read_origins,
    read_quotas_origin,
    read_settings,
    write_quota,
    write_settings,
)

if TYPE_CHECKING:
    import argparse

    from cortex_jupyter.store import Store


def run(options: argparse.Namespace) -> int:
    """Show or change the settings of a store, back it up, or restore it.

    Raises
    ------
    BadQuery, StoreError
    """
    with contextlib.closing(open_store(options.store)) as store:
        if options.action in ("backup", "restore"):
            _copy(store, options)
            return 0
        if options.action == "set":
            pairs = [text.partition("=") for text in options.settings]
            for name, separator, _ in pairs:
                if not separator:
                    raise BadQuery(f"cannot set {name!r}: there is no value", "write NAME=VALUE, such as max-age=30d")
            _set(store, {name: value for name, _, value in pairs}, options.namespace)
        elif options.action == "lock":
            lock_settings(store, f"{_user()} with `cortex-jupyter store lock`", locked=not options.off)
        settings, origins, lock = read_settings(store), read_origins(store), read_lock(store)
        quotas, quotas_origin = read_quotas(store).named, read_quotas_origin(store)
    if options.action == "show" and options.output == "json":
        namespaces = {
            name: dict(part.split("=", 1) for part in str(quota).split()) for name, quota in sorted(quotas.items())
        }
        print(orjson.dumps(settings | {"namespaces": namespaces}).decode())
        return 0
    for name, value in settings.items():
        print(f"{name:<15} {value or 'not set'}")
    for name, quota in sorted(quotas.items()):
        print(f"{'namespace ' + name:<15} {quota}")
    for name, origin in origins.items():
        print(f"{name} was set {origin}")
    if quotas_origin:
        print(f"the quotas of namespaces were changed {quotas_origin}")
    print(f"locked {lock}" if lock else "not locked")
    return 0


def _set(store: Store, changes: dict[str, str], namespace: str) -> None:
    if namespace:
        write_quota(store, namespace, changes, f"{_user()} with `cortex-jupyter store set --namespace {namespace}`")
        return
    before = read_origins(store)
    write_settings(store, changes, f"{_user()} with `cortex-jupyter store set`")
    for name in changes:
        if name in before and before[name].by.startswith("a collector"):
            print_status(
                f"{name} was set {before[name]}; it sets it again when it starts: change it there too, or lock the settings"
            )


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may have a UID without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _copy(store: Store, options: argparse.Namespace) -> None:
    if path_of(store.url) is None:
        raise StoreError(
            f"cannot copy {store.url} to a file or back",
            "a Valkey server backs itself up: with BGSAVE, or by copying its `appendonlydir`; see docs/how-to/backup.md",
        )
    from cortex_jupyter.store.sqlite.backup import restore_backup, write_backup
    from cortex_jupyter.store.sqlite.store import SqliteStore

    assert isinstance(store, SqliteStore)
    file = Path(options.file).expanduser().absolute()
    if options.action == "backup":
        number = write_backup(store, file)
        print(f"{file}: {number} recordings, {file.stat().st_size / 1e6:.1f} MB")
    else:
        restore_backup(store, file, replace=options.replace)
        print(f"{store.path}: {len(store.recordings())} recordings, as in {file}")
