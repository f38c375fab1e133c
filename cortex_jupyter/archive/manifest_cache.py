"""The manifests of a namespace in one object, so that a thousand tasks are known after three requests.

It holds copies and decides nothing: what exists is what the bucket lists, and a copy counts while its manifest's tag is
the one listed. So it may be old, damaged, gone, or written by two at once, of which the later wins: what it lacks is
asked for as if there were none.
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

#: The object's name, in the folder of its namespace.
NAME: Final = "manifests.zst"
_VERSION: Final = 1
#: One task in so many has the manifests gathered: about as many are left to be asked for one by one.
_EACH: Final = 32


def due(recording: int) -> bool:
    """Tell whether the manifests are to be gathered after this one: by its number, for nobody counts across processes."""
    return crc32(str(recording).encode()) % _EACH == 0


def load(objects: ObjectStore, namespace: str) -> dict[str, tuple[str, bytes]]:
    """Give name to tag and manifest of what has been gathered; nothing where that cannot be read.

    Parameters
    ----------
    objects : ObjectStore
    namespace : str
        As it stands in names.
    """
    try:
        doc = orjson.loads(zstandard.ZstdDecompressor().decompress(objects.get(f"{namespace}/{NAME}")))
        if doc["version"] != _VERSION:
            return {}
        return {name: (tag, text.encode()) for name, (tag, text) in doc["manifests"].items()}
    except (ArchiveError, ValueError, TypeError, KeyError, AttributeError, zstandard.ZstdError):
        return {}


def store(objects: ObjectStore, namespace: str, manifests: Mapping[str, tuple[str, bytes]]) -> None:
    """Write what has been gathered.

    Raises
    ------
    ArchiveError
    """
    doc = {
        "version": _VERSION,
        "manifests": {name: (tag, text.decode()) for name, (tag, text) in sorted(manifests.items())},
    }
    objects.put(f"{namespace}/{NAME}", zstandard.ZstdCompressor(level=6).compress(orjson.dumps(doc)))
