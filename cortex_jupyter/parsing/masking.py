"""Secrets and e-mail addresses in lines, masked: the rules of detect-secrets, which Yelp and IBM keep.

https://github.com/Yelp/detect-secrets: the forms of tokens and keys, and its list of the words that name a secret. Its
entropy guesses and its addresses are left out: in a log they find run ids and pods. Ours are how a log writes a named
secret (`HF_TOKEN=...`, `Authorization: Bearer ...`; detect-secrets looks for quotes, as source code has them), the lines
of a private key, and e-mail addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: By the plugin of detect-secrets: what a text has that one of its rules can match. To look for these is ten times quicker
#: than the rules. A plugin that is not named here guesses, or finds no secret, or (Discord) has no sign of its own.
_PLUGINS: Final = {
    "artifactory": ("AKC", "AP"), "aws": ("A3T", "ABIA", "ACCA", "AKIA", "ASIA"), "azure_storage_key": ("AccountKey=",),
    "basic_auth": ("://",), "github_token": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    "gitlab_token": ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "GR1348941", "glcbt-", "glimt-", "glptt-", "glagent-", "gloas-"),
    "jwt": ("eyJ",), "mailchimp": ("-us",), "npm": ("_authToken",), "openai": ("T3BlbkFJ",), "pypi_token": ("pypi-",),
    "sendgrid": ("SG.",), "slack": ("xox", "hooks.slack"), "square_oauth": ("sq0csp",), "stripe": ("k_live_",),
    "telegram_token": (":AA",), "twilio": ("AC", "SK"),
}  # fmt: skip
#: In lower case.
_NAMES: Final = ("key", "pass", "pwd", "secret", "token", "credential", "contrase", "bearer", "basic")
#: What a line in lower case has, beside one of those, that a named secret can be in it: no `tokens/s=950`.
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
#: A rule looks at no more characters at once, since some take the square of it; a line is cut between words.
_PIECE: Final = 1024


@cache
def rules() -> tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...]:
    """Give the rules: what each finds, which hints a text has that it can match and its pattern.

    Raises
    ------
    MissingExtra
        detect-secrets is not installed.
    """
    try:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # noqa: PLC0415
        from detect_secrets.plugins.keyword import DENYLIST  # noqa: PLC0415
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
    found: list[tuple[str, tuple[str, ...], re.Pattern[str]]] = []
    plugins: dict[str, Any] = get_mapping_from_secret_type_to_class()
    for name, plugin in plugins.items():
        if hints := _PLUGINS.get(plugin.__module__.rpartition(".")[2]):
            found += [(name, hints, rule) for rule in plugin.denylist]
    return (
        *found, ("Private Key", (_BEGIN,), _MATERIAL), ("Authorization", _NAMES[-2:], _BEARER),
        ("Secret Keyword", _NAMES[:-2], named), ("E-mail", ("@",), _EMAIL),
    )  # fmt: skip


@cache
def _signs() -> frozenset[str]:
    """Give the hints that are looked for as they are; those of `_NAMES` in any case."""
    return frozenset(hint for _, hints, _ in rules() for hint in hints) - set(_NAMES)


def mask(texts: Sequence[str]) -> Iterator[tuple[int, str, Counter[str]]]:
    """Mask the secrets of lines.

    What a line becomes depends on it alone, and masked again it stays as it is: lines that are masked each time they
    are read can be compared.

    Parameters
    ----------
    texts : sequence of str
        Lines; the more at once, the less each costs.

    Yields
    ------
    int, str, Counter
        Of each line in which something was masked: its place, what it is now, and how much of each kind was masked.

    Raises
    ------
    MissingExtra
        detect-secrets is not installed.

    Examples
    --------
    >>> for place, text, kinds in mask(["loss=0.3 tokens=1234", "HF_TOKEN=hf_abcdefghijkl by ann@example.org"]):
    ...     print(place, text, dict(kinds))
    1 HF_TOKEN=[masked] by [masked] {'Secret Keyword': 1, 'E-mail': 1}
    """
    # Of all lines together first: most logs have few of the hints, and these are then looked for in each line.
    whole = "\n".join(texts)
    signs = [sign for sign in _signs() if sign in whole]
    whole = whole.lower()
    names = [name for name in _NAMES if name in whole]
    for place, text in enumerate(texts):
        hints = [sign for sign in signs if sign in text]
        low = text.lower() if names else ""
        if (named := [name for name in names if name in low]) and _NAMED.search(low):
            hints += named
        if not hints and not _BASE64.match(text):
            continue
        kinds: Counter[str] = Counter()
        new = _masked(text, _able(tuple(hints)), kinds)
        if kinds:
            yield place, new, kinds


class Mask:
    """Masks lines, and counts what it has masked.

    Attributes
    ----------
    counts : Counter
        What was masked, by kind.

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
        rules()  # raises here where they are missing

    @property
    def worth(self) -> str:
        """A pattern in RE2's syntax for the lines that may hold a secret."""
        return f"{'|'.join(map(re.escape, sorted(_signs())))}|(?i:{'|'.join(_NAMES)})|^\\s*[^ ]{{60,}}\\s*$"

    def __call__(self, text: str) -> str:
        """Give the line with its secrets masked."""
        return self.each([text])[0]

    def each(self, texts: Sequence[str]) -> list[str]:
        """Give lines with their secrets masked."""
        found = list(texts)
        for place, text, kinds in mask(texts):
            found[place] = text
            self.counts += kinds
        return found


