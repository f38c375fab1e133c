"""Return a log as a `polars.LazyFrame`, so that unwanted rows and columns are not read, or at least not computed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.model import MEMBERSHIP
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
    """Return a log as a lazy frame with the columns of `schema`.

    Parameters
    ----------
    store : Readable
        polars itself scans an archive in a folder or in S3, and skips row groups by their statistics. Any other store
        is read piece by piece, and each piece is filtered at once.
    recording : int
    query : LogQuery

    Raises
    ------
    MissingExtra
        polars is not installed.
    """
    if isinstance(store, ArchiveStore) and (archived := store.archived(recording)).is_ordered and everything(query):
        return _scanned(archived)
    return _by_pieces(store, recording, query)


def _scanned(archived: ArchivedRecording) -> Any:
    pl = import_optional("polars")
    options = None
    if archived.file.objects.folder is None:
        options = {name: value for name in _CLOUD if (value := os.environ.get(name.upper()))} | {
            "aws_allow_http": "true"
        }
    rows = pl.scan_parquet(archived.file.path, storage_options=options, glob=False)
    # polars reads the file itself, so it does not add the columns that older files lack.
    lacking = [name for name in MEMBERSHIP if name not in archived.file.metadata.schema.names]
    if lacking:
        rows = rows.with_columns(pl.lit("").cast(pl.Categorical).alias(name) for name in lacking)
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
    rows_out = cut(*(pa.chunked_array([c]) for c in columns))[name]
    return pl.Series(name, rows_out.combine_chunks() if len(rows_out) else [], dtype=pl.String)


def _by_pieces(store: Readable, recording: int, query: LogQuery) -> Any:
    pl, plugins = import_optional("polars"), import_optional("polars.io.plugins")

    def source(columns: list[str] | None, predicate: Any, row_limit: int | None, _: int | None) -> Iterator[Any]:
        needed = [
            *dict.fromkeys([*(columns or COLUMNS), *(predicate.meta.root_names() if predicate is not None else [])])
        ]
        for rows, _sure in stored_pieces(store, recording, query):
            rows_out = pl.from_arrow(frame(rows, needed))
            if predicate is not None:
                rows_out = rows_out.filter(predicate)
            rows_out = rows_out.select(columns or COLUMNS)
            if row_limit is not None:
                rows_out = rows_out.head(row_limit)
                row_limit -= len(rows_out)
            yield rows_out
            if row_limit == 0:
                return

    return plugins.register_io_source(source, schema=pl.from_arrow(schema().empty_table()).schema)
