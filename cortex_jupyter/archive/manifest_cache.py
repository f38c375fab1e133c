"""Copies of a namespace's manifests in one object, so that listing 1 000 tasks takes 4 requests instead of 1 002.

A task has two objects and the cache is one more, so the listing has 2 001 objects, on three pages of 1 000. The fourth
request reads the cache. The listing alone decides what exists: a copy is used only if its stored tag equals the tag in
the listing. So the cache may be old, damaged or missing, and if two processes write it the later one wins. Manifests
without a valid copy are fetched one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

import orjson
import zstandard

from cortex_jupyter.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.archive.objects import ObjectStore

#: Name of the object in the folder of its namespace.
NAME: Final = "manifests.zst"
_VERSION: Final = 1
#: One in this many recordings updates the cache. A reader fetches the manifests that came since then, about this many,
#: one by one.
_UPDATE_INTERVAL: Final = 32


def should_update(recording: int) -> bool:
    """Return whether to update the cache after this recording. Its id decides, because processes share no counter."""
    return crc32(str(recording).encode()) % _UPDATE_INTERVAL == 0


def load(objects: ObjectStore, namespace: str) -> dict[str, tuple[str, bytes]]:
    """Return tag and manifest by name, empty if the cache cannot be read.

    Parameters
    ----------
    objects : ObjectStore
    namespace : str
        As in object names.
    """
    try:
        doc = orjson.loads(zstandard.ZstdDecompressor().decompress(objects.get(f"{namespace}/{NAME}")))
        if doc["version"] != _VERSION:
            return {}
        return {name: (tag, text.encode()) for name, (tag, text) in doc["manifests"].items()}
    except (ArchiveError, ValueError, TypeError, KeyError, AttributeError, zstandard.ZstdError):
        return {}


def save(objects: ObjectStore, namespace: str, manifests: Mapping[str, tuple[str, bytes]]) -> None:
    """Write the cache.

    Raises
    ------
    ArchiveError
    """
    doc = {
        "version": _VERSION,
        "manifests": {name: (tag, text.decode()) for name, (tag, text) in sorted(manifests.items())},
    }
    objects.put(f"{namespace}/{NAME}", zstandard.ZstdCompressor(level=6).compress(orjson.dumps(doc)))
