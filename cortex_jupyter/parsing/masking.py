"""Masking of secrets and e-mail addresses in lines, with the rules of detect-secrets, which Yelp and IBM maintain.

From https://github.com/Yelp/detect-secrets we take the forms of tokens and keys, and its list of words that name a secret. We
leave out its entropy heuristics and its IP addresses, which in a log match run ids and pods. Our own rules find a named secret
as logs write it (`HF_TOKEN=...`, `Authorization: Bearer ...`; detect-secrets expects quotes, as in source code), the lines of a
private key, and e-mail addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Hints for each plugin of detect-secrets: a text that its rules can match contains one of them. Looking for hints is ten
#: times faster than the rules. The other plugins guess, or find things that are no secrets, or (Discord) have no hint.
_PLUGINS: Final = {
    "artifactory": ("AKC", "AP"),
    "aws": ("A3T", "ABIA", "ACCA", "AKIA", "ASIA"),
    "azure_storage_key": ("AccountKey=",),
    "basic_auth": ("://",),
    "github_token": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    "gitlab_token": (
        "glpat-",
        "gldt-",
        "glft-",
        "glsoat-",
        "glrt-",
        "GR1348941",
        "glcbt-",
        "glimt-",
        "glptt-",
        "glagent-",
        "gloas-",
    ),
    "jwt": ("eyJ",),
    "mailchimp": ("-us",),
    "npm": ("_authToken",),
    "openai": ("T3BlbkFJ",),
    "pypi_token": ("pypi-",),
    "sendgrid": ("SG.",),
    "slack": ("xox", "hooks.slack"),
    "square_oauth": ("sq0csp",),
    "stripe": ("k_live_",),
    "telegram_token": (":AA",),
    "twilio": ("AC", "SK"),
}
#: Hints of named secrets, in lower case.
_NAMES: Final = ("key", "pass", "pwd", "secret", "token", "credential", "contrase", "bearer", "basic")
#: A line in lower case with one of these hints must also match this to contain a named secret; `tokens/s=950` does not.
_NAMED: Final = re.compile(
    r"""(?:key(?:_?id)?|pass(?:word|wd)?|pwd|secret|token|credentials?|contrase[nñ]a)["']?\s*[:=]|(?:bearer|basic)\s"""
)
_NUMBER: Final = re.compile(r"[-+]?[\d.,:]+[a-z%]{0,3}\Z|(?:true|false|none|null|nil|yes|no|on|off)\Z", re.IGNORECASE)
_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}\b"
)
_BEARER: Final = re.compile(r"(?i)\b(?:bearer|basic)\s+(?P<secret>[A-Za-z0-9._~+/=-]{12,})")
_MATERIAL: Final = re.compile(
    r"^\s*[A-Za-z0-9+/]{60,}={0,2}\s*$|-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----\S*"
)
#: How a line of base64 begins.
_BASE64: Final = re.compile(r"\s*[A-Za-z0-9+/]{60}")
_BEGIN: Final = "-----BEGIN"
#: Rules are applied to pieces of this many characters, cut between words, because some take quadratic time.
_PIECE: Final = 1024


@cache
def rules() -> tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...]:
    """Return the rules, each with its kind, its hints and its pattern. A text that matches contains one of the hints.

    Raises
    ------
    MissingExtra
        detect-secrets is not installed.
    """
    try:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
        from detect_secrets.plugins.keyword import DENYLIST
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "masking needs detect-secrets, which is not installed", 'pip install "cortex-jupyter[mask]"'
        ) from error
    words = "|".join(
        [
            *DENYLIST,
            "(?:access|auth|bearer|refresh|session|api|hf|id|github|gitlab|slack|bot|csrf)?_?token",
            "access_?key(?:_?id)?",
            "credentials?",
        ]
    )
    named = re.compile(
        rf"(?i)(?<![a-z])(?:{words})[\"']?\s*(?:=>|:=|[:=])\s*(?:[\"'](?P<quoted>[^\"']{{4,}})[\"']|(?!bearer|basic)(?P<secret>[^\s\"',;&)}}\]]{{6,}}))"
    )
    imported: list[tuple[str, tuple[str, ...], re.Pattern[str]]] = []
    plugins: dict[str, Any] = get_mapping_from_secret_type_to_class()
    for name, plugin in plugins.items():
        if hints := _PLUGINS.get(plugin.__module__.rpartition(".")[2]):
            imported += [(name, hints, rule) for rule in plugin.denylist]
    return (
        *imported,
        ("Private Key", (_BEGIN,), _MATERIAL),
        ("Authorization", _NAMES[-2:], _BEARER),
        ("Secret Keyword", _NAMES[:-2], named),
        ("E-mail", ("@",), _EMAIL),
    )


@cache
def _exact_hints() -> frozenset[str]:
    """Return the hints that are case-sensitive: all except `_NAMES`."""
    return frozenset(hint for _, hints, _ in rules() for hint in hints) - set(_NAMES)


