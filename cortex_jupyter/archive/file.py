"""Reading a Parquet file by parts, wherever it lies: the footer once, then of the row groups those that are wanted.

pyarrow would ask an object store for each column chunk; here what lies side by side is one request.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.write import TAIL
from cortex_jupyter.errors import ArchiveDamaged, ArchiveError, ArchiveNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cortex_jupyter.archive.objects import ObjectStore

#: Read of a file's end where the footer's size is not known: enough for most (`research/performance.md` section 5).
_GUESS: Final = 65_536
#: A hole of so many bytes is read rather than asked around; and so much is asked for at once.
_HOLE: Final = 1 << 20
_MOST: Final = 64 << 20
_MAGIC: Final = b"PAR1"
#: Columns whose dictionary also says what there might have been; nobody can tell from a row group's one value.
_CLOSED: Final = frozenset({"stream", "level"})
#: Where a row stands in its row group, while rows are chosen.
_ROW: Final = "cortex.row"


@dataclass(frozen=True, slots=True)
class RowSelector:
    """Which rows are wanted.

    Parameters
    ----------
    columns : sequence of str
        What it looks at.
    select : callable
        Gives the rows of a table of these columns, and others, that are wanted; of the columns that it is named.
    """

    columns: Sequence[str]
    select: Callable[[Any, Sequence[str]], Any]


class ParquetFile:
    """One Parquet file.

    Parameters
    ----------
    objects : ObjectStore
    name : str
    size, footer : int, optional
        Bytes, where they are known: each saves a request.
    """

    def __init__(self, objects: ObjectStore, name: str, size: int | None = None, footer: int | None = None) -> None:
        self.objects, self.name = objects, name
        self._size, self._footer = size, footer

    @property
    def path(self) -> str:
        """What other libraries call it."""
        return self.objects.path(self.name)

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.objects.size(self.name) if self._size is None else self._size

    @cached_property
    def metadata(self) -> Any:
        """The footer as `pyarrow.parquet.FileMetaData`.

        Raises
        ------
        ArchiveDamaged, ArchiveError
        """
        pq = import_optional("pyarrow.parquet")
        want = min(self._footer or _GUESS, self.size)
        tail = self._range(self.size - want, self.size) if want else b""
        if len(tail) < TAIL or tail[-4:] != _MAGIC:
            raise ArchiveDamaged(f"{self.path} is no Parquet file, or was cut off: it does not end as one")
        need = int.from_bytes(tail[-8:-4], "little") + TAIL
        if need > self.size:
            raise ArchiveDamaged(f"{self.path} was cut off: its footer is longer than the file")
        if need > len(tail):
            tail = self._range(self.size - need, self.size - len(tail)) + tail
        with self._readable():
            return pq.read_metadata(io.BytesIO(_MAGIC + tail[-need:]))

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Where the bytes of each row group lie: first, and after the last."""
        found = []
        for i in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(i)
            chunks = [group.column(j) for j in range(group.num_columns)]
            starts = [min(c.dictionary_page_offset or c.data_page_offset, c.data_page_offset) for c in chunks]
            ends = [s + c.total_compressed_size for s, c in zip(starts, chunks, strict=True)]
            found.append((min(starts, default=0), max(ends, default=0)))
        return found

    def statistics(self, column: str) -> list[tuple[Any, Any] | None]:
        """Give the least and the greatest value of a column for each row group; None where the file does not say."""
        names = [self.metadata.schema.column(i).path for i in range(self.metadata.num_columns)]
        if column not in names:
            return [None] * self.metadata.num_row_groups
        place, found = names.index(column), []
        for i in range(self.metadata.num_row_groups):
            held = self.metadata.row_group(i).column(place).statistics
            found.append((held.min_raw, held.max_raw) if held is not None and held.has_min_max else None)
        return found

    def read(
        self,
        groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        each: Callable[[Any], Any] | None = None,
        progress: Callable[[int], object] = int,
        choice: RowSelector | None = None,
    ) -> Any:
        """Read row groups, all of them by default, as one table.

        Parameters
        ----------
        groups : sequence of int, optional
        columns : sequence of str, optional
        each : callable, optional
            What to make of the table of each row group, in the thread that has read it: what it leaves out is gone
            before the next is read.
        progress : callable, optional
            Called with the number of rows of each row group.
        choice : RowSelector, optional
            Which rows are wanted: the other columns of a row group are decoded where it leaves any.

        Raises
        ------
        ArchiveDamaged, ArchiveError
        """
        pa = import_optional("pyarrow")
        wanted = list(range(self.metadata.num_row_groups) if groups is None else groups)
        names = None if columns is None else list(columns)
        parts = self._parts(wanted) if self.objects.folder is None else []

        def one(group: int) -> Any:
            with self._readable():
                if choice is None:
                    table = self._group(group, names, parts)
                else:
                    table = self._chosen(group, names, parts, choice)
            return table if each is None else each(table)

        # Row group by row group: read at once, each column would be copied together, with twice the memory.
        with ThreadPoolExecutor(pa.cpu_count(), "cortex-parquet") as pool:
            tables = []
            for group, table in zip(wanted, pool.map(one, wanted), strict=True):
                progress(self.metadata.row_group(group).num_rows)
                tables.append(table)
        if tables:
            return pa.concat_tables(tables).unify_dictionaries()
        empty = self._schema.empty_table()
        empty = empty if names is None else empty.select(names)
        return empty if each is None else each(empty)

    @cached_property
    def _schema(self) -> Any:
        return self.metadata.schema.to_arrow_schema()

    def _chosen(self, group: int, names: list[str] | None, parts: list[tuple[int, bytes]], choice: RowSelector) -> Any:
        pa, np = import_optional("pyarrow"), import_optional("numpy")
        wanted = [field for field in self._schema if names is None or field.name in names]
        looked = self._group(group, list(choice.columns), parts)
        rest = [field.name for field in wanted if field.name not in choice.columns]
        both = [field.name for field in wanted if field.name in choice.columns]
        found = choice.select(looked.append_column(_ROW, pa.array(np.arange(len(looked)))), [*both, _ROW])
        if not wanted:
            return found  # of which only the number counts
        if not len(found):
            others = pa.schema(wanted).empty_table()
        else:
            others = self._group(group, rest, parts)
            others = others if len(found) == len(looked) else others.take(found[_ROW])
        columns = [(others if field.name in rest else found)[field.name] for field in wanted]
        return pa.table(columns, schema=pa.schema(wanted, self._schema.metadata))

    def _group(self, group: int, names: list[str] | None, parts: list[tuple[int, bytes]]) -> Any:
        pa, pq = import_optional("pyarrow"), import_optional("pyarrow.parquet")
        place = _Parts(parts) if self.objects.folder is None else self.objects.folder / self.name
        local = self.objects.folder is not None
        wanted = [field for field in self._schema if names is None or field.name in names]
        same = self._same(group, wanted)
        read = [field.name for field in wanted if field.name not in same]
        with pq.ParquetFile(place, metadata=self.metadata, memory_map=local, pre_buffer=False) as file:
            table = file.read_row_groups([group], read, use_threads=False)
        found = [same[f.name] if f.name in same else table[f.name] for f in wanted]
        return pa.table(found, schema=pa.schema(wanted, self._schema.metadata))

    def _same(self, group: int, wanted: Sequence[Any]) -> dict[str, Any]:
        """Give the columns that have one value throughout a row group, as its statistics say: those need not be read."""
        pa = import_optional("pyarrow")
        held = self.metadata.row_group(group)
        rows = held.num_rows
        zeros = self._zeros.slice(0, rows)
        found = {}
        for field in wanted[1:]:  # one column is read in any case
            said = held.column(self._schema.get_field_index(field.name)).statistics
            if said is None or not said.has_null_count:
                continue
            if said.null_count == rows:
                found[field.name] = pa.nulls(rows, field.type)
            elif said.null_count or not said.has_min_max or said.min != said.max:
                continue
            elif pa.types.is_dictionary(field.type) and field.name not in _CLOSED:
                value = pa.array([said.min], field.type.value_type)
                found[field.name] = pa.DictionaryArray.from_arrays(zeros, value).cast(field.type)
            elif pa.types.is_int32(field.type):
                found[field.name] = zeros if said.min == 0 else pa.repeat(pa.scalar(said.min, field.type), rows)
        return found

    @cached_property
    def _zeros(self) -> Any:
        """Zeros for the rows of any row group."""
        np, held = import_optional("numpy"), self.metadata
        most = max((held.row_group(i).num_rows for i in range(held.num_row_groups)), default=0)
        return import_optional("pyarrow").array(np.zeros(most, np.int32))

    def pieces(self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Read row groups one after the other, for what does not fit into memory."""
        for group in range(self.metadata.num_row_groups) if groups is None else groups:
            yield self.read([group], columns)

    def _parts(self, groups: Sequence[int]) -> list[tuple[int, bytes]]:
        """Fetch the bytes of row groups, those that lie side by side in one request."""
        runs: list[list[int]] = []
        for start, end in sorted(self.spans[g] for g in groups):
            if runs and start - runs[-1][1] <= _HOLE and end - runs[-1][0] <= _MOST:
                runs[-1][1] = max(end, runs[-1][1])
            else:
                runs.append([start, end])
        return [(start, self._range(start, end)) for start, end in runs]

    def _range(self, start: int, end: int) -> bytes:
        try:
            found = self.objects.range(self.name, start, end)
        except ArchiveNotFound:
            raise
        except ArchiveError:
            if self.objects.size(self.name) < end:
                raise ArchiveDamaged(
                    f"{self.path} was cut off: it is shorter than it was when it was written"
                ) from None
            raise
        if len(found) < end - start:
            raise ArchiveDamaged(f"{self.path} was cut off: it is shorter than it was when it was written")
        return found

    @contextmanager
    def _readable(self) -> Iterator[None]:
        pa = import_optional("pyarrow")
        try:
            yield
        except (pa.ArrowException, OSError, EOFError) as error:
            raise ArchiveDamaged(f"{self.path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


class _Parts(io.RawIOBase):
    """A file of which some parts are there."""

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
                found = part[at:] if size < 0 else part[at : at + size]
                self._at += len(found)
                return found
        raise EOFError(f"byte {self._at} was not asked for")
