"""The columns of a frame: always the same, in the same order, and typed even without rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import MEMBERSHIP

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.archive.optional import Coded, Ints

COLUMNS: Final = (
    "time",
    "seq",
    "namespace",
    "task",
    "pod",
    "container",
    "kind",
    "run",
    "node",
    "stream",
    "level",
    "message",
    "text",
    "fields",
    *MEMBERSHIP,
)


def schema() -> pa.Schema:
    """Return the Arrow schema of a frame.

    Returns
    -------
    pyarrow.Schema
        Columns with few values are dictionaries (categories in pandas). Text is `large_string`, because a `string`
        column holds at most 2 GiB. `fields` is JSON text and no struct: every line may have other fields, so a struct's
        type would change from log to log. DuckDB (`->>`), polars (`str.json_path_match`) and `pandas.json_normalize`
        read it.

    Examples
    --------
    >>> schema().names == list(COLUMNS)
    True
    """
    pa = import_optional("pyarrow")
    category, text = pa.dictionary(pa.int32(), pa.string()), pa.large_string()
    types = {"time": pa.timestamp("ns", "UTC"), "seq": pa.int64(), "run": pa.int32()}
    types |= dict.fromkeys(("message", "text", "fields"), text)
    return pa.schema([(name, types.get(name, category)) for name in COLUMNS])


def coded(column: Coded) -> tuple[Ints, list[str | None]]:
    """Return the codes of a dictionary column (null has the last one), and the texts that they stand for."""
    pa, np, pc = import_optional("pyarrow"), import_optional("numpy"), import_optional("pyarrow.compute")
    array = column.combine_chunks()
    array = (
        array
        if isinstance(array, pa.DictionaryArray)
        else array.chunk(0)
        if isinstance(array, pa.ChunkedArray)
        else array
    )
    names = array.dictionary.to_pylist()
    codes = pc.fill_null(array.indices.cast(pa.int64()), len(names)).to_numpy(zero_copy_only=False)
    return np.asarray(codes), [*names, None]