def mask(texts: Sequence[str]) -> Iterator[tuple[int, str, Counter[str]]]:
    """Mask the secrets in lines.

    The result for a line depends on that line alone, and masking it again changes nothing. So lines that are masked each time
    they are read can be compared.

    Parameters
    ----------
    texts : sequence of str
        Lines. A call with many lines costs less per line.

    Yields
    ------
    int, str, Counter
        For each line with a secret: its index, the masked line, and the number of secrets by kind.

    Raises
    ------
    MissingExtra
        detect-secrets is not installed.

    Examples
    --------
    >>> for index, text, kinds in mask(["loss=0.3 tokens=1234", "HF_TOKEN=hf_abcdefghijkl by ann@example.org"]):
    ...     print(index, text, dict(kinds))
    1 HF_TOKEN=[masked] by [masked] {'Secret Keyword': 1, 'E-mail': 1}
    """
    # First search all lines together: most logs contain few of the hints. Then search each line for these few only.
    whole = "\n".join(texts)
    exact_hints = [hint for hint in _exact_hints() if hint in whole]
    whole = whole.lower()
    names = [name for name in _NAMES if name in whole]
    for index, text in enumerate(texts):
        hints = [hint for hint in exact_hints if hint in text]
        lowered = text.lower() if names else ""
        if (names_in_text := [name for name in names if name in lowered]) and _NAMED.search(lowered):
            hints += names_in_text
        if not hints and not _BASE64.match(text):
            continue
        kinds: Counter[str] = Counter()
        masked = _masked(text, _applicable(tuple(hints)), kinds)
        if kinds:
            yield index, masked, kinds


class Mask:
    """Masks lines, and counts the secrets.

    Attributes
    ----------
    counts : Counter
        The number of masked secrets by kind.

    Examples
    --------
    >>> mask = Mask()
    >>> mask("HF_TOKEN=hf_abcdefghijkl loss=0.3 tokens=1234 by ann@example.org")
    'HF_TOKEN=[masked] loss=0.3 tokens=1234 by [masked]'
    >>> dict(mask.counts)
    {'Secret Keyword': 1, 'E-mail': 1}
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        rules()  # raises here, and not later, if detect-secrets is missing

    @property
    def worth(self) -> str:
        """A pattern in RE2's syntax that every line with a secret matches."""
        return f"{'|'.join(map(re.escape, sorted(_exact_hints())))}|(?i:{'|'.join(_NAMES)})|^\\s*[^ ]{{60,}}\\s*$"

    def __call__(self, text: str) -> str:
        """Return the line with its secrets masked."""
        return self.each([text])[0]

    def each(self, texts: Sequence[str]) -> list[str]:
        """Return the lines with their secrets masked."""
        masked = list(texts)
        for index, text, kinds in mask(texts):
            masked[index] = text
            self.counts += kinds
        return masked


@cache
def _applicable(hints: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the rules that can match a text with these hints."""
    return tuple((name, rule) for name, has, rule in rules() if rule is _MATERIAL or not set(hints).isdisjoint(has))


def _masked(text: str, applicable: tuple[tuple[str, re.Pattern[str]], ...], kinds: Counter[str]) -> str:
    """Mask until nothing more matches: the text beside a secret may match once that secret is masked."""
    while True:
        before = text
        # The second pass cuts at other positions, because a secret may lie across a cut.
        for start in (0, _PIECE // 2)[: 1 + (len(text) > _PIECE)]:
            text = "".join(_piece(piece, applicable, kinds) for piece in _pieces(text, start))
        if text == before:
            return text


def _piece(text: str, applicable: tuple[tuple[str, re.Pattern[str]], ...], kinds: Counter[str]) -> str:
    for name, rule in applicable:
        text = rule.sub(lambda match, name=name: _replacement(name, match, kinds), text)  # type: ignore[misc]
    return text


def _replacement(name: str, match: re.Match[str], kinds: Counter[str]) -> str:
    """Return the replacement of a match. If the pattern has a group for the secret, only that group is masked."""
    group = next((g for g in match.re.groupindex.values() if match.start(g) >= 0), 0)
    if not group and match.re.groups == 1 and name == "Basic Auth Credentials":
        group = 1
    start, end = (at - match.start() for at in match.span(group))
    secret = match[0][start:end]
    if "[masked" in secret or (name == "Secret Keyword" and _NUMBER.match(secret)):
        return match[0]
    if not group:  # quotes and spaces around the secret are not part of it
        start += len(secret) - len(secret.lstrip(" \t\"'=:"))
        end -= len(secret) - len(secret.rstrip(" \t\"'"))
    kinds[name] += 1
    return f"{match[0][:start]}[masked]{match[0][end:]}"


def _pieces(text: str, start: int) -> Iterator[str]:
    """Cut a long line into pieces, between words if possible. The first piece has at most `start` characters if that is not 0."""
    at, size = 0, start or _PIECE
    while at < len(text):
        end = at + size
        if end < len(text):
            gap = max(text.rfind(sign, at + size // 2, end) for sign in " \t,;")
            end = gap if gap > 0 else end
        yield text[at:end]
        at, size = end, _PIECE
