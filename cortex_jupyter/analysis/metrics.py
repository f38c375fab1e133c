"""The numbers that a log reports, as one tidy frame: a row per value."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Final

from cortex_jupyter.analysis.matched import matched
from cortex_jupyter.analysis.measured import read
from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.analysis.tidy import Carried, tidy
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.fields import ESCAPES
from cortex_jupyter.tables.search import any_matches, matching

__all__ = ["Carried", "metrics"]

#: May report a number, or begins an epoch; in RE2's syntax.
_LIKELY: Final = r"[^0-9 \t][ \t]*[=:][\[( \t]*[-+.]?(?:[0-9]|[nN]a[nN]|[iI]nf)|(?i:epoch)|\|[ \t]*[A-Za-z].* [0-9]|\t[A-Za-z].*[0-9]"


def metrics(
    table: Any,
    names: tuple[str, ...] = (),
    *,
    pattern: str | None = None,
    path: str | None = None,
    carried: Carried | None = None,
) -> Any:
    r"""Find the numbers that lines report.

    Parameters
    ----------
    table : pyarrow.Table
        Of records, as `to_arrow` gives it.
    names : tuple of str, optional
        Only these; globs.
    pattern : str, optional
        A regular expression with named groups, in place of the known forms: a group is a value of its name; `step`
        is the step.
    path : str, optional
        Only fields of JSON lines below this one, `train.loss` or `$.train`.
    carried : Carried, optional
        Of the pieces before; what the next one takes over is noted in it.

    Returns
    -------
    pyarrow.Table
        `time` (ns, UTC), `step` (float, null where the line names none and no epoch has begun), `name`, `value` (float),
        `task`, `pod`, `rank` (of distributed training: as lines say it, else the pod's index), `seq`; in the order of
        the log.

    Raises
    ------
    BadQuery
        `pattern` cannot be understood or has no named group.
    MissingExtra
        There is no pyarrow or no numpy.
    """
    np = import_optional("numpy")
    text, rows = _lines(table)
    if pattern is not None:
        found = matched(text, pattern)
    else:
        likely = matching(text, _LIKELY)
        text, rows = text.filter(likely), rows[likely.to_numpy(zero_copy_only=False)]
        found = read(shapes(text), path)
    frame = tidy(table, rows, found, carried)
    if not names:
        return frame
    wanted = np.array([any(fnmatchcase(name, glob) for glob in names) for name in found.names], np.bool_)
    return frame.filter(import_optional("pyarrow").array(wanted[found.codes]))


def _lines(table: Any) -> tuple[Any, Any]:
    """Give the texts without colours, a progress bar's states one by one, and the row of each."""
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
