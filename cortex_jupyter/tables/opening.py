"""Open any log file as an archived recording: our own as it is, a foreign one as a temporary copy in our layout."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.archive.objects import ObjectStore, folder_of
from cortex_jupyter.archive.order import sort_pieces
from cortex_jupyter.archive.recording import ArchivedRecording
from cortex_jupyter.archive.spans import find_spans
from cortex_jupyter.archive.write import FileMetadata, write_file
from cortex_jupyter.errors import ArchiveNotFound, BadQuery
from cortex_jupyter.model import TaskRef, notice, rfc3339
from cortex_jupyter.store import Completeness, RecordingInfo
from cortex_jupyter.tables.foreign import Foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cortex_jupyter.archive.layout import Block

#: Bytes of an object fetched at once.
_PIECE: Final = 16 << 20
#: The namespace of tasks that are files.
_NAMESPACE: Final = "file"


def opened(url: str, scratch: Path, progress: Callable[[int], object] = int) -> ArchivedRecording:
    """Open a log file.

    Parameters
    ----------
    url : str
        A path, or an object's URL (`s3://`, `gs://`, `az://`, `https://`).
    scratch : path
        A folder for temporary files.
    progress : callable, optional
        Called with the number of lines of each piece.

    Raises
    ------
    ArchiveNotFound, ArchiveDamaged, ArchiveError, MissingExtra
    """
    if (folder := folder_of(url)) is not None and not folder.is_file():
        if folder.is_dir():
            raise BadQuery(f"{url} is a folder", "name a file; `cortex_jupyter.scan` reads the tasks of an archive")
        raise ArchiveNotFound(f"{url} is not there", "check the path")
    objects, name = ObjectStore.holding(str(folder) if folder is not None else url)
    file = ParquetFile(objects, name)
    if file.size >= 12 and objects.range(name, 0, 4) == b"PAR1":  # the least that a Parquet file has
        about = (file.metadata.metadata or {}).get(layout.RECORDING_INFO)
        if about is not None and orjson.loads(about).get("version") == layout.VERSION:
            return ArchivedRecording(file)
    return _written(_local(objects, name, scratch), name, scratch, progress)


def _local(objects: ObjectStore, name: str, scratch: Path) -> Path:
    if objects.folder is not None:
        return objects.folder / name
    path, size = scratch / "fetched", objects.size(name)
    with path.open("wb") as out:
        for start in range(0, size, _PIECE):
            out.write(objects.range(name, start, min(start + _PIECE, size)))
    return path


def _written(path: Path, name: str, scratch: Path, progress: Callable[[int], object]) -> ArchivedRecording:
    """Copy a foreign file into our layout."""
    foreign = Foreign(path, name)
    slug = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "log"
    ref = TaskRef(_NAMESPACE, "job", slug[:200])
    message = "File, as it was when opened"
    info: dict[str, Any] = {
        "id": time.time_ns() // 1_000_000,
        "ref": ref,
        "uid": "",
        "cluster": "",
        "state": "succeeded",
        "message": message,
        "reason": "Opened",
        "exit_code": None,
        "started": None,
        "finished": None,
        "done": True,
        "caught_up": True,
    }
    about = FileMetadata(
        RecordingInfo(**info, last_seq=0), foreign.sources, Completeness(0, None, None, [], 0), growing=True
    )

    def rows() -> Iterator[tuple[Any, int]]:
        seq, low, high = 0, None, None
        for raw in foreign.tables():
            times = raw["time"].to_numpy()
            earliest, latest = int(times.min()), int(times.max())
            low, high = min(earliest, low or earliest), max(latest, high or latest)
            about.blocks += _blocks(seq + 1, times)
            seq += len(raw)
            public = {sid: source.public for sid, source in foreign.sources.items()}
            # The file's order is the order of reading: it has one source, or was exported in that order.
            yield layout.build_columns(raw, (ref.namespace, ref.key), public, find_spans(raw["text"])), low
        about.complete = Completeness(seq, low, high, [], len(foreign.sources))
        end = notice(ref.key, seq + 1, high or 0, "end", message, state="succeeded")
        about.notices = [end]
        span = {"started": rfc3339(low), "finished": rfc3339(high)} if low is not None and high is not None else {}
        about.info = RecordingInfo(**(info | span), last_seq=seq + 1)

    target = scratch / "log.parquet"
    write_file(target, sort_pieces(rows()), about, progress)
    return ArchivedRecording(ParquetFile(ObjectStore(str(scratch)), target.name))


def _blocks(seq: int, times: Any) -> list[Block]:
    size = layout.BLOCK_RECORDS
    parts = [(at, times[at : at + size]) for at in range(0, len(times), size)]
    return [layout.Block(seq + at, len(part), int(part.min()), int(part.max())) for at, part in parts]
