"""Read the numbers in lines of known forms: each shape of line is parsed once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from cortex_jupyter.archive.bytefind import regex_mask
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing import metrics as rules

if TYPE_CHECKING:
    from cortex_jupyter.analysis.shapes import Shapes
    from cortex_jupyter.archive.optional import Flags, Floats, Ints

_PLAIN: Final = r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"
_RANK: Final = re.compile(r"[A-Za-z_]*?(\d{1,6})\Z")


class Values(NamedTuple):
    """The values that lines report; each column is a numpy array with one element per value, in the order of the lines.

    Parameters
    ----------
    lines : array of int
        Number of the value's line.
    codes : array of int
        Index of the value's name in `names`.
    names : list of str
    values, steps, epochs, ranks : array of float
        NaN if the line has none.
    """

    lines: Ints
    codes: Ints
    names: list[str]
    values: Floats
    steps: Floats
    epochs: Floats
    ranks: Floats


def read_shapes(shapes: Shapes, path: str | None) -> Values:
    """Parse each shape once, and convert the tokens of all its lines at once; values are in the order of the lines."""
    np = import_optional("numpy")
    prefix = re.sub(r"^\$\.?", "", path) if path is not None else None
    readings = [
        reading if (reading := rules.read(shape)) is not None and (prefix is None or "{" in shape) else rules.Reading()
        for shape in shapes.texts
    ]
    for reading in readings if prefix is not None else ():
        reading.values = {
            name: at for name, at in reading.values.items() if name == prefix or name.startswith(f"{prefix}.")
        }
    value_counts = np.array([len(reading.values) for reading in readings], np.int64)[shapes.shape]
    end = np.cumsum(value_counts)
    begin, total = end - value_counts, int(end[-1]) if len(end) else 0
    codes, values, tokens = np.zeros(total, np.int32), np.full(total, np.nan), np.full(total, -1)
    joined_rows = []  # numbers with separators, such as `1,234.5`, take several tokens
    # These are the same for all values of a line.
    step, epoch, rank, tag, per_epoch = (np.full(len(value_counts), -1) for _ in range(5))
    first_epoch = np.zeros(len(value_counts))
    code_of_name: dict[str, int] = {}
    order = np.argsort(shapes.shape, kind="stable")
    ends = np.cumsum(shapes.count)
    for reading, lines in zip(readings, np.split(order, ends[:-1]), strict=True) if readings else ():
        if not reading.values:
            continue
        first = shapes.at[lines]
        within = reading.per_epoch - 1 if reading.per_epoch >= 0 else None
        step_token = next((at for at in (reading.step, within, reading.epoch, reading.bar) if at is not None), None)
        for column, at in ((step, step_token), (epoch, reading.epoch), (rank, reading.rank), (tag, reading.tag)):
            if at is not None:
                column[lines] = first + at
        if reading.per_epoch >= 0:
            per_epoch[lines], first_epoch[lines] = first + reading.per_epoch, reading.first_epoch
        for i, (name, where) in enumerate(reading.values.items()):
            row = begin[lines] + i
            codes[row] = code_of_name.setdefault(name, len(code_of_name))
            if isinstance(where, float):
                values[row] = where
            elif where in reading.joined:
                values[row] = _joined(shapes, first + where, reading.joined[where])
                joined_rows.append(row)
            else:
                tokens[row] = first + where
    stated = tokens < 0
    for row in joined_rows:
        stated[row] = ~np.isnan(values[row])
    numbers, valid = _numbers(shapes, tokens)
    values = np.where(stated, values, numbers)
    keep = np.flatnonzero(valid | stated)
    lines = np.repeat(np.arange(len(value_counts)), value_counts)[keep]
    steps, epochs, steps_per_epoch = (_numbers(shapes, column)[0] for column in (step, epoch, per_epoch))
    steps = np.where(per_epoch >= 0, steps + (epochs - first_epoch) * steps_per_epoch, steps)[lines]
    ranks = _ranks(shapes, rank, tag)[lines]
    return Values(lines, codes[keep], list(code_of_name), values[keep], steps, epochs[lines], ranks)


def _numbers(shapes: Shapes, tokens: Ints) -> tuple[Floats, Flags]:
    """Return the numbers that tokens stand for (NaN for none), and which are numbers; -1 is no token."""
    np, pa, pc = import_optional("numpy"), import_optional("pyarrow"), import_optional("pyarrow.compute")
    values = np.full(len(tokens), np.nan)
    have, used, index = _distinct_tokens(shapes, tokens)
    if not len(used):
        return values, have
    token_texts = shapes.tokens(used)
    plain = regex_mask(token_texts, _PLAIN)
    if pc.all(plain).as_py():
        numbers = token_texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    else:
        numbers = pc.if_else(plain, token_texts, None).cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
        odd = pc.invert(plain)
        coded = token_texts.filter(odd).dictionary_encode()
        distinct_numbers = np.array([rules.number(t) for t in coded.dictionary.to_pylist()], np.float64)
        numbers[odd.to_numpy(zero_copy_only=False)] = distinct_numbers[coded.indices.to_numpy()]
    values[have] = numbers[index]
    return values, ~np.isnan(values)


def _joined(shapes: Shapes, tokens: Ints, more: int) -> Floats:
    """Return the numbers that begin with some tokens and go on with `more` tokens after each; NaN for no number."""
    np = import_optional("numpy")
    coded = shapes.tokens(tokens, tokens + more).dictionary_encode()
    distinct_numbers = np.array([rules.number(text) for text in coded.dictionary.to_pylist()], np.float64)
    numbers: Floats = distinct_numbers[coded.indices.to_numpy()]
    return numbers


def _distinct_tokens(shapes: Shapes, tokens: Ints) -> tuple[Flags, Ints, Ints | slice]:
    """Return which positions have a token, those tokens in order, and the index of each position's token."""
    np = import_optional("numpy")
    have = tokens >= 0
    used = tokens[have]
    if (used[1:] > used[:-1]).all():
        return have, used, slice(None)
    is_used = np.zeros(len(shapes.start), np.bool_)
    is_used[used] = True
    return have, np.flatnonzero(is_used), (np.cumsum(is_used, dtype=np.int32) - 1)[used]


def _ranks(shapes: Shapes, rank: Ints, tag: Ints) -> Floats:
    """Return the ranks that lines name: `rank=3`, `[default3]:` and `[rank3]`, but not `[12]`."""
    np = import_optional("numpy")
    ranks = np.full(len(rank), np.nan)
    for tokens, bare in ((tag, False), (rank, True)):
        have, used, index = _distinct_tokens(shapes, tokens)
        if not len(used):
            continue
        coded = shapes.tokens(used).dictionary_encode()
        distinct_ranks = [_rank(text, bare=bare) for text in coded.dictionary.to_pylist()]
        numbers = np.array(distinct_ranks, np.float64)[coded.indices.to_numpy()]
        new = numbers[index]
        ranks[have] = np.where(np.isnan(new), ranks[have], new)
    return ranks


def _rank(text: str, *, bare: bool) -> float:
    match = _RANK.match(text)
    return float(match[1]) if match and (bare or text.startswith("rank")) else float("nan")
