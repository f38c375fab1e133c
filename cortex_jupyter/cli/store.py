"""`cortex-jupyter store`: the settings of a store, for all its users."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import read_settings, write_settings

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Show or change the settings of a store.

    Raises
    ------
    BadQuery, StoreError
    """
    with contextlib.closing(open_store(options.store)) as store:
        if options.action == "set":
            pairs = [text.partition("=") for text in options.settings]
            for name, separator, _ in pairs:
                if not separator:
                    raise BadQuery(f"cannot set {name!r}: there is no value", "write NAME=VALUE, such as max-age=30d")
            write_settings(store, {name: value for name, _, value in pairs})
        settings = read_settings(store)
    if options.action == "show" and options.output == "json":
        print(orjson.dumps(settings).decode())
    else:
        for name, value in settings.items():
            print(f"{name:<15} {value or 'not set'}")
    return 0
