"""What a user types into the filter box, as parameters of a query. js/src/text/query.ts does the same in the page.

A term is a text or a /regex/. `-word` and `!word` exclude, `"a b"` is taken literally, `a OR b` is one of the two, and there are
conditions (`loss<0.1`) and a minimum level (`level>=warning`). Several terms may follow each other. A text without capital
letters matches in any case. `tests/query/fixtures/typed.json` holds Python and the page to the same answers.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.parsing.level import ALIASES, LEVELS
from cortex_jupyter.query.conditions import Condition, conditions

_SLASHED: Final = re.compile(r"/(.+)/([imsc]*)\Z", re.DOTALL)
_FLAGGED: Final = re.compile(r"\(\?([aimsux]+)\)")
#: A term that stands out between words: `-word`, `!word`, `level>=warning`, `loss<0.1`.
_TERM: Final = re.compile(
    r"""(?<!\S)(?:[-!]"([^"]+)"|-([^\s"\d-]\S*)|!([^\s"=!]\S*)|level\s*(?:>=|≥)\s*([A-Za-z]+)"""
    r"""|([A-Za-z_@][A-Za-z0-9_.@/-]*(?:>=|<=|!=|≥|≤|≠|<|>)[^\s"=!<>~≤≥≠]\S*))(?!\S)""",
    re.IGNORECASE,
)
_OR: Final = re.compile(r"(?<!\s)\s+OR\s+")
#: Maximum length of a typed text. The server reads it in its event loop.
_MAX_CHARS: Final = 10_000


@dataclass
class Terms:
    """The terms of a typed text. `include` and `exclude` hold texts and /regexes/, and `level` is the minimum or empty."""

    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    level: str = ""


def typed_query(text: str) -> dict[str, Any]:
    r"""Return the parameters of a query that a typed text uses.

    Raises
    ------
    BadQuery
        The text is empty or too long, or has a regular expression that is invalid.

    Examples
    --------
    >>> typed_query("CUDA out of memory")
    {'grep': ['CUDA out of memory']}
    >>> typed_query("out of memory -warmup step>100 level>=warn")
    {'grep': ['(?i)out of memory'], 'exclude': ['(?i)warmup'], 'where': ['step>100'], 'level': 'warning'}
    """
    if not text.strip():
        raise BadQuery("the text to search for is empty", 'write what lines must contain: "CUDA out of memory"')
    if len(text) > _MAX_CHARS:
        raise BadQuery(f"the text to search for is longer than {_MAX_CHARS} characters", "search for a part of it")
    terms = parse_terms(text)
    for term in (*terms.include, *terms.exclude):
        try:
            re.compile(python_pattern(term))
        except re.error as error:
            message = f"{term[:60]} is no regular expression: {error.msg}"
            raise BadQuery(message, "put it into double quotes to find it as it is") from error
        except (RecursionError, OverflowError) as error:
            message = f"{term[:60]} is a regular expression with too many nested groups or repetitions"
            raise BadQuery(message, "write a simpler pattern") from error
    parameters: dict[str, Any] = {
        "grep": [python_pattern(term) for term in terms.include],
        "exclude": [python_pattern(term) for term in terms.exclude],
        "where": terms.where,
        "level": terms.level,
    }
    return {name: value for name, value in parameters.items() if value}


def parse_terms(typed: str) -> Terms:
    """Split a typed text into its terms.

    Examples
    --------
    >>> parse_terms('WARNING !"grad norm" loss<1.7')
    Terms(include=['WARNING'], exclude=['grad norm'], where=['loss<1.7'], level='')
    """
    text = typed.strip()
    negative = re.match(r"!\s*(?=\S)", text) or re.match(r"-(?=/.+/[imsc]*\Z)", text)
    rest = text[negative.end() :] if negative else typed
    terms = Terms()
    into = terms.exclude if negative else terms.include
    parsed = None if negative else _conditions(text)
    if quoted := re.fullmatch(r'"([^"]+)"', rest.strip()):
        into.append(quoted[1])
    elif _SLASHED.match(rest):
        into.append(_joined(rest))
    elif parsed is not None:
        is_one = len(parsed) == 1 or re.search(r"\sand\s", text)
        terms.where += [text] if is_one else map(_write, parsed)
    elif negative:  # of `!GET /healthz` all is excluded, of `!healthz !probe` each
        into += re.split(r'\s+!(?=[^\s"=!])', rest)
    else:
        return _split(typed)
    return terms


def _split(typed: str) -> Terms:
    terms, texts, at = Terms(), list[str](), 0
    for match in _TERM.finditer(typed):
        quoted, dashed, banged, level, condition = match.groups()
        name = ALIASES.get((level or "").lower())
        if (level and name is None) or (condition and _conditions(condition) is None):
            continue
        if name is not None:
            terms.level = max(terms.level, name, key=lambda n: LEVELS.index(n) if n else -1)
        elif condition:
            terms.where.append(condition)
        else:
            terms.exclude.append(quoted or dashed or banged)
        texts.append(typed[at : match.start()])
        at = match.end()
    has_terms = bool(texts)
    for text in (*texts, typed[at:]):
        term = text.strip() if has_terms else text  # spaces count in a text that stands alone
        is_text = not has_terms or re.search(r"\sOR\s", term) or re.fullmatch(r'"[^"]+"', term)
        if not is_text and (parsed := _conditions(term)) is not None:
            terms.where += map(_write, parsed)
        elif joined := _joined(term):
            terms.include.append(joined)
    return terms


def _joined(typed: str) -> str:
    """Return the term of texts joined by OR, which may be quoted; empty if there is none."""
    choices = [part for part in _OR.split(typed) if part]
    # `/a/ OR /b/` are two regular expressions, `/a OR b/` is one.
    if _SLASHED.match(typed) and any(part.startswith("/") and not _SLASHED.match(part) for part in choices):
        return typed
    terms = [re.sub(r'\A"([^"]+)"\Z', r"\1", part) for part in choices]
    if len(terms) < 2:
        return terms[0] if terms else ""
    parts = [_SLASHED.match(term) or (term, _escape(term), "") for term in terms]
    # No flag may stand in front of a later choice.
    source = "|".join(re.sub(r"\A\(\?[aimsux]+\)", "", part[1]) for part in parts)
    flags = "i" if all("i" in _flags(part[1], part[2]) for part in parts) else ""
    return f"/{source}/{'' if flags == _case_flags(source) else flags or 'c'}"


def python_pattern(term: str) -> str:
    r"""Return a term as a regular expression of Python.

    Examples
    --------
    >>> [python_pattern(term) for term in ("a.b", "Loss", "/loss/c", "/(?i)X/", "/x/s")]
    ['(?i)a\\.b', 'Loss', 'loss', '(?i)X', '(?s)x']
    """
    slashed = _SLASHED.match(term)
    source, written = slashed.groups() if slashed else (_escape(term), "")
    if slashed and _FLAGGED.match(source):
        return str(source)
    flags = written.replace("c", "") or ("" if "c" in written else _case_flags(source if slashed else term))
    return f"(?{flags}){source}" if flags else str(source)


def _flags(source: str, written: str) -> str:
    """Return the flags that a regular expression has in the page."""
    head = _FLAGGED.match(source)
    flags = re.sub(r"[^ims]", "", head[1] if head else "") + written.replace("c", "")
    return flags or (_case_flags(source) if head is None and "c" not in written else "")


def _case_flags(text: str) -> str:
    """Return the flag for case: a term with a capital letter is case-sensitive. Letters in escapes do not count."""
    plain = re.sub(r"\\.", "", text)
    return "" if any(unicodedata.category(letter) == "Lu" for letter in plain) else "i"


def _escape(text: str) -> str:
    return re.sub(r"([\\^$.*+?()\[\]{}|])", r"\\\1", text)


def _conditions(text: str) -> list[Condition] | None:
    try:
        return conditions(text)
    except BadQuery:
        return None


def _write(condition: Condition) -> str:
    key, op, value = condition
    is_plain = re.fullmatch(r'[^\s"=!<>~≤≥≠][^\s"]*', value)
    return f"{key}{op}{value}" if is_plain else key + op + '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
