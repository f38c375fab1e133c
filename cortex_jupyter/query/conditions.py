"""Conditions on a field of a line, such as `status>=500`. js/src/text/conditions.ts does the same in the page.

A field is a key of a JSON object (which may follow a text; `meta.step` is a nested key), else the first `key=value`,
`key: value` or `'key': value` in the text. `tests/query/fixtures/where.json` holds Python, HTTP, the command line and the
viewer to the same answers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.parsing.fields import plain, trailing_object

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGIN: Final = r"([A-Za-z_@][A-Za-z0-9_.@/-]*)\s*(>=|<=|!=|==|!~|≥|≤|≠|=|<|>|~)"
_CONDITION: Final = re.compile(rf'\s*{_BEGIN}\s*("(?:[^"\\]|\\.)*"|[^\s"]\S*)(\s+and\s+|\s+(?={_BEGIN})|\s*\Z)')
_OF_NUMBERS: Final = frozenset({"<", "<=", ">", ">="})
_SAME: Final = {"==": "=", "≥": ">=", "≤": "<=", "≠": "!="}
_NUMBER: Final = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?)%?\Z", re.IGNORECASE
)
#: A second operator that is a typing error, as in `loss<<3` and `status=>500`. Values such as `token=<eos>` are none.
_TYPO: Final = re.compile(r"[<>=][<>≤≥]=?[-+.0-9]")
_HINT: Final = (
    'write `field op value`: status>=500, loss<0.1, user="a b", path~/api; op is one of = != < <= > >= ~ !~; '
    'a value such as <3 is put into quotes: size="<3"'
)

Condition = tuple[str, str, str]


def conditions(text: str) -> list[Condition]:
    r"""Parse one condition, or several: joined by `and`, or one after the other.

    Parameters
    ----------
    text : str
        `field op value`. A value must be in double quotes if it has spaces or quotes, or is `<` or `>` and a number.

    Returns
    -------
    list of (field, op, value)
        `op` is one of `=`, `!=`, `<`, `<=`, `>`, `>=` (numbers), `~` (contains) and `!~` (does not contain).

    Raises
    ------
    BadQuery
        The text is not a condition, or compares with a value that is no number.

    Examples
    --------
    >>> conditions('status>=500 and path ~ "/api v1"')
    [('status', '>=', '500'), ('path', '~', '/api v1')]
    >>> conditions("loss<1.7 step>60")
    [('loss', '<', '1.7'), ('step', '>', '60')]
    """
    parsed: list[Condition] = []
    at = 0
    while match := _CONDITION.match(text, at):
        key, op, value, end, *_ = match.groups()
        op = _SAME.get(op, op)
        if _TYPO.match(op + value):
            break
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        if op in _OF_NUMBERS and _number(value) is None:
            raise BadQuery(f"where={text[:60]!r}: {op} compares numbers, and {value[:60]!r} is none", _HINT)
        parsed.append((key, op, value))
        at = match.end()
        if at == len(text) and not end.strip():
            return parsed
    raise BadQuery(f"where={text[:60]!r} is no condition on a field", _HINT)


def holds(condition: Condition) -> Callable[[str], bool]:
    """Return a function that tests a line. A line without the field passes no condition.

    Numbers are compared as numbers, all other values as text, ignoring case.

    Parameters
    ----------
    condition : (field, op, value)

    Examples
    --------
    >>> low = holds(("loss", "<", "0.1"))
    >>> low("epoch 3 loss=0.05"), low('{"loss": 0.2}'), low("no such field")
    (True, False, False)
    """
    key, op, operand = condition
    pair = re.compile(
        r"(?<![A-Za-z0-9_.@/-])"
        + re.escape(key)
        + r"""["']?(?:[ \t]+=[ \t]+|=|:[ \t]*)("(?:[^"\\]|\\.)*"|'[^']*'|[^ \t\r\n,;|()[\]{}"'][^ \t\r\n,;|)\]}"']*)"""
    )
    head, number, text = key.split(".")[0], _number(operand), operand.lower()

    def test(line: str) -> bool:
        if head not in line:
            return False
        value = _value(plain(line), key, pair)
        if value is None:
            return False
        if op in ("~", "!~"):
            return (text in value.lower()) == (op == "~")
        field_number = _number(value)
        if field_number is not None and number is not None:
            return _COMPARE[op](field_number, number)
        return op in ("=", "!=") and (value.lower() == text) == (op == "=")

    return test


_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _number(text: str) -> float | None:
    return float(text.rstrip("%")) if _NUMBER.match(text) else None


def _value(line: str, key: str, pair: re.Pattern[str]) -> str | None:
    if position_and_object := trailing_object(line):
        value = _json_value(position_and_object[1], key)
        if value is not None:
            return value
    match = pair.search(line)
    if match is None:
        return None
    value = match[1]
    if value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value[1:-1] if value.startswith("'") else value


def _json_value(doc: object, key: str) -> str | None:
    if isinstance(doc, dict) and key in doc:
        doc = doc[key]
    else:
        for part in key.split("."):
            if not isinstance(doc, dict) or part not in doc:
                return None
            doc = doc[part]
    if isinstance(doc, str):
        return doc
    if doc is None or isinstance(doc, bool):
        return {None: "null", True: "true", False: "false"}[doc]
    if isinstance(doc, float) and doc.is_integer():
        return str(int(doc))
    return str(doc) if isinstance(doc, int | float) else None
