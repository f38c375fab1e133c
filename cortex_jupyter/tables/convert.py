"""Convert an Arrow table for the library that works with it."""

from __future__ import annotations

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import MEMBERSHIP

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import pyarrow as pa
    from pandas import DataFrame
    from polars import DataFrame as PolarsFrame

#: A number that `int` surely accepts. Foreign files may hold longer ones.
_NUMBER: Final = re.compile(r"([0-9]{1,18})")


def to_pandas(table: pa.Table) -> DataFrame:
    """Return a `pandas.DataFrame`: times as `datetime64[ns, UTC]`, categories, strings held by Arrow.

    Parameters
    ----------
    table : pyarrow.Table

    Raises
    ------
    MissingExtra
        pandas is not installed.
    """
    pd, pa = import_optional("pandas"), import_optional("pyarrow")
    try:
        text = pd.StringDtype("pyarrow", na_value=float("nan"))  # what pandas 3 calls `str`
    except TypeError:  # pandas before 2.3 has only the dtype with `pd.NA`; 2.1 has none for `large_string`
        text = pd.StringDtype("pyarrow")
        fields = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in table.schema]
        table = table.cast(pa.schema(fields))

    def dtype(kind: Any) -> Any:
        return text if pa.types.is_large_string(kind) or pa.types.is_string(kind) else None

    dictionary_columns = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-pandas") as pool:  # Arrow and numpy release the interpreter
        categories = pool.map(_categories, (table[name] for name in dictionary_columns), dictionary_columns)
        plain = table.drop_columns(dictionary_columns).to_pandas(types_mapper=dtype)
        columns = {**plain, **dict(zip(dictionary_columns, categories, strict=True))}
    frame: DataFrame = pd.DataFrame({name: columns[name] for name in table.column_names}, copy=False)
    return frame


def _categories(column: Any, name: str) -> Any:
    """Return a dictionary column as a `pandas.Categorical`. Codes take one byte per row from the start; Arrow first takes four.

    Categories are in the order of appearance. Roles, ranks and attempts are in the order of their numbers, for `sort_values`.
    """
    pd, np = import_optional("pandas"), import_optional("numpy")
    values = dict.fromkeys(value for chunk in column.chunks for value in chunk.dictionary.to_pylist())
    if name in MEMBERSHIP:
        values = dict.fromkeys(sorted(values, key=_natural))
    index_of = {value: index for index, value in enumerate(values)}
    # Zeros that are never written take no memory, so a column with one value costs nothing.
    codes = np.zeros(len(column), np.min_scalar_type(-len(values) - 1))
    at = 0
    for chunk in column.chunks:
        chunk_codes = [index_of[value] for value in chunk.dictionary.to_pylist()]
        if chunk.null_count or any(chunk_codes):
            indices = (chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices).to_numpy()
            part = codes[at : at + len(chunk)]
            if chunk_codes == list(range(len(chunk_codes))):  # usually
                part[:] = indices
            else:  # index -1 means the last element, null; `wrap` spares the check of each index
                np.take(np.array([*chunk_codes, -1], codes.dtype), indices, out=part, mode="wrap")
        at += len(chunk)
    return pd.Categorical.from_codes(codes, pd.Index(list(values), dtype="str"), validate=False)


def _natural(text: str) -> list[str | int]:
    """Return a key that sorts texts with numbers, such as `2-9` and `2-10`, by these numbers."""
    return [int(part) if at % 2 else part for at, part in enumerate(_NUMBER.split(text))]


def to_polars(table: pa.Table) -> PolarsFrame:
    """Return a `polars.DataFrame`: times as `Datetime("ns", "UTC")`, categories.

    Raises
    ------
    MissingExtra
        polars is not installed.
    """
    pl = import_optional("polars")
    same = {name: value for name in table.column_names if (value := _only(table[name])) is not None}
    # Keep the chunks, as polars does when it reads Parquet: the user can still join the columns that need it.
    frame: PolarsFrame = pl.from_arrow(table.drop_columns(list(same)), rechunk=False)
    literals = [pl.lit(value, pl.Categorical).alias(name) for name, value in same.items()]
    return frame.with_columns(literals).select(table.column_names)


def _only(column: Any) -> str | None:
    """Return the one value of all rows of a dictionary column; None if there are several values, or none."""
    if not import_optional("pyarrow").types.is_dictionary(column.type) or column.null_count:
        return None
    values = {value for chunk in column.chunks for value in chunk.dictionary.to_pylist()}
    return values.pop() if len(values) == 1 else None


def plain(table: pa.Table) -> pa.Table:
    """Return a table with its dictionaries as text, so that it can be joined with another one."""
    pa = import_optional("pyarrow")
    fields = [f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def whole(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary file beside `path`, and rename the file when it has succeeded.

    Raises
    ------
    BadQuery
        It cannot be written there.
    """
    target = Path(path).expanduser()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        write(temporary)
        temporary.replace(target)
    except OSError as error:
        raise BadQuery(
            f"{target} cannot be written: {error.strerror or error}", "name a file in a folder that is yours"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
