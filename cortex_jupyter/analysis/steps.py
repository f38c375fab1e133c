"""Find how far each rank of a task is: which lines count its steps, and when each step was reached."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.archive.bytefind import any_matches, regex_mask
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing import metrics
from cortex_jupyter.parsing.fields import ESCAPES
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.analysis.shapes import Shapes
    from cortex_jupyter.archive.optional import Flags, Floats, Ints, Texts

#: The columns of records that `read_progress` needs.
COLUMNS: Final = ("time", "seq", "pod", "container", "kind", "run", "node", "level", "text", "role", "rank", "attempt")
#: Prefixes of lines in containers that run several processes, in RE2's syntax: torchrun (`[default0]:` or the role
#: that a user gave, and `[rank3]:` of PyTorch itself), Open MPI's `--tag-output` (`[1,3]<stdout>:`), Ray's driver (`(train_fn pid=7, ip=10.0.0.4)`).
_TAGS: Final = (
    r"^\[(?:rank|default|trainer|worker|learner|actor|node|proc|process|gpu)(?P<rank>[0-9]{1,5})\]:",
    r"^\[[^\[\]]*,(?P<rank>[0-9]{1,5})\]<std(?:out|err)>:",
    r"^\([A-Za-z_][A-Za-z0-9_.<>]* (?P<rank>pid=[0-9]{1,9}(?:, ip=[0-9a-f.:]+)?)\) ",
)
_STEP: Final = re.compile(
    r"(?i)(?<![\w./])(?:(?:global|training|train)[_ ])?(?:steps?|iterations?|iters?|updates?|batch(?:es)?|rounds?)"
    r"[\"']?\s*[:=#]?\s*[\[(]?\s*\0(?![\w\0%]|[-:.]\0)"
)
#: Most shapes of lines that are tried: a log whose lines are all different has no counter that would be found later.
_SHAPES: Final = 20_000


class Rank(NamedTuple):
    """A process of a task: the newest run of a main container, or one of several that write through it.

    Parameters
    ----------
    role, rank, pod, container, node, attempt : str
        Without a rank of its own, `rank` is the pod's index or empty.
    run : int
    """

    role: str
    rank: str
    pod: str
    container: str
    node: str
    run: int
    attempt: str

    @property
    def name(self) -> str:
        """`worker-3`, `rank 3`, or the pod's name."""
        if self.role and self.rank:
            return f"{self.role}-{self.rank}"
        return f"rank {self.rank}" if self.rank.isdecimal() else self.role or self.rank or self.pod


@dataclass(slots=True)
class Counts:
    """Lines that count, in the order of time.

    Parameters
    ----------
    rows : numpy.ndarray
        Rows of the table.
    rank : numpy.ndarray
        Index of each line's rank.
    counter : numpy.ndarray
        Which counter of the program the line shows: the text before the number is the same.
    value, total : numpy.ndarray
        The number, and the sum of all advances: it goes on when the number starts over in each training epoch.
    advances : numpy.ndarray
        Whether the line is farther than the counter's line before.
    is_last : numpy.ndarray
        Whether the counter has reached its end, as in `100/100`.
    main : int
        The counter that the most ranks have, does not start over, and has the most lines; -1 without counters.
    """

    rows: Ints
    rank: Ints
    counter: Ints
    value: Floats
    total: Floats
    advances: Flags
    is_last: Flags
    main: int


@dataclass(slots=True)
class Progress:
    """The ranks of a task and their lines.

    Parameters
    ----------
    ranks : list of Rank
    of : numpy.ndarray
        For each row of the table, the index of its rank; -1 for other lines, such as lines of sidecars and earlier runs.
    shape : numpy.ndarray
        For each row, a number that is equal for lines which differ only in numbers.
    counts : Counts
    """

    ranks: list[Rank]
    of: Ints
    shape: Ints
    counts: Counts


def read_progress(table: pa.Table) -> Progress:
    """Find the ranks of a task and how far each is.

    Parameters
    ----------
    table : pyarrow.Table
        Records with `COLUMNS`, in order.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from cortex_jupyter.tables.schema import schema
    >>> rows = [{"time": i, "seq": i, "pod": f"p-{i % 2}", "container": "main", "run": 0, "rank": str(i % 2), "role": "worker",
    ...          "kind": "main", "text": f"step {i // 2} done"} for i in range(6)]
    >>> progress = read_progress(pa.Table.from_pylist(rows, schema=schema()))
    >>> [rank.name for rank in progress.ranks], progress.counts.value.tolist()
    (['worker-0', 'worker-1'], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    """
    text = _newest_states(table["text"])
    ranks, of = _ranks(table, text)
    kinds = shapes(text)
    return Progress(ranks, of, kinds.shape, _counts(kinds, of))


