"""From an Arrow table to the library that is to work with it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.extra import library
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
