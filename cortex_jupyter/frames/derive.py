"""What is read out of a line: its level, its message, its fields.

The answers are those of `parsing`, but for whole columns at a time: Python looks only at lines that may be JSON or
logfmt, and most logs have few. The patterns are those of `parsing.fields`, translated to RE2's syntax.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import orjson

from cortex_jupyter.frames.extras import library
from cortex_jupyter.frames.levels import levels
from cortex_jupyter.parsing import fields as rules

#: May hold fields, or colours: ends as an object does, begins with a pair, has an escape code.
_STRUCTURED: Final = r"\}\s*$|^[A-Za-z_][^=]*=|\x1b"
#: What of `\s` there is in ASCII and RE2's has not.
_SPACE: Final = r"\s\x0b\x1c-\x1f"
#: So far, in bytes, a line is looked through for other digits and spaces than those of ASCII: it goes to Python then.
_FAR: Final = 200


def derived(text: Any) -> dict[str, Any]:
    """Give the columns `level`, `message` and `fields` of a column of lines.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string

    Returns
    -------
    dict
        As `parsing.level.level`, `parsing.fields.message` and, written as JSON, `parsing.fields.fields` give them.

    Examples
    --------
    >>> import pyarrow as pa
    >>> lines = ['{"level": "warn", "msg": "hot", "t": 84}', 'level=info msg="step done"', "12:00 plain"]
    >>> found = derived(pa.chunked_array([pa.array(lines, pa.large_string())]))
    >>> [found[name].to_pylist() for name in ("level", "message")]
    [['warning', 'info', None], ['hot', 'step done', '12:00 plain']]
    >>> found["fields"].to_pylist()[1:]
    ['{"level":"info","msg":"step done"}', None]
    """
    pa = library("pyarrow")
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-derive") as pool:  # Arrow releases the interpreter
        parts = list(pool.map(_structured, text.chunks))
    kind = pa.large_string()
    return {
        "level": levels(text),
        "message": pa.chunked_array([message for message, _ in parts], kind),
        "fields": pa.chunked_array([fields for _, fields in parts], kind),
    }


def _structured(text: Any) -> tuple[Any, Any]:
    """Give message and fields of one chunk."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    kind = pa.large_string()
    data = text.cast(pa.large_binary())  # in bytes RE2 is ten times quicker
    rest = pc.struct_field(pc.extract_regex(data, _head()), "rest")
    message, fields = pc.if_else(pc.equal(rest, b""), data, rest), pa.nulls(len(text), kind)
    foreign = pc.match_substring_regex(pc.binary_slice(data, 0, _FAR), r"[^\x00-\x7f]")
    looks = pc.or_(pc.match_substring_regex(data, _STRUCTURED), foreign)
    if pc.any(looks).as_py():
        found = [_both(line) for line in pc.filter(text, looks).to_pylist()]
        said, held = (pa.array(column, kind) for column in zip(*found, strict=True))
        message = pc.replace_with_mask(message, looks, said.cast(pa.large_binary()))
        fields = pc.replace_with_mask(fields, looks, held)
    return message.cast(kind), fields


def _both(line: str) -> tuple[str, str | None]:
    found = rules.fields(line)
    if found is None:
        return rules.message(line), None
    written = orjson.dumps(found).decode()
    if line[0] == "{":  # the same object, which need not be read again
        return next(
            (found[key] for key in rules.MESSAGE if isinstance(found.get(key), str)), rules.plain(line)
        ), written
    return rules.message(line), written


@cache
def _head() -> str:
    """Give the pattern of what `parsing.fields.message` takes off, and of the `rest`, in RE2's syntax.

    RE2 has no conditional, so brackets around a time become an alternative. Which words in brackets count as a level
    is said in the pattern.
    """
    klog, time, level = (p.pattern for p in (rules._KLOG, rules._TIME, rules._LEVEL))  # noqa: SLF001 - one definition
    clock, after = time.removeprefix(r"(\[)?").split(r"(?(1)\])")
    time = rf"(?:\[{clock}\]|{clock}){after}"
    level = level.replace("[A-Za-z]{3,11}", f"(?i:{'|'.join(sorted(rules._BOXED, key=len, reverse=True))})")  # noqa: SLF001
    both = rf"(?s)^(?:{klog}|(?:{time})?(?:{level})?)(?P<rest>.*)"
    return re.sub(r"(\[\^)?\\s", lambda found: f"[^{_SPACE}" if found[1] else f"[{_SPACE}]", both)
