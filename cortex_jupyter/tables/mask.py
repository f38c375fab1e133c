"""Mask the secrets in a table of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.tables.derive import derived

if TYPE_CHECKING:
    from cortex_jupyter.parsing.masking import Mask


def masked(table: Any, mask: Mask) -> Any:
    """Mask the secrets of a table.

    Parameters
    ----------
    table : pyarrow.Table
        Records, as `to_arrow` returns them.
    mask : Mask
        Masks texts, and counts what it masks.

    Returns
    -------
    pyarrow.Table
        The same rows and columns; level, message and fields of changed lines are parsed again.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    text = table["text"].combine_chunks()
    candidates = pc.match_substring_regex(text, mask.worth)
    if not pc.any(candidates, min_count=0).as_py():
        return table
    old = text.filter(candidates)
    new = pa.array(mask.each(old.to_pylist()), pa.large_string())
    changed = pc.not_equal(old, new)
    if not pc.any(changed, min_count=0).as_py():
        return table
    rows = pc.replace_with_mask(candidates, candidates, changed)
    new = new.filter(changed)
    read = derived(pa.chunked_array([new]))
    for name, column in {"text": pa.chunked_array([new]), **{k: read[k] for k in ("message", "fields")}}.items():
        index = table.schema.get_field_index(name)
        if index >= 0:
            whole = table[name].combine_chunks()
            whole = pc.replace_with_mask(whole, rows, column.combine_chunks().cast(whole.type))
            table = table.set_column(index, table.schema.field(index), whole)
    return table
