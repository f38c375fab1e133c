"""The numbers that lines report in the forms we know: each shape of line is read once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing import metrics as rules
from cortex_jupyter.tables.search import matching

if TYPE_CHECKING:
    from cortex_jupyter.analysis.shapes import Shapes

_PLAIN: Final = r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"
_RANK: Final = re.compile(r"(?:rank)?(\d{1,6})\Z")


class Values(NamedTuple):
    """What lines report; each column is a numpy array with a place for each value, in the order of the lines.

    Parameters
    ----------
    lines : array of int
        The number of its line.
    codes : array of int
        Its name's place in `names`.
    names : list of str
    values, steps, epochs, ranks : array of float
        NaN where the line says none.
    """

    lines: Any
    codes: Any
    names: list[str]
    values: Any
    steps: Any
    epochs: Any
    ranks: Any


def read(found: Shapes, path: str | None) -> Values:
    """Read each shape once, and the tokens of all lines that have it at once; values in the order of the lines."""
    np = import_optional("numpy")
    prefix = re.sub(r"^\$\.?", "", path) if path is not None else None
    readings = [
        reading if (reading := rules.read(shape)) is not None and (prefix is None or "{" in shape) else rules.Reading()
        for shape in found.texts
    ]
    for reading in readings if prefix is not None else ():
        reading.values = {
            name: at for name, at in reading.values.items() if name == prefix or name.startswith(f"{prefix}.")
        }
    many = np.array([len(reading.values) for reading in readings], np.int64)[found.shape]
    end = np.cumsum(many)
    begin, total = end - many, int(end[-1]) if len(end) else 0
    codes, values, places = np.zeros(total, np.int32), np.full(total, np.nan), np.full(total, -1)
    # What is the same for all values of a line.
    step, epoch, rank, tag = (np.full(len(many), -1) for _ in range(4))
    said: dict[str, int] = {}
    order = np.argsort(found.shape, kind="stable")
    ends = np.cumsum(found.count)
    for reading, lines in zip(readings, np.split(order, ends[:-1]), strict=True) if readings else ():
        if not reading.values:
            continue
        first = found.at[lines]
        turn = next((at for at in (reading.step, reading.epoch, reading.bar) if at is not None), None)
        for column, at in ((step, turn), (epoch, reading.epoch), (rank, reading.rank), (tag, reading.tag)):
            if at is not None:
                column[lines] = first + at
        for i, (name, where) in enumerate(reading.values.items()):
            row = begin[lines] + i
            codes[row] = said.setdefault(name, len(said))
            if isinstance(where, float):
                values[row] = where
            else:
                places[row] = first + where
    stated = places < 0
    numbers, valid = _numbers(found, places)
    values = np.where(stated, values, numbers)
    keep = np.flatnonzero(valid | stated)
    lines = np.repeat(np.arange(len(many)), many)[keep]
    steps, epochs = (_numbers(found, column)[0][lines] for column in (step, epoch))
    return Values(lines, codes[keep], list(said), values[keep], steps, epochs, _ranks(found, rank, tag)[lines])


def _numbers(found: Shapes, places: Any) -> tuple[Any, Any]:
    """Give the numbers that tokens are, NaN for none, and which are; -1 is no token."""
    np, pa, pc = import_optional("numpy"), import_optional("pyarrow"), import_optional("pyarrow.compute")
    values = np.full(len(places), np.nan)
    have, own, index = _own(found, places)
    if not len(own):
        return values, have
    tokens = found.tokens(own)
    plain = matching(tokens, _PLAIN)
    if pc.all(plain).as_py():
        numbers = tokens.cast(pa.float64()).to_numpy(zero_copy_only=False)
    else:
        numbers = pc.if_else(plain, tokens, None).cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
        odd = pc.invert(plain)
        coded = tokens.filter(odd).dictionary_encode()
        read = np.array([rules.number(t) for t in coded.dictionary.to_pylist()], np.float64)
        numbers[odd.to_numpy(zero_copy_only=False)] = read[coded.indices.to_numpy()]
    values[have] = numbers[index]
    return values, ~np.isnan(values)


def _own(found: Shapes, places: Any) -> tuple[Any, Any, Any]:
    """Give which places are of a token, those tokens in order, and each one's place among them."""
    np = import_optional("numpy")
    have = places >= 0
    own = places[have]
    if (own[1:] > own[:-1]).all():
        return have, own, slice(None)
    wanted = np.zeros(len(found.start), np.bool_)
    wanted[own] = True
    return have, np.flatnonzero(wanted), (np.cumsum(wanted, dtype=np.int32) - 1)[own]


def _ranks(found: Shapes, rank: Any, tag: Any) -> Any:
    """Give the ranks that lines name: `rank=3`, and `[rank3]` but not `[12]`."""
    np = import_optional("numpy")
    ranks = np.full(len(rank), np.nan)
    for places, bare in ((tag, False), (rank, True)):
        have, own, index = _own(found, places)
        if not len(own):
            continue
        coded = found.tokens(own).dictionary_encode()
        read = [_rank(text, bare=bare) for text in coded.dictionary.to_pylist()]
        numbers = np.array(read, np.float64)[coded.indices.to_numpy()]
        new = numbers[index]
        ranks[have] = np.where(np.isnan(new), ranks[have], new)
    return ranks


def _rank(text: str, *, bare: bool) -> float:
    match = _RANK.match(text)
    return float(match[1]) if match and (bare or text.startswith("rank")) else float("nan")
