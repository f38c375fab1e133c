"""A log as a `polars.LazyFrame`: what is filtered out or not asked for is not read, or at least not computed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.tables.derive import cut
from cortex_jupyter.tables.parquet import everything
from cortex_jupyter.tables.read import frame, stored_pieces
from cortex_jupyter.tables.schema import COLUMNS, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable

_CLOUD: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_endpoint_url", "aws_region")


def lazy(store: Readable, recording: int, query: LogQuery) -> Any:
    """Give a log as a lazy frame with the columns of `schema`.

    Parameters
    ----------
    store : Readable
        An archive in a folder or in S3 is scanned by polars itself, which skips row groups by their statistics; all
        else is read piece by piece, each filtered at once.
    recording : int
    query : LogQuery

    Raises
    ------
    MissingExtra
        There is no polars.
    """
    if isinstance(store, ArchiveStore) and (held := store.archived(recording)).is_ordered and everything(query):
        return _scanned(held)
    return _by_pieces(store, recording, query)


def _scanned(held: ArchivedRecording) -> Any:
    pl = import_optional("polars")
    options = None
    if held.file.objects.folder is None:
        options = {name: value for name in _CLOUD if (value := os.environ.get(name.upper()))} | {
            "aws_allow_http": "true"
        }
    rows = pl.scan_parquet(held.file.path, storage_options=options, glob=False)
    parts = pl.struct("text", *layout.SPAN_COLUMNS)
    return rows.with_columns(
        parts.map_batches(lambda part: _cut(part, "message"), pl.String, is_elementwise=True).alias("message"),
        parts.map_batches(lambda part: _cut(part, "fields"), pl.String, is_elementwise=True).alias("fields"),
    ).select(COLUMNS)


def _cut(part: Any, name: str) -> Any:
    pa, pl = import_optional("pyarrow"), import_optional("polars")
    kinds = [pa.large_string(), *[pa.int32()] * len(layout.SPAN_COLUMNS)]
    columns = [
        part.struct.field(n).to_arrow().cast(k) for n, k in zip(("text", *layout.SPAN_COLUMNS), kinds, strict=True)
    ]
    found = cut(*(pa.chunked_array([c]) for c in columns))[name]
    return pl.Series(name, found.combine_chunks() if len(found) else [], dtype=pl.String)


def _by_pieces(store: Readable, recording: int, query: LogQuery) -> Any:
    pl, plugins = import_optional("polars"), import_optional("polars.io.plugins")

    def source(columns: list[str] | None, predicate: Any, most: int | None, _: int | None) -> Iterator[Any]:
        wanted = [
            *dict.fromkeys([*(columns or COLUMNS), *(predicate.meta.root_names() if predicate is not None else [])])
        ]
        for rows, _sure in stored_pieces(store, recording, query):
            found = pl.from_arrow(frame(rows, wanted))
            if predicate is not None:
                found = found.filter(predicate)
            found = found.select(columns or COLUMNS)
            if most is not None:
                found = found.head(most)
                most -= len(found)
            yield found
            if most == 0:
                return

    return plugins.register_io_source(source, schema=pl.from_arrow(schema().empty_table()).schema)