@cache
def _able(hints: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Give the rules that can match a text with these hints."""
    return tuple((name, rule) for name, has, rule in rules() if rule is _MATERIAL or not set(hints).isdisjoint(has))


def _masked(text: str, able: tuple[tuple[str, re.Pattern[str]], ...], kinds: Counter[str]) -> str:
    """Mask until nothing more is found: what stands beside a secret may be one, once that is masked."""
    while True:
        before = text
        # Cut at other places the second time: a secret may lie across a cut.
        for start in (0, _PIECE // 2)[: 1 + (len(text) > _PIECE)]:
            text = "".join(_piece(piece, able, kinds) for piece in _pieces(text, start))
        if text == before:
            return text


def _piece(text: str, able: tuple[tuple[str, re.Pattern[str]], ...], kinds: Counter[str]) -> str:
    for name, rule in able:
        text = rule.sub(lambda match, name=name: _instead(name, match, kinds), text)  # type: ignore[misc]
    return text


def _instead(name: str, match: re.Match[str], kinds: Counter[str]) -> str:
    """Give what stands in place of a match: of one with a group for the secret, only that is it."""
    place = next((p for p in match.re.groupindex.values() if match.start(p) >= 0), 0)
    if not place and match.re.groups == 1 and name == "Basic Auth Credentials":
        place = 1
    start, end = (at - match.start() for at in match.span(place))
    secret = match[0][start:end]
    if "[masked" in secret or (name == "Secret Keyword" and _NUMBER.match(secret)):
        return match[0]
    if not place:  # what stands around it, a quote or a space, is none of the secret
        start += len(secret) - len(secret.lstrip(" \t\"'=:"))
        end -= len(secret) - len(secret.rstrip(" \t\"'"))
    kinds[name] += 1
    return f"{match[0][:start]}[masked]{match[0][end:]}"


def _pieces(text: str, start: int) -> Iterator[str]:
    """Cut a long line between words, where it has any; the first piece ends at `start` at the latest, unless that is 0."""
    at, most = 0, start or _PIECE
    while at < len(text):
        end = at + most
        if end < len(text):
            gap = max(text.rfind(sign, at + most // 2, end) for sign in " \t,;")
            end = gap if gap > 0 else end
        yield text[at:end]
        at, most = end, _PIECE
