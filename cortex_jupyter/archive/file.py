"""Read a Parquet file in parts, wherever it lies: the footer once, then the row groups that are needed.

pyarrow would request each column chunk from an object store. Here one request covers adjacent ones.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.write import TAIL
from cortex_jupyter.errors import ArchiveDamaged, ArchiveError, ArchiveNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq

    from cortex_jupyter.archive.objects import ObjectStore

#: Bytes to read from a file's end if the footer's size is not known: enough for most (architecture.md, "Archive").
_TAIL_GUESS: Final = 65_536
#: A gap between two needed ranges of at most this many bytes is read too, instead of making another request.
_MAX_GAP: Final = 1 << 20
#: Maximum size of a request in bytes.
_MAX_REQUEST: Final = 64 << 20
_MAGIC: Final = b"PAR1"
#: Columns whose dictionary lists all possible values. It cannot be derived from the one value of a row group.
_ENUMERATED: Final = frozenset({"stream", "level"})
#: Column with a row's position in its row group, while rows are selected.
_ROW: Final = "cortex.row"


@dataclass(frozen=True, slots=True)
class RowSelector:
    """Selects rows.

    Parameters
    ----------
    columns : sequence of str
        The columns that it examines.
    select : callable
        Given a table with these and other columns and the names of the columns to return, returns the selected rows.
    """

    columns: Sequence[str]
    select: Callable[[pa.Table, Sequence[str]], pa.Table]


class ParquetFile:
    """One Parquet file.

    Parameters
    ----------
    objects : ObjectStore
    name : str
    size, footer : int, optional
        Sizes in bytes, if known; each saves a request.
    """

    def __init__(self, objects: ObjectStore, name: str, size: int | None = None, footer: int | None = None) -> None:
        self.objects, self.name = objects, name
        self._size, self._footer = size, footer

    @property
    def path(self) -> str:
        """Path or URL of the file for other libraries."""
        return self.objects.path(self.name)

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return self.objects.size(self.name) if self._size is None else self._size

    @cached_property
    def metadata(self) -> pq.FileMetaData:
        """The footer as `pyarrow.parquet.FileMetaData`.

        Raises
        ------
        ArchiveDamaged, ArchiveError
        """
        pq = import_optional("pyarrow.parquet")
        want = min(self._footer or _TAIL_GUESS, self.size)
        tail = self._range(self.size - want, self.size) if want else b""
        if len(tail) < TAIL or tail[-4:] != _MAGIC:
            raise ArchiveDamaged(
                f"{self.path} is not a Parquet file, or was cut off: its last bytes are not those of one"
            )
        need = int.from_bytes(tail[-8:-4], "little") + TAIL
        if need > self.size:
            raise ArchiveDamaged(f"{self.path} was cut off: its footer is longer than the file")
        if need > len(tail):
            tail = self._range(self.size - need, self.size - len(tail)) + tail
        with self._readable():
            return pq.read_metadata(io.BytesIO(_MAGIC + tail[-need:]))

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """For each row group the offset of its first byte, and of the byte after its last."""
        spans = []
        for i in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(i)
            chunks = [group.column(j) for j in range(group.num_columns)]
            starts = [min(c.dictionary_page_offset or c.data_page_offset, c.data_page_offset) for c in chunks]
            ends = [s + c.total_compressed_size for s, c in zip(starts, chunks, strict=True)]
            spans.append((min(starts, default=0), max(ends, default=0)))
        return spans

    def statistics(self, column: str) -> list[tuple[Any, Any] | None]:
        """Return the least and greatest value of a column for each row group; None if the file does not record them."""
        names = [self.metadata.schema.column(i).path for i in range(self.metadata.num_columns)]
        if column not in names:
            return [None] * self.metadata.num_row_groups
        position, ranges = names.index(column), []
        for i in range(self.metadata.num_row_groups):
            statistics = self.metadata.row_group(i).column(position).statistics
            has_range = statistics is not None and statistics.has_min_max
            ranges.append((statistics.min_raw, statistics.max_raw) if has_range else None)
        return ranges

    def read(
        self,
        groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        each: Callable[[pa.Table], pa.Table] | None = None,
        progress: Callable[[int], object] = int,
        selector: RowSelector | None = None,
    ) -> pa.Table:
        """Read row groups, by default all, as one table.

        Parameters
        ----------
        groups : sequence of int, optional
        columns : sequence of str, optional
        each : callable, optional
            Transforms the table of each row group, in the thread that read it. Rows that it drops are freed before the
            next group is read.
        progress : callable, optional
            Called with the number of rows of each row group.
        selector : RowSelector, optional
            Which rows to read. The other columns of a row group are decoded only if it selects any row.

        Raises
        ------
        ArchiveDamaged, ArchiveError
        """
        pa = import_optional("pyarrow")
        wanted_groups = list(range(self.metadata.num_row_groups) if groups is None else groups)
        names = None if columns is None else list(columns)
        parts = self._parts(wanted_groups) if self.objects.folder is None else []

        def read_group(group: int) -> Any:
            with self._readable():
                if selector is None:
                    table = self._group(group, names, parts)
                else:
                    table = self._select(group, names, parts, selector)
            return table if each is None else each(table)

        # Read row group by row group. To read all at once, pyarrow would copy each column into one piece, which takes
        # twice the memory.
        with ThreadPoolExecutor(pa.cpu_count(), "cortex-parquet") as pool:
            tables = []
            for group, table in zip(wanted_groups, pool.map(read_group, wanted_groups), strict=True):
                progress(self.metadata.row_group(group).num_rows)
                tables.append(table)
        if tables:
            return pa.concat_tables(tables).unify_dictionaries()
        empty = self._schema.empty_table()
        empty = empty if names is None else empty.select(names)
        return empty if each is None else each(empty)

    @cached_property
    def _schema(self) -> pa.Schema:
        return layout.complete_schema(self.metadata.schema.to_arrow_schema())

    def _select(
        self, group: int, names: list[str] | None, parts: list[tuple[int, bytes]], selector: RowSelector
    ) -> pa.Table:
        pa, np = import_optional("pyarrow"), import_optional("numpy")
        fields = [field for field in self._schema if names is None or field.name in names]
        examined = self._group(group, list(selector.columns), parts)
        rest = [field.name for field in fields if field.name not in selector.columns]
        both = [field.name for field in fields if field.name in selector.columns]
        selected = selector.select(examined.append_column(_ROW, pa.array(np.arange(len(examined)))), [*both, _ROW])
        if not fields:
            return selected  # only the number of rows counts
        if not len(selected):
            unexamined = pa.schema(fields).empty_table()
        else:
            unexamined = self._group(group, rest, parts)
            unexamined = unexamined if len(selected) == len(examined) else unexamined.take(selected[_ROW])
        columns = [(unexamined if field.name in rest else selected)[field.name] for field in fields]
        return pa.table(columns, schema=pa.schema(fields, self._schema.metadata))

    def _group(self, group: int, names: list[str] | None, parts: list[tuple[int, bytes]]) -> pa.Table:
        pa, pq = import_optional("pyarrow"), import_optional("pyarrow.parquet")
        file_or_path = _PartialFile(parts) if self.objects.folder is None else self.objects.folder / self.name
        local = self.objects.folder is not None
        fields = [field for field in self._schema if names is None or field.name in names]
        constants = self._constant_columns(group, fields)
        read = [field.name for field in fields if field.name not in constants]
        with pq.ParquetFile(file_or_path, metadata=self.metadata, memory_map=local, pre_buffer=False) as file:
            table = file.read_row_groups([group], read, use_threads=False)
        columns = [constants[f.name] if f.name in constants else table[f.name] for f in fields]
        return pa.table(columns, schema=pa.schema(fields, self._schema.metadata))

    def _constant_columns(self, group: int, fields: Sequence[pa.Field[Any]]) -> dict[str, Any]:
        """Return the columns whose statistics show a single value in a row group; they need not be read."""
        pa = import_optional("pyarrow")
        row_group = self.metadata.row_group(group)
        rows = row_group.num_rows
        zeros = self._zeros.slice(0, rows)
        constants = {}
        stored = set(self.metadata.schema.names)
        for field in fields:
            if field.name not in stored:  # an older version wrote the file
                constants[field.name] = pa.DictionaryArray.from_arrays(zeros, pa.array([""])).cast(field.type)
        for field in [field for field in fields if field.name in stored][1:]:  # at least one column must be read
            statistics = row_group.column(self._schema.get_field_index(field.name)).statistics
            if statistics is None or not statistics.has_null_count:
                continue
            if statistics.null_count == rows:
                constants[field.name] = pa.nulls(rows, field.type)
            elif statistics.null_count or not statistics.has_min_max or statistics.min != statistics.max:
                continue
            elif pa.types.is_dictionary(field.type) and field.name not in _ENUMERATED:
                value = pa.array([statistics.min], field.type.value_type)
                constants[field.name] = pa.DictionaryArray.from_arrays(zeros, value).cast(field.type)
            elif pa.types.is_int32(field.type):
                constants[field.name] = (
                    zeros if statistics.min == 0 else pa.repeat(pa.scalar(statistics.min, field.type), rows)
                )
        return constants

    @cached_property
    def _zeros(self) -> pa.Int32Array:
        """Zeros for the rows of any row group."""
        np, metadata = import_optional("numpy"), self.metadata
        largest = max((metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)), default=0)
        return import_optional("pyarrow").array(np.zeros(largest, np.int32))

    def iter_groups(
        self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yield row groups one after the other, for files that do not fit into memory."""
        for group in range(self.metadata.num_row_groups) if groups is None else groups:
            yield self.read([group], columns)

    def _parts(self, groups: Sequence[int]) -> list[tuple[int, bytes]]:
        """Fetch the bytes of row groups; one request covers adjacent ones."""
        runs: list[list[int]] = []
        for start, end in sorted(self.spans[g] for g in groups):
            if runs and start - runs[-1][1] <= _MAX_GAP and end - runs[-1][0] <= _MAX_REQUEST:
                runs[-1][1] = max(end, runs[-1][1])
            else:
                runs.append([start, end])
        return [(start, self._range(start, end)) for start, end in runs]

    def _range(self, start: int, end: int) -> bytes:
        try:
            data = self.objects.range(self.name, start, end)
        except ArchiveNotFound:
            raise
        except ArchiveError:
            if self.objects.size(self.name) < end:
                raise ArchiveDamaged(f"{self.path} was cut off: it is shorter than when it was written") from None
            raise
        if len(data) < end - start:
            raise ArchiveDamaged(f"{self.path} was cut off: it is shorter than when it was written")
        return data

    @contextmanager
    def _readable(self) -> Iterator[None]:
        pa = import_optional("pyarrow")
        try:
            yield
        except (pa.ArrowException, OSError, EOFError) as error:
            raise ArchiveDamaged(f"{self.path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


class _PartialFile(io.RawIOBase):
    """A read-only file, with only some of its parts in memory."""

    def __init__(self, parts: list[tuple[int, bytes]]) -> None:
        self._parts, self._at = parts, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = max((start + len(part) for start, part in self._parts), default=0)
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        for start, part in self._parts:
            if start <= self._at < start + len(part):
                at = self._at - start
                data = part[at:] if size < 0 else part[at : at + size]
                self._at += len(data)
                return data
        raise EOFError(f"byte {self._at} was not fetched")
