"""Import optional libraries where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cortex_jupyter.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    # These names tell a reader what a function takes and returns. mypy does not check them: pyarrow has no types, and
    # `import_optional` returns modules without theirs.
    #: Arrays of numpy.
    Ints: TypeAlias = NDArray[np.integer[Any]]
    Floats: TypeAlias = NDArray[np.float64]
    Flags: TypeAlias = NDArray[np.bool_]
    Bytes: TypeAlias = NDArray[np.uint8]
    Hashes: TypeAlias = NDArray[np.uint64]
    #: Columns of an Arrow table: of numbers, of texts, of texts with few values, and of the rows that a test selects.
    IntColumn: TypeAlias = "pa.ChunkedArray[pa.Int64Scalar]"
    Texts: TypeAlias = "pa.ChunkedArray[pa.LargeStringScalar]"
    Coded: TypeAlias = "pa.ChunkedArray[pa.DictionaryScalar[Any, Any]]"
    Mask: TypeAlias = "pa.BooleanArray | pa.ChunkedArray[pa.BooleanScalar]"
    TextArray: TypeAlias = "pa.LargeStringArray | pa.LargeBinaryArray"

#: The extra of ours that installs a library.
_EXTRA: Final = {
    "pyarrow": "pandas",
    "pandas": "pandas",
    "polars": "polars",
    "numpy": "pandas",
    "obstore": "archive",
    "duckdb": "sql",
    "dask": "dask",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
}


def import_optional(name: str) -> Any:
    """Import an optional library or one of its modules.

    Parameters
    ----------
    name : str
        For instance `pyarrow.compute`.

    Raises
    ------
    MissingExtra
        It is not installed, or does not work with the other packages here. The hint says what to install.

    Examples
    --------
    >>> import_optional("json").dumps(1)
    '1'
    >>> import_optional("no_such_library")
    Traceback (most recent call last):
    ...
    cortex_jupyter.errors.MissingExtra: this needs no_such_library, which is not installed
    <BLANKLINE>
    hint: pip install "no_such_library"
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        root = name.partition(".")[0]
        if error.name != root:
            raise  # it is installed, but something that it needs is not; its own message names that
        package = f"cortex-jupyter[{_EXTRA[root]}]" if root in _EXTRA else root
        raise MissingExtra(f"this needs {root}, which is not installed", f'pip install "{package}"') from error
    except ImportError as error:
        # For instance of pyarrow 26 beside NumPy 1: no metadata tells an installer that the two do not fit.
        root = name.partition(".")[0]
        hint = f"install a release of {root} that fits the other packages here: docs/reference/environments.md"
        raise MissingExtra(f"cannot import {root}: {error}", hint) from error
