"""`cortex.open`: the log in a file as a `TaskLog`, without a cluster."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from cortex_jupyter.archive.store import ArchiveStore, SingleFile
from cortex_jupyter.errors import TaskNotFound
from cortex_jupyter.notebook.query import parse_query, take_viewer_options
from cortex_jupyter.notebook.recording_reader import RecordingReader, progress
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.notebook.tasklog import TaskLog
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.session import Session

if TYPE_CHECKING:
    from os import PathLike

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import Store


def open(url: str | PathLike[str], **query: Any) -> TaskLog:  # noqa: A001 - like `gzip.open`; used as `cortex.open`
    r"""Open a file of logs. As the value of a cell it shows the viewer.

    Parameters
    ----------
    url : str or path
        A path, or the URL of an object (`s3://`, `gs://`, `az://`, `https://`). The file is Parquet (written by us, or
        any other with a column of text), NDJSON or text; the last two may be compressed with gzip or zstd. A file that
        we have not written is read once, and converted to a temporary file.
    **query
        As for `logs`.

    Returns
    -------
    TaskLog

    Raises
    ------
    ArchiveNotFound, ArchiveDamaged, ArchiveError, MissingExtra
    BadQuery
        A parameter is wrong.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "old.log")
    >>> _ = path.write_text("2026-01-31 12:00:00 INFO on\n2026-01-31 12:00:01 ERROR hot\n")
    >>> [(r.level, r.text[20:]) for r in open(path)]
    [('info', 'INFO on'), ('error', 'ERROR hot')]
    """
    from cortex_jupyter.tables.opening import opened  # needs pyarrow and obstore

    viewer_options = take_viewer_options(query)
    parsed = parse_query(query)
    scratch = Path(tempfile.mkdtemp(prefix="cortex-open-"))
    try:
        with progress(f"reading {str(url).rpartition('/')[2]}") as bar:
            archived = opened(str(url), scratch, bar.update)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    # Delete the temporary file when nothing can read it any more.
    weakref.finalize(archived, shutil.rmtree, scratch, ignore_errors=True)
    engine = runtime()

    async def find() -> tuple[_FileSession, Recording]:
        recordings = _FileSession(ArchiveStore(archived.file.path, SingleFile(archived)))
        recording = await recordings.find(archived.info.ref)
        await check_names(recording, parsed)
        return recordings, recording

    log = TaskLog(RecordingReader(engine, *engine.run(find()), query))
    log.looks |= viewer_options
    log.opened = str(url)
    log.transport = "comm"  # the server cannot read this file
    return log


class _FileSession(Session):
    """A file instead of a store and a cluster. Nothing is recorded into it."""

    def __init__(self, file: ArchiveStore) -> None:
        super().__init__(cast("Store", file), None)

    async def resolve(self, ref: TaskRef, person: Person | None = None) -> NoReturn:  # noqa: ARG002 - the base class's signature
        """Raise an error: no cluster has the task of a file."""
        raise TaskNotFound(f"{ref.key} is a file, not a task of a cluster")
