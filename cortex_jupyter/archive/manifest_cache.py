"""Copies of a namespace's manifests in one object, so that listing a thousand tasks takes three requests.

The bucket's listing alone decides what exists: a copy counts only while its manifest has the listed tag. So the cache
may be old, damaged or missing, and if two processes write it the later one wins. Missing copies are fetched one by
one. Without it, the first listing of 1 000 tasks takes 1 002 requests instead of 4.
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
#: One of this many recordings updates the cache, so about as many manifests are fetched one by one.
_EACH: Final = 32


def due(recording: int) -> bool:
    """Return whether to update the cache after this recording: decided by its id, since no count spans processes."""
    return crc32(str(recording).encode()) % _EACH == 0


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


def store(objects: ObjectStore, namespace: str, manifests: Mapping[str, tuple[str, bytes]]) -> None:
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
