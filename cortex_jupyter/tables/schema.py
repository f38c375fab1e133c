"""The columns of a frame: always these, in this order, typed also when there is no row."""

from __future__ import annotations

from typing import Any, Final

from cortex_jupyter.archive.optional import import_optional

COLUMNS: Final = (
    "time", "seq", "namespace", "task", "pod", "container", "kind", "run", "node", "stream", "level", "message",
    "text", "fields",
)  # fmt: skip


def schema() -> Any:
    """Give the Arrow schema of a frame.

    Returns
    -------
    pyarrow.Schema
        Columns with few values are dictionaries (categories in pandas). Text is `large_string`: a `string` column
        holds no more than 2 GiB at once. `fields` is JSON text and no struct, because every line may have other
        fields and a struct's type would change from log to log; DuckDB (`->>`), polars (`str.json_path_match`) and
        `pandas.json_normalize` read it.

    Examples
    --------
    >>> schema().names == list(COLUMNS)
    True
    """
    pa = import_optional("pyarrow")
    few, text = pa.dictionary(pa.int32(), pa.string()), pa.large_string()
    types = {"time": pa.timestamp("ns", "UTC"), "seq": pa.int64(), "run": pa.int32()}
    types |= dict.fromkeys(("message", "text", "fields"), text)
    return pa.schema([(name, types.get(name, few)) for name in COLUMNS])


def coded(column: Any) -> tuple[Any, list[str | None]]:
    """Give a dictionary column as numbers (the last for null) and their texts."""
    pa, np, pc = import_optional("pyarrow"), import_optional("numpy"), import_optional("pyarrow.compute")
    one = column.combine_chunks()
    one = one if isinstance(one, pa.DictionaryArray) else one.chunk(0) if isinstance(one, pa.ChunkedArray) else one
    names = one.dictionary.to_pylist()
    codes = pc.fill_null(one.indices.cast(pa.int64()), len(names)).to_numpy(zero_copy_only=False)
    return np.asarray(codes), [*names, None]
