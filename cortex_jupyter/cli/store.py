"""`cortex-jupyter store`: what is set for all who use a store."""

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
    """Show or set what holds for all who use a store.

    Raises
    ------
    BadQuery, StoreError
    """
    with contextlib.closing(open_store(options.store)) as store:
        if options.action == "set":
            pairs = [text.partition("=") for text in options.settings]
            for name, separator, _ in pairs:
                if not separator:
                    raise BadQuery(f"{name!r} sets nothing", "write NAME=VALUE, for instance max-age=30d")
            write_settings(store, {name: value for name, _, value in pairs})
        found = read_settings(store)
    if options.action == "show" and options.output == "json":
        print(orjson.dumps(found).decode())
    else:
        for name, value in found.items():
            print(f"{name:<15} {value or 'not set'}")
    return 0
