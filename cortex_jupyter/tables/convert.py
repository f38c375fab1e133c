"""From an Arrow table to the library that is to work with it."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


def to_pandas(table: Any) -> Any:
    """Give a `pandas.DataFrame`: times `datetime64[ns, UTC]`, categories, strings held by Arrow.

    Parameters
    ----------
    table : pyarrow.Table

    Raises
    ------
    MissingExtra
        There is no pandas.
    """
    pd, pa = import_optional("pandas"), import_optional("pyarrow")
    try:
        text = pd.StringDtype("pyarrow", na_value=float("nan"))  # what pandas 3 calls `str`
    except TypeError:  # pandas before 2.3 has only the one whose missing value is `pd.NA`, 2.1 without `large_string`
        text = pd.StringDtype("pyarrow")
        fields = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in table.schema]
        table = table.cast(pa.schema(fields))

    def dtype(kind: Any) -> Any:
        return text if pa.types.is_large_string(kind) or pa.types.is_string(kind) else None

    few = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-pandas") as pool:  # Arrow and numpy release the interpreter
        categories = pool.map(_categories, (table[name] for name in few))
        plain = table.drop_columns(few).to_pandas(types_mapper=dtype)
        columns = {**plain, **dict(zip(few, categories, strict=True))}
    return pd.DataFrame({name: columns[name] for name in table.column_names}, copy=False)


def _categories(column: Any) -> Any:
    """Give a dictionary column as a `pandas.Categorical`: a byte for each row at once, where Arrow has four first."""
    pd, np = import_optional("pandas"), import_optional("numpy")
    known = dict.fromkeys(value for chunk in column.chunks for value in chunk.dictionary.to_pylist())
    places = {value: place for place, value in enumerate(known)}
    # Zeros that nobody writes are no memory: of a column with one value there is nothing to do.
    codes = np.zeros(len(column), np.min_scalar_type(-len(known) - 1))
    at = 0
    for chunk in column.chunks:
        own = [places[value] for value in chunk.dictionary.to_pylist()]
        if chunk.null_count or any(own):
            indices = (chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices).to_numpy()
            # The usual dictionary is the same in all chunks; of another the place -1 is its last.
            same = own == list(range(len(own)))
            codes[at : at + len(chunk)] = indices if same else np.array([*own, -1], codes.dtype)[indices]
        at += len(chunk)
    return pd.Categorical.from_codes(codes, pd.Index(list(known), dtype="str"), validate=False)


def to_polars(table: Any) -> Any:
    """Give a `polars.DataFrame`: times `Datetime("ns", "UTC")`, categories.

    Raises
    ------
    MissingExtra
        There is no polars.
    """
    pl = import_optional("polars")
    same = {name: value for name in table.column_names if (value := _only(table[name])) is not None}
    # In the chunks in which it was read, as polars itself reads Parquet: whoever needs one joins what they need.
    frame = pl.from_arrow(table.drop_columns(list(same)), rechunk=False)
    literals = [pl.lit(value, pl.Categorical).alias(name) for name, value in same.items()]
    return frame.with_columns(literals).select(table.column_names)


def _only(column: Any) -> str | None:
    """Give the value that all rows of a dictionary column have; None where there are several, or others."""
    if not import_optional("pyarrow").types.is_dictionary(column.type) or column.null_count:
        return None
    known = {value for chunk in column.chunks for value in chunk.dictionary.to_pylist()}
    return known.pop() if len(known) == 1 else None


def plain(table: Any) -> Any:
    """Give a table whose dictionaries are text, so that it can be joined with another."""
    pa = import_optional("pyarrow")
    fields = [f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def whole(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Let `write` write a temporary file beside `path`, and give it that name when it has succeeded.

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