def _newest_states(text: Texts) -> Texts:
    """Return the lines without colours. A line that was redrawn, such as a progress bar, is cut to its newest state."""
    pc = import_optional("pyarrow.compute")
    if any_matches(text, "\x1b"):
        text = pc.replace_substring_regex(text, ESCAPES, "")
    if any_matches(text, "\r"):
        text = pc.replace_substring_regex(text, "(?s)^.*\r([^\r]*[^\r\\s][^\r]*)[\r\\s]*$", r"\1")
    return text


def _ranks(table: pa.Table, text: Texts) -> tuple[list[Rank], Ints]:
    """Return the ranks, and for each row the index of its rank."""
    np = import_optional("numpy")
    names = ("role", "rank", "pod", "container", "node", "attempt", "kind")
    columns = {name: coded(table[name]) for name in names}
    runs, key = table["run"].to_numpy(), np.zeros(len(table), np.int64)
    for codes, texts in columns.values():
        key = key * (len(texts) + 1) + codes
    tags, tag_texts = _tags(text)
    # A process writes some lines without its tag: they belong to its container.
    key = (key * (int(runs.max(initial=0)) + 1) + runs) * (len(tag_texts) + 1) + tags
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    members: list[_Member] = []
    for row in first.tolist():
        labels = {name: (texts[codes[row]] or "") for name, (codes, texts) in columns.items()}
        kind, tag = labels.pop("kind"), tag_texts[tags[row]]
        if tag:
            is_local = bool(labels["rank"]) and not tag.startswith("rank")
            number = tag.removeprefix("rank")
            labels["rank"] = f"{labels['rank']}.{number}" if is_local else number
        members.append(_Member(Rank(run=int(runs[row]), **labels), kind, bool(tag), row))
    return _newest(members, inverse)


class _Member(NamedTuple):
    rank: Rank
    kind: str
    has_tag: bool
    row: int


def _newest(members: list[_Member], inverse: Ints) -> tuple[list[Rank], Ints]:
    """Keep the newest run of each rank. A container whose processes have tags is no rank itself."""
    np = import_optional("numpy")
    split = {(rank.pod, rank.container) for rank, _, has_tag, _ in members if has_tag}
    newest: dict[tuple[str, str, str], int] = {}
    for index, (rank, kind, has_tag, row) in enumerate(members):
        if kind in ("", "main") and has_tag == ((rank.pod, rank.container) in split):
            key = (rank.role, rank.rank or rank.pod, rank.container)
            if key not in newest or row > members[newest[key]].row:
                newest[key] = index
    chosen = sorted(newest.values(), key=lambda index: _order(members[index].rank))
    lookup = np.full(len(members), -1)
    lookup[chosen] = np.arange(len(chosen))
    return [members[index].rank for index in chosen], lookup[inverse]


def _order(rank: Rank) -> tuple[str, list[tuple[int, str]], str]:
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", rank.rank or rank.pod)]
    return rank.role, parts, rank.container


def _tags(text: Texts) -> tuple[Ints, list[str]]:
    """Return for each line the index of its process's tag, and the tags; the first is empty."""
    np, pa, pc = import_optional("numpy"), import_optional("pyarrow"), import_optional("pyarrow.compute")
    tags, texts = np.zeros(len(text), np.int64), [""]
    for pattern in _TAGS:
        rows = np.flatnonzero(regex_mask(text, pattern.replace("?P<rank>", "?:")).to_numpy(zero_copy_only=False))
        # PyTorch has its prefix in warnings alone; where only few lines have one, the others are no process of their own.
        if 2 * len(rows) <= len(text):
            continue
        tagged = text.take(pa.array(rows))
        names = pc.struct_field(pc.extract_regex(tagged, pattern), "rank").cast(pa.string())
        with_word = pc.binary_join_element_wise(pa.scalar("rank"), names, pa.scalar(""))
        names = pc.if_else(pc.starts_with(tagged, "[rank"), with_word, names)
        encoded = names.combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        if len(encoded.dictionary) > 1:
            tags[rows] = encoded.indices.to_numpy() + 1
            return tags, ["", *encoded.dictionary.to_pylist()]
    return tags, texts


class _Position(NamedTuple):
    counter: str
    token: int
    groups: int  # how many groups of three digits follow, as in `1,000`
    end_groups: int  # the same of the last number that it will reach, as in `3/10`; -1 if the line has none


