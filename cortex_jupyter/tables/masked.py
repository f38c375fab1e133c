"""A table of records with its secrets masked."""

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
        Of records, as `to_arrow` gives it.
    mask : Mask
        Counts what it masks.

    Returns
    -------
    pyarrow.Table
        The same rows and columns; level, message and fields of lines that changed are read anew.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    text = table["text"].combine_chunks()
    worth = pc.match_substring_regex(text, mask.worth)
    if not pc.any(worth, min_count=0).as_py():
        return table
    old = text.filter(worth)
    new = pa.array(mask.each(old.to_pylist()), pa.large_string())
    changed = pc.not_equal(old, new)
    if not pc.any(changed, min_count=0).as_py():
        return table
    rows = pc.replace_with_mask(worth, worth, changed)
    new = new.filter(changed)
    read = derived(pa.chunked_array([new]))
    for name, column in {"text": pa.chunked_array([new]), **{k: read[k] for k in ("message", "fields")}}.items():
        place = table.schema.get_field_index(name)
        if place >= 0:
            whole = table[name].combine_chunks()
            whole = pc.replace_with_mask(whole, rows, column.combine_chunks().cast(whole.type))
            table = table.set_column(place, table.schema.field(place), whole)
    return table
