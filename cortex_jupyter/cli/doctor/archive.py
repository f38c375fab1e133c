"""Check the archive: write, read and delete a small object."""

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
    """Check the archive of Jupyter's configuration, else that of the store.

    Raises
    ------
    MissingExtra
    """
    url = configured or url_of(store_url)
    if not url:
        yield Finding(
            PART,
            TOLD,
            "no archive is set: completed recordings leave the store by age and size, and are then gone; set one with CORTEX_ARCHIVE",
        )
        return
    try:
        objects = ObjectStore(url)
        yield from _probe(objects)
    except ArchiveError as error:
        yield failed(PART, error)


def url_of(store_url: str) -> str:
    """Return the URL of a store's archive, or "" without one."""
    if (url := os.environ.get("CORTEX_ARCHIVE")) is not None:
        return url
    try:
        store = open_store(store_url)
    except StoreError:
        return ""  # the check of the store reports this error
    try:
        return store.setting("archive")
    finally:
        store.close()


def _probe(objects: ObjectStore) -> Iterator[Finding]:
    # At the top level, where the archive looks for no manifests.
    name, body = f"cortex-doctor-{uuid.uuid4().hex[:12]}", uuid.uuid4().bytes
    objects.put(name, body)
    is_equal = objects.get(name) == body
    if not is_equal:
        yield Finding(
            PART,
            BAD,
            f"{objects.url} returns other data than were written",
            "check what is in between: a cache, a proxy",
        )
    try:
        objects.delete(name)
    except ArchiveError as error:
        yield Finding(PART, WARN, error.message, f"{error.hint}; delete the small object {name} yourself")
    else:
        if is_equal:
            yield Finding(PART, OK, f"{objects.url}: writing, reading and deleting work")
