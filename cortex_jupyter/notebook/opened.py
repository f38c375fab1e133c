"""`cortex.open`: the log in a file, of whatever origin, as the same object as a task's; no cluster is asked."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from cortex_jupyter.archive.store import ArchiveStore, SingleFile
from cortex_jupyter.errors import TaskNotFound
from cortex_jupyter.notebook.query import check, looks
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.notebook.snapshot import progress
from cortex_jupyter.notebook.tasklog import TaskLog
from cortex_jupyter.reader.names import check_names
from cortex_jupyter.reader.session import Recordings

if TYPE_CHECKING:
    from os import PathLike

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import Store


def open(url: str | PathLike[str], **query: Any) -> TaskLog:  # noqa: A001 - as in `gzip.open`; used as `cortex.open`
    r"""Open a file of logs; as a cell's value it shows the viewer.

    Parameters
    ----------
    url : str or path
        A path, or an object's URL (`s3://`, `gs://`, `az://`, `https://`). Parquet of ours or any other with a column
        of text, NDJSON, or text; the last two also packed with gzip or zstd. What is not ours is read once from end to
        end, and written to a temporary file.
    **query
        As for `logs`.

    Returns
    -------
    TaskLog

    Raises
    ------
    ArchiveNotFound, ArchiveDamaged, ArchiveError, MissingExtra
    BadQuery
        A parameter cannot be understood.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "old.log")
    >>> _ = path.write_text("2026-01-31 12:00:00 INFO on\n2026-01-31 12:00:01 ERROR hot\n")
    >>> [(r.level, r.text[20:]) for r in open(path)]
    [('info', 'INFO on'), ('error', 'ERROR hot')]
    """
    from cortex_jupyter.tables.opening import opened  # noqa: PLC0415 - needs pyarrow and obstore

    shown = looks(query)
    parsed = check(query)
    scratch = Path(tempfile.mkdtemp(prefix="cortex-open-"))
    try:
        with progress(f"reading {str(url).rpartition('/')[2]}") as bar:
            held = opened(str(url), scratch, bar.update)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    # It is there for as long as somebody may read it.
    weakref.finalize(held, shutil.rmtree, scratch, ignore_errors=True)
    engine = runtime()

    async def find() -> tuple[_Opened, Recording]:
        recordings = _Opened(ArchiveStore(held.file.path, SingleFile(held)))
        recording = await recordings.find(held.info.ref)
        await check_names(recording, parsed)
        return recordings, recording

    log = TaskLog(engine, *engine.run(find()), query)
    log.looks |= shown
    log.opened = str(url)
    log.transport = "comm"  # the server does not know this file
    return log


class _Opened(Recordings):
    """A file in the place of a store; nothing is ever recorded into it."""

    def __init__(self, file: ArchiveStore) -> None:
        super().__init__(cast("Store", file), None)

    async def resolve(self, ref: TaskRef, person: Person | None = None) -> NoReturn:  # noqa: ARG002 - as the base has it
        """Find nothing: the file is all there is."""
        raise TaskNotFound(f"{ref.key} is a file, and no task of a cluster")
