"""From an Arrow table to the library that is to work with it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.frames.extras import library

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

#: Rows of a Parquet row group: a window of time reads few, and each compresses well
#: (`research/performance.md` section 5).
_ROW_GROUP: Final = 131_072
_FEW: Final = ("namespace", "task", "pod", "container", "kind", "run", "node", "stream", "level")
_DELTA: Final = ("time", "seq")


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
    pd, pa = library("pandas"), library("pyarrow")
    text = pd.StringDtype("pyarrow", na_value=float("nan"))  # what pandas 3 calls `str`

    def dtype(kind: Any) -> Any:
        return text if pa.types.is_large_string(kind) else None

    return table.to_pandas(types_mapper=dtype)


def to_polars(table: Any) -> Any:
    """Give a `polars.DataFrame`: times `Datetime("ns", "UTC")`, categories.

    Raises
    ------
    MissingExtra
        There is no polars.
    """
    return library("polars").from_arrow(table)


def to_parquet(table: Any, path: str | os.PathLike[str]) -> None:
    """Write a Parquet file: zstd, row groups of 131 072, the statement in its metadata.

    It appears under its name when it is whole; what stood there before stays until then.

    Parameters
    ----------
    table : pyarrow.Table
    path : path

    Raises
    ------
    BadQuery
        It cannot be written there.
    """
    parquet = library("pyarrow.parquet")

    def write(temporary: Path) -> None:
        parquet.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=1,  # smaller than level 3 on such text, and faster: measured
            row_group_size=_ROW_GROUP,
            use_dictionary=list(_FEW),
            column_encoding=dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"),
        )

    whole(path, write)


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
