r"""Patterns: lines that are equal except for their values, found in the shapes of lines.

All shapes of a log are grouped at once, in four steps. `docs/explanation/patterns.md` explains them. The ideas come from
Drain (similar lines of one length form a cluster), AEL and Brain (the number of different words at a position tells a
constant from a value) and Logram (rare words are values).

1. Split each shape into words. Words that are values by their form (numbers, paths, `key=value`, dates) count as equal.
2. Lines with the same punctuation and mostly the same words form a cluster.
3. A cluster is split at positions that hold few different words, each in many lines: those are different messages.
4. A rare pattern that a frequent one covers, with a longer value in the place of a word, joins it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from cortex_jupyter.parsing.metrics import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")
#: The placeholder in a pattern for what varies.
ANY: Final = "<*>"
#: Follows a placeholder that stands for one or more words.
MORE: Final = "..."
#: Lines belong to one cluster if at least this share of their words is the same.
_SAME: Final = 0.5
#: Numbers of characters and of words of a line that are compared.
_LENGTH, _WORDS = 4000, 100
#: At most this many different plain words at a position are constants; of other words, such as `com.example.Name`, fewer.
_CONSTANTS, _NAMES = 8, 3
#: If at least this share of a position's words occurs only once, more words will come: they are values.
_RARE: Final = 0.35
#: Numbers of clusters, and of patterns, that a line is compared with; the first ones are the most frequent.
_CANDIDATES, _POSTINGS = 8, 64

#: The drawn part of a progress bar.
_DRAWN: Final = re.compile(r"\|[#█▏▎▍▌▋▊▉ =>.\0]{3,}\||(?<=\[)[=>.]{5,}(?=\])|[━╸╺─╾]{5,}")
#: What a bar shows as long as it knows no rate.
_UNKNOWN: Final = re.compile(r"(?<=[<\s])\?(?=[,a-zA-Z/])")
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_HEX: Final = r"(?:\0|[0-9a-fA-F]{1,4})"
_SEPARATORS: Final = r"""\s,;:=()\[\]{}<>"'|"""
#: Where a value ends: a full stop may follow.
_END: Final = rf"(?!\.?[^.{_SEPARATORS}])"
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>\s+)
    | (?P<value>
        (?<=[\w\0\])]=)(?:"[^"]*"|'[^']*'|\[[^\]]*\]|[^\s,;()\[\]{{}}"'&]*(?:\{{[^{{}}]*\}})?)
        | [A-Za-z][A-Za-z0-9+.-]{{1,15}}://[^\s"'<>]+
        | (?:(?:[A-Za-z]:|\.{{1,2}}|~)?(?:[\\/]+[\w\0.@%+~$-]+){{2,}}[\\/]?|\.{{1,2}}/[\w\0.@%+~-]+|/[\w.@%+~-]*\0[\w\0.@%+~-]*)(?:\?[^\s"')>]*)?{_END}
        | {_HEX}?(?:::?{_HEX}(?![\w\0])){{2,}}{_END}
        | [A-Za-z\0][\w\0-]*(?:\.[\w\0-]+)+:\0{_END}
        | (?:[-+]|[<>]=?(?=\0(?![^\s<>]*>)))?(?:[A-Za-z][\w-]*[_-])?\0(?:[-:./,+@_%#*]*(?:\0|(?<=-)[0-9a-f]{{4,12}}(?=-)))*{_END}
        | (?:0x[0-9a-fA-F]+|(?=[a-f]*[0-9])[0-9a-f]{{6,}}|true|false|null|None|nil|True|False|NULL|NaN|nan)(?!-){_END}
    )
    | (?P<date>(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{{0,6}},?[ ]+)?{_MONTH}[ /-]+\0(?:[:,]?[ /-]*\0)*(?:[ ](?:[A-Z]{{3,4}}|\0)(?![\w]))?(?:[ ]\0)?)
    | (?P<quoted>(?:"[^\s"']+"|(?<!\w)'[^\s"']+'(?!\w))(?!\s*[:=]))
    | (?P<separator>[,;:=()\[\]{{}}<>"'|]|\.{{2,}}|\.(?!\S))
    | (?P<word>(?:(?!\.\.|\.(?!\S))[^{_SEPARATORS}])+)
    """,
    re.VERBOSE,
)
_RUN: Final = re.compile(r"<\*>(?:[-:./,+]?<\*>)+")
_SIGNED: Final = re.compile(r"(?<=[\s=:([,])[-+]<\*>")
_DIGIT: Final = re.compile(r"\d")
#: A word whose number says nothing about it: `eth0`, `GPU12`.
_STEM: Final = re.compile(r"[A-Za-z]{2,}\0\Z")
_ALPHANUMERIC: Final = re.compile(r"[^\W_]")
#: A word without digits, dots and hyphens. States in capitals, such as `FAIL_CLEANUP`, are plain words too.
_PLAIN: Final = re.compile(r"[^\W\d_]+(?:_[^\W\d_]+)*[.!?]?\Z")
_UNITS: Final = frozenset(
    [
        "B",
        "byte",
        "bytes",
        "sec",
        "secs",
        "KB",
        "MB",
        "GB",
        "TB",
        "PB",
        "kB",
        "KiB",
        "MiB",
        "GiB",
        "TiB",
        "PiB",
        "Kb",
        "Mb",
        "Gb",
        "ns",
        "us",
        "µs",
        "ms",
        "s",
        "m",
        "h",
        "KB/s",
        "MB/s",
        "GB/s",
        "KiB/s",
        "MiB/s",
        "GiB/s",
        "%",
    ]
)
#: Words that a name follows.
_BEFORE_NAME: Final = frozenset({"user", "username", "host", "hostname", "named", "namespace", "node"})
_BEFORE_VALUE: Final = frozenset({"for", "from", "by"}) | _BEFORE_NAME


#: Kinds of tokens. The key of a line has `_WORD` for a value, too.
_WORD, _VALUE, _UNIT = "\1", "\2", "\3"
_COMPARED: Final = frozenset({_WORD, _VALUE, _UNIT})
_KINDS: Final = {"space": " ", "separator": ".", "word": _WORD, "value": _VALUE, "date": _VALUE, "quoted": _VALUE}
#: A number with its unit, which may follow again in parentheses: `28902 bytes (28.2 KB)`.
_QUANTITY: Final = re.compile(rf"{_VALUE} ?{_UNIT}(?: \({_VALUE} ?{_UNIT}\))?")
_LIST: Final = re.compile(rf"{_VALUE}(?:[ ,]+{_VALUE}){{2,}}")


class _Line:
    """One distinct masked line: `key` is the punctuation between its words, `words` are compared, `raw` is shown."""

    __slots__ = ("count", "key", "raw", "words")

    def __init__(self, key: str, words: list[str], raw: list[str], count: int) -> None:
        self.key, self.words, self.raw, self.count = key, words, raw, count


def find_line_patterns(
    shapes: Sequence[str], counts: Sequence[int], tick: Callable[[], object] = int
) -> tuple[list[int], list[str]]:
    r"""Find the patterns of a log's shapes.

    Parameters
    ----------
    shapes : sequence of str
        Lines with `MARK` for each number or id.
    counts : sequence of int
        For each shape, the number of its lines.
    tick : callable, optional
        Called often, to report progress.

    Returns
    -------
    list of int, list of str
        For each shape, the index of its pattern; and the patterns, no two of them equal.

    Examples
    --------
    >>> find_line_patterns(["user alice logged in", "user bob logged in", "disk \0 full", "disk \0 lost"], [5, 3, 4, 4])
    ([0, 0, 1, 2], ['user <*> logged in', 'disk <*> full', 'disk <*> lost'])
    """
    lines: dict[tuple[str, ...], _Line] = {}
    line_of_shape = []
    for shape, count in ticked(zip(shapes, counts, strict=True), tick):
        key, words, raw = _split_words(shape)
        line = lines.setdefault((key, *words, *raw), _Line(key, words, raw, 0))
        line.count += count
        line_of_shape.append(line)
    buckets: dict[str, list[_Line]] = defaultdict(list)
    for line in lines.values():
        buckets[line.key].append(line)
    groups = [
        group
        for bucket in buckets.values()
        for cluster in _cluster(sorted(bucket, key=lambda line: -line.count), tick)
        for group in _split_cluster(cluster, tick)
    ]
    texts = [_text(group) for group in ticked(groups, tick)]
    merged = _absorb(texts, [sum(line.count for line in group) for group in groups], tick)
    # Patterns are numbered in the order of their first shapes.
    group_of_line = {id(line): merged[index] for index, group in enumerate(groups) for line in group}
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(group_of_line[id(line)], len(numbers)) for line in line_of_shape]
    return codes, list(numbers)


def ticked(items: Iterable[T], tick: Callable[[], object]) -> Iterator[T]:
    """Yield the items, and call `tick` before each."""
    for item in items:
        tick()
        yield item


def _split_words(shape: str) -> tuple[str, list[str], list[str]]:
    """Return the punctuation of a shape, its words with `MARK` for each value, and its words as they are."""
    kinds, texts = _tokens(shape)
    for form in (_QUANTITY, _LIST):  # each counts as one value
        for match in reversed(list(form.finditer(kinds))):
            start, end = match.span()
            texts[start:end] = ["".join(texts[start:end])]
            kinds = f"{kinds[:start]}{_VALUE}{kinds[end:]}"
    key: list[str] = []
    words: list[str] = []
    raw: list[str] = []
    for kind, text in zip(kinds, texts, strict=True):
        if kind not in _COMPARED:
            key.append(text)
        elif len(words) < _WORDS:
            key.append(kind)
            words.append(MARK if kind == _VALUE else text)
            raw.append(text)
        else:  # the rest of a long line counts as one value
            words[-1], raw[-1] = MARK, f"{MARK} {MARK}"
            break
    return "".join(key).replace(_VALUE, _WORD).replace(_UNIT, _WORD), words, raw


def _tokens(shape: str) -> tuple[str, list[str]]:
    """Return the kinds of a shape's tokens, a character for each, and their texts. A blank is one space."""
    if "|" in shape or "━" in shape or "[" in shape:
        shape = _DRAWN.sub(lambda bar: f"|{MARK}|" if bar[0][0] == "|" else MARK, shape)
        shape = _UNKNOWN.sub(MARK, shape)
    kinds = ""
    texts: list[str] = []
    for match in _TOKEN.finditer(shape.strip()[:_LENGTH]):
        group, text = match.lastgroup, match[0]
        kind = _KINDS[group or ""]
        if kind == " ":
            text = " "
        elif kind == _WORD:
            if text in _UNITS and _VALUE in kinds[-2:]:
                kind = _UNIT
            elif (MARK in text and not _STEM.match(text)) or _DIGIT.search(text):
                kind = _VALUE
        elif kind == ".":
            if text == ")" and texts[-2:] == [" ", "("]:  # an empty value: `from 10.0.0.1 ()`
                kinds, texts = kinds + _VALUE, [*texts, ""]
            kind = text[0]
        kinds += kind
        texts.append(text)
    return kinds, texts


def _cluster(lines: list[_Line], tick: Callable[[], object]) -> list[list[_Line]]:
    """Group lines of equal punctuation whose words are mostly the same (Drain); the most frequent line comes first."""
    clusters: list[list[_Line]] = []
    patterns: list[list[str]] = []
    #: The clusters whose first line has a word at a position.
    postings: dict[tuple[int, str], list[int]] = defaultdict(list)
    for line in ticked(lines, tick):
        words = line.words
        best, number = _SAME, -1
        for candidate in _candidates(words, postings, len(clusters)):
            similarity = _similarity(patterns[candidate], words)
            if similarity > best or (similarity == best and number < 0):
                best, number = similarity, candidate
        if number < 0:
            number = len(clusters)
            clusters.append([])
            patterns.append(words)
            for at, word in enumerate(words):
                numbers = postings[at, word]
                if len(numbers) < _POSTINGS:
                    numbers.append(number)
        clusters[number].append(line)
        patterns[number] = [a if a == b else MARK for a, b in zip(patterns[number], words, strict=True)]
    return clusters


def _candidates(words: list[str], postings: dict[tuple[int, str], list[int]], count: int) -> Iterable[int]:
    """Return the clusters that may be similar: all if they are few, else the ones that share the most words with the line."""
    if count <= _CANDIDATES:
        return range(count)
    shared = Counter(number for position in enumerate(words) for number in postings.get(position, ()))
    return sorted(shared, key=lambda number: (-shared[number], number))[:_CANDIDATES]


def _similarity(pattern: list[str], words: list[str]) -> float:
    """Return the share of equal words. Values count half, so that a pattern of values does not attract every line."""
    same = total = 0.0
    for a, b in zip(pattern, words, strict=True):
        if a != MARK:
            same, total = same + (a == b), total + 1
        elif b == MARK:
            same, total = same + 0.5, total + 0.5
        else:
            same, total = same + 0.25, total + 1
    return same / total if total else 1.0


def _split_cluster(lines: list[_Line], tick: Callable[[], object]) -> Iterator[list[_Line]]:
    """Split a cluster where a position holds few different words, each in many lines: they are different messages."""
    if len(lines) == 1:
        yield lines
        return
    splits = [(number, at) for at in ticked(range(len(lines[0].words)), tick) if (number := _constants(lines, at))]
    if not splits:
        yield lines
        return
    _, at = min(splits)
    parts: dict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        parts[line.words[at]].append(line)
    for part in parts.values():
        yield from _split_cluster(part, tick)


def _constants(lines: list[_Line], at: int) -> int:
    """Return the number of different words at a position if they are constants of different messages, else 0."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts[line.words[at]] += line.count
    number = len(counts)
    if number == 1 or number > _CONSTANTS:
        return 0
    if MARK in counts and all(word == MARK or _ALPHANUMERIC.search(word) for word in counts):
        return 0  # it has values, so the others are values too
    if at > 0 and (before := lines[0].words[at - 1].lower()) in _BEFORE_VALUE:
        is_name = number > 2 or before in _BEFORE_NAME
        if is_name and not all(word.isupper() for word in counts) and len({line.words[at - 1] for line in lines}) == 1:
            return 0
    is_plain = all(map(_PLAIN.match, counts))
    if number == 2 and is_plain:
        return number
    rare = sum(count == 1 for count in counts.values()) / counts.total()
    return number if number <= (_CONSTANTS if is_plain else _NAMES) and rare <= _RARE else 0


def _text(lines: list[_Line]) -> str:
    """Return the pattern of lines that differ only in values."""
    words = []
    for texts in zip(*(line.raw for line in lines), strict=True):
        if len(set(texts)) == 1:
            words.append(texts[0].replace(MARK, ANY))
        else:
            words.append(ANY + MORE if any(" " in text for text in texts) else ANY)
    parts = iter(words)
    return _SIGNED.sub(ANY, _RUN.sub(ANY, "".join(next(parts) if char == _WORD else char for char in lines[0].key)))


def _absorb(texts: list[str], counts: list[int], tick: Callable[[], object]) -> list[str]:
    """Return for each pattern its own text, or that of a more frequent one that covers it."""
    result = list(texts)
    #: Frequent patterns with a placeholder. The key is the number of words, a position, and the word at that position.
    wide: dict[tuple[int, int, str], list[tuple[int, list[str]]]] = defaultdict(list)
    for index in ticked(sorted(range(len(texts)), key=lambda index: -counts[index]), tick):
        words = [word.removesuffix(MORE) for word in texts[index].split()]
        constants = [(len(words), *word_at) for word_at in enumerate(words) if ANY not in word_at[1]]
        constants = [word_at for word_at in constants if _ALPHANUMERIC.search(word_at[2])]
        if not constants:
            continue
        rarest = min((wide[word_at] for word_at in constants), key=len)
        for covering, pattern in rarest:
            if all(a == b or _covers(a, b) for a, b in zip(pattern, words, strict=True)):
                result[index] = result[covering]
                break
        else:
            if ANY in texts[index]:
                for word_at in constants:
                    if len(wide[word_at]) < _POSTINGS:
                        wide[word_at].append((index, words))
    return result


@lru_cache(4096)
def _covers(word: str, covered: str) -> bool:
    """Return whether a word of a pattern has a placeholder for another word, which is no plain one."""
    if ANY not in word or _PLAIN.match(covered):
        return False
    first, *middle, last = word.split(ANY)
    at = len(first) + 1  # a value has at least one character
    for part in middle:
        part_at = covered.find(part, at)
        if part_at < 0:
            return False
        at = part_at + len(part) + 1
    return covered.startswith(first) and covered.endswith(last) and at + len(last) <= len(covered)
