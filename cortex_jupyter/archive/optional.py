"""Import optional libraries where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from cortex_jupyter.errors import MissingExtra

#: The extra of ours that installs a library.
_EXTRA: Final = {
    "pyarrow": "pandas",
    "pandas": "pandas",
    "polars": "polars",
    "numpy": "pandas",
    "obstore": "archive",
    "duckdb": "sql",
    "dask": "dask",
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
    except (
        ImportError
    ) as error:  # as of pyarrow 26 beside NumPy 1: no metadata tells an installer that the two do not fit
        root = name.partition(".")[0]
        hint = f"install a release of {root} that fits the other packages here: docs/reference/environments.md"
        raise MissingExtra(f"cannot import {root}: {error}", hint) from error
