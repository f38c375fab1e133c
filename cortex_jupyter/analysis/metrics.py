"""Find the numbers that a log reports, as one table with a row per value."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.by_pattern import read_by_pattern
from cortex_jupyter.analysis.by_shape import read_shapes
from cortex_jupyter.analysis.by_table import merge, read_tables
from cortex_jupyter.analysis.metrics_table import Carried, build_metrics_table
from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.archive.bytefind import any_matches, regex_mask
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.fields import ESCAPES
from cortex_jupyter.parsing.metrics import MEASURES

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.archive.optional import Ints, Texts

__all__ = ["Carried", "metrics"]

#: Finds lines that may report a number or begin a training epoch, in RE2's syntax.
_LIKELY: Final = (
    r"(?:[^0-9 \t][ \t]*[=:]|[A-Za-z_][0-9]{1,2}[ \t]*(?:=|:[ \t]))[\[( \t]*(?:tensor\()?[-+.]?(?:[0-9]|[nN]a[nN]|[iI]nf)"
    r"|(?i:epoch)|\|[ \t]*[A-Za-z].* [0-9]|\t[A-Za-z].*[0-9]"
)
#: Finds lines with a usual measure and its value without a sign between them.
_BARE: Final = rf"(?i)(?:{MEASURES})[ \t]+[-+.]?(?:[0-9]|nan|inf)"


def metrics(
    table: pa.Table,
    names: tuple[str, ...] = (),
    *,
    pattern: str | None = None,
    path: str | None = None,
    carried: Carried | None = None,
) -> pa.Table:
    r"""Find the numbers that lines report.

    Parameters
    ----------
    table : pyarrow.Table
        Records, as `to_arrow` returns them.
    names : tuple of str, optional
        Globs for the names wanted; default: all.
    pattern : str, optional
        A regular expression with named groups that replaces the known forms. Each group is a value with the group's
        name, except `step` and `rank`: they are the line's step and rank.
    path : str, optional
        Only fields of JSON lines below this path, `train.loss` or `$.train`.
    carried : Carried, optional
        State of the pieces before; it is updated for the next piece.

    Returns
    -------
    pyarrow.Table
        `time` (ns, UTC), `step` (float; null if the line names none and no epoch has begun), `name`, `value` (float),
        `task`, `pod`, `rank` (of a distributed training, from the lines, or else that of the source), `seq`; in the
        order of the log.

    Raises
    ------
    BadQuery
        `pattern` is invalid, or has no named group besides `step` and `rank`.
    MissingExtra
        pyarrow or numpy is not installed.
    """
    np = import_optional("numpy")
    text, rows = _lines(table)
    if pattern is not None:
        values = read_by_pattern(text, pattern)
    else:
        in_tables, late = None, False
        if path is None:
            tables = carried.tables if carried is not None else {}
            in_tables, late = read_tables(text, rows, table["pod"], table["task"], tables)
        if carried is not None:
            carried.has_late_steps = late
        likely = np.flatnonzero(regex_mask(text, f"{_LIKELY}|{_BARE}").to_numpy(zero_copy_only=False))
        values = read_shapes(shapes(text.take(import_optional("pyarrow").array(likely))), path)
        if in_tables is not None and len(in_tables.lines):
            values = merge(in_tables, values._replace(lines=likely[values.lines]))
        else:
            rows = rows[likely]
    frame = build_metrics_table(table, rows, values, carried)
    if not names:
        return frame
    name_matches = np.array([any(fnmatchcase(name, glob) for glob in names) for name in values.names], np.bool_)
    return frame.filter(import_optional("pyarrow").array(name_matches[values.codes]))


def _lines(table: pa.Table) -> tuple[Texts, Ints]:
    """Return the texts without colours, each state of a progress bar as a text of its own, and the row of each."""
    pc, np = import_optional("pyarrow.compute"), import_optional("numpy")
    text = table["text"]
    if any_matches(text, "\x1b"):
        text = pc.replace_substring_regex(text, ESCAPES, "")
    rows = np.arange(len(text))
    if any_matches(text, "\r"):
        states = pc.split_pattern(text.combine_chunks(), "\r")
        rows = pc.list_parent_indices(states).to_numpy(zero_copy_only=False)
        text = import_optional("pyarrow").chunked_array([states.flatten()])
    return text, rows
