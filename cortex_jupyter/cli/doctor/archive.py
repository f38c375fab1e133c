"""The archive: whether a small object can be written there, read again and deleted."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Final

from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding, failed
from cortex_jupyter.errors import ArchiveError, StoreError
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

PART: Final = "archive"


def judge(store_url: str, configured: str = "") -> Iterator[Finding]:
    """Look at the archive of a store, or at the one that Jupyter's configuration says.

    Raises
    ------
    MissingExtra
    """
    url = configured or url_of(store_url)
    if not url:
        yield Finding(PART, TOLD, "none is set: completed recordings are kept until their time or room in the store ends; CORTEX_ARCHIVE sets one")  # fmt: skip
        return
    try:
        objects = ObjectStore(url)
        yield from _probed(objects)
    except ArchiveError as error:
        yield failed(PART, error)


def url_of(store_url: str) -> str:
    """Give where the archive of a store is, "" where there is none."""
    if (url := os.environ.get("CORTEX_ARCHIVE")) is not None:
        return url
    try:
        store = open_store(store_url)
    except StoreError:
        return ""  # what is wrong with the store is said of the store
    try:
        return store.setting("archive")
    finally:
        store.close()


def _probed(objects: ObjectStore) -> Iterator[Finding]:
    # At the top, where no manifest is looked for.
    name, body = f"cortex-doctor-{uuid.uuid4().hex[:12]}", uuid.uuid4().bytes
    objects.put(name, body)
    same = objects.get(name) == body
    if not same:
        yield Finding(PART, BAD, f"{objects.url} gives back something else than what was written", "look at what lies between: a cache, a proxy")  # fmt: skip
    try:
        objects.delete(name)
    except ArchiveError as error:
        yield Finding(PART, WARN, error.message, f"{error.hint}; the small object {name} stays there")
    else:
        if same:
            yield Finding(PART, OK, f"{objects.url}: can be written, read and deleted in")
