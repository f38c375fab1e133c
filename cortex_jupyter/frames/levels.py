"""The level of a million lines at once: the answers of `parsing.level.level`, by Arrow's regular expressions.

One call of `level` per line costs 2 s for a million lines; RE2 over whole columns a tenth of that. The patterns are
those of `parsing.level`, translated by machine, so that there is one definition. Lines for which the two engines could
differ go to `level` itself: JSON, `level=...` (RE2 has no look-behind), characters beyond printable ASCII, lines that
name several levels.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

from cortex_jupyter.frames.extras import library
from cortex_jupyter.parsing import level as rules

#: Looks like JSON, has `level=`, or a character that the two engines may class differently.
_DOUBTFUL: Final = r"^[ \t]*\{|[^\t -~]|(?i:level|levelname|lvl|severity)[\"']?[ \t]*[=:]"
_TRACEBACK: Final = "traceback"
#: The index in `LEVELS` of what a line may say, lower case.
_NUMBERS: Final = {
    word: rules.LEVELS.index(name)
    for word, name in (dict(rules.ALIASES) | rules._LETTERS | {_TRACEBACK: "error"}).items()  # noqa: SLF001
}


def levels(text: Any) -> Any:
    """Give the level of each line.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string

    Returns
    -------
    pyarrow.ChunkedArray of dictionary<int32, string>

    Examples
    --------
    >>> import pyarrow as pa
    >>> levels(pa.chunked_array([["INFO up", "[E] no", '{"level": "warn"}', "x"]])).to_pylist()
    ['info', 'error', 'warning', None]
    """
    pa = library("pyarrow")
    dictionary = pa.array(rules.LEVELS, pa.string())
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-levels") as pool:  # Arrow releases the interpreter
        chunks = [pa.DictionaryArray.from_arrays(codes, dictionary) for codes in pool.map(_codes, text.chunks)]
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))


def _codes(text: Any) -> Any:
    """Give the index in `LEVELS` of each line of one chunk."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    pattern, capital, bare = _translated()
    # The head in bytes, and not in characters, which takes ten times as long: where that differs the line is doubtful.
    head = pc.binary_slice(text.cast(pa.large_binary()), 0, rules._HEAD)  # noqa: SLF001 - one definition, see above
    words = pc.struct_field(pc.extract_regex(head, capital), "word")
    matched = pc.match_substring_regex(head, pattern)
    doubtful = pc.match_substring_regex(head, f"{_DOUBTFUL}|(?:{bare}).*(?:{bare})")
    if pc.any(matched).as_py():
        groups = pc.extract_regex(pc.filter(head, matched), pattern)
        words = pc.replace_with_mask(words, matched, _group(pc, groups).cast(words.type))
    names, numbers = zip(*_NUMBERS.items(), strict=True)
    # Of a doubtful line the word may be cut within a character; it is not asked for.
    words = pc.if_else(doubtful, None, words).cast(pa.large_string())
    place = pc.index_in(pc.utf8_lower(words), value_set=pa.array(names, words.type))
    codes = pa.array(numbers, pa.int32()).take(place)
    if not pc.any(doubtful).as_py():
        return codes
    said = [rules.level(line) for line in pc.filter(text, doubtful).to_pylist()]
    slow = pa.array([None if s is None else rules.LEVELS.index(s) for s in said], pa.int32())
    return pc.replace_with_mask(codes, doubtful, slow)


def _group(pc: Any, groups: Any) -> Any:
    """Give what the one group that matched holds; `_TRACEBACK` where it is the beginning of one."""
    parts = []
    for field in groups.type:
        held = pc.struct_field(groups, field.name)
        word = _TRACEBACK.encode() if field.name == "trace" else held
        parts.append(pc.if_else(pc.equal(held, b""), None, word))
    return pc.coalesce(*parts)


@cache
def _translated() -> tuple[str, str, str]:
    """Give the two patterns of `parsing.level` in RE2's syntax, the second also without its bounds.

    RE2 has no look-around. One match is all that is asked for, so what follows a word may be part of it; `level=` has
    a look-behind and is left out, `_DOUBTFUL` has it.
    """
    source = rules._PATTERN.pattern  # noqa: SLF001
    lines = [line for line in source.splitlines() if "(?P<key>" not in line]
    plain = re.sub(r"\s+", "", "\n".join(lines).replace(r"\ ", r"\x20")).lstrip("|")
    plain = re.sub(r"(\(\?P<\w+>[^()]*)\(\?=((?:[^()\\]|\\.)*)\)\)", r"\1)(?:\2)", plain)
    capital = rules._CAPITAL.pattern  # noqa: SLF001
    inner = re.fullmatch(r"\(\?<!\[(.*?)\]\)\((.*)\)\(\?!\[(.*?)\]\)", capital)
    assert inner is not None
    before, words, after = inner.groups()
    return f"(?i){plain}", f"(?:^|[^{before}])(?P<word>{words})(?:$|[^{after}])", words