_GROUPS: Final = re.compile(r"(?:,\0){0,3}")
_OF: Final = re.compile(r"\s*(?:/|of)\s*\0(?P<groups>(?:,\0){0,3})")


def _position(shape: str) -> _Position | None:
    """Return which counter lines of a shape show, and the index of its number among the numbers of the line."""
    token, shape = None, metrics.narrow(shape)
    if match := _STEP.search(shape):
        token = shape.count(metrics.MARK, 0, match.end()) - 1
    elif (reading := metrics.read(shape)) is not None:
        token = next((t for t in (reading.step, reading.bar, reading.epoch) if t is not None), None)
    if token is None:
        return None
    before = metrics.MARK.join(shape.split(metrics.MARK)[: token + 1])
    groups = _GROUPS.match(shape, len(before) + 1)
    follows = groups[0] if groups else ""
    end = _OF.match(shape, len(before) + 1 + len(follows))
    end_groups = end["groups"].count(",") if end else -1
    return _Position(before.partition("%|")[0], token, follows.count(","), end_groups)  # a bar differs in every line


def _counts(kinds: Shapes, of: Ints) -> Counts:
    np = import_optional("numpy")
    names: dict[str, int] = {}
    token, counter = np.full(len(kinds.texts), -1), np.full(len(kinds.texts), -1)
    groups, end_groups = np.zeros(len(kinds.texts), np.int64), np.full(len(kinds.texts), -1)
    for index, shape in enumerate(kinds.texts[:_SHAPES]):
        if (position := _position(shape)) is not None:
            token[index], groups[index], end_groups[index] = position.token, position.groups, position.end_groups
            counter[index] = names.setdefault(position.counter, len(names))
    shape = kinds.shape
    rows = np.flatnonzero((token[shape] >= 0) & (of >= 0)) if len(shape) else np.zeros(0, np.int64)
    at = kinds.at[rows] + token[shape[rows]]
    groups, end_groups = groups[shape[rows]], end_groups[shape[rows]]
    value = _grouped(kinds, at, groups)
    end = np.full(len(rows), np.nan)
    bounded = end_groups >= 0
    end[bounded] = _grouped(kinds, (at + groups + 1)[bounded], end_groups[bounded])
    is_number = ~np.isnan(value)
    rows, value, end = rows[is_number], value[is_number], end[is_number]
    rank, counters = of[rows], counter[shape[rows]] if len(rows) else np.zeros(0, np.int64)
    order = np.lexsort((np.arange(len(rows)), counters, rank))
    step = value[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (rank[order][1:] != rank[order][:-1]) | (counters[order][1:] != counters[order][:-1])
    change = np.diff(step, prepend=0.0)
    is_back = (change < 0) & ~begins
    change = np.where(begins | is_back, step, change)
    sums = np.cumsum(change)
    base = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0)) if len(order) else order
    sums -= (sums - step)[base] if len(order) else 0
    total, advances, back = np.empty_like(value), np.empty(len(value), np.bool_), np.empty(len(value), np.bool_)
    total[order], advances[order], back[order] = sums, (change > 0) | begins, is_back
    return Counts(rows, rank, counters, value, total, advances, value >= end, _main(rank, counters, back))


def _grouped(kinds: Shapes, tokens: Ints, groups: Ints) -> Floats:
    """Return the numbers that begin at tokens, each with the groups of three digits that follow."""
    np = import_optional("numpy")
    value = _numbers(kinds, tokens)
    for group in range(1, int(groups.max(initial=0)) + 1):
        more = groups >= group
        part = _numbers(kinds, tokens[more] + group, r"^[0-9]{3}$")
        value[more] = np.where(np.isnan(part), value[more], value[more] * 1000 + part)
    return value


def _numbers(kinds: Shapes, tokens: Ints, pattern: str = r"^[0-9]{1,15}(?:\.[0-9]+)?$") -> Floats:
    """Return the numbers of tokens; NaN for one that is none."""
    np, pa, pc = import_optional("numpy"), import_optional("pyarrow"), import_optional("pyarrow.compute")
    if not len(tokens):
        return np.zeros(0)
    texts = kinds.tokens(tokens)
    is_number = pc.match_substring_regex(texts, pattern)
    numbers: Floats = pc.if_else(is_number, texts, None).cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
    return numbers


def _main(rank: Ints, counter: Ints, back: Flags) -> int:
    np = import_optional("numpy")
    best, main = (0, False, 0), -1
    for number in np.unique(counter).tolist():
        rows = counter == number
        score = (len(np.unique(rank[rows])), back[rows].mean() < 0.001, int(rows.sum()))
        if rows.sum() > 1 and score > best:
            best, main = score, number
    return main
