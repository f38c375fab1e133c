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
    from collections.abc import Iterable, Iterator

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
_NUMBER: Final = re.compile(r"[-+]?[\d.,:]+[a-z%]{0,3}\Z|(?:true|false|none|null|nil|yes|no|on|off)\Z", re.IGNORECASE)
_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}\b"
)
_BEARER: Final = re.compile(r"(?i)\b(?:bearer|basic)\s+(?P<secret>[A-Za-z0-9._~+/=-]{12,})")
_MATERIAL: Final = re.compile(
    r"^\s*[A-Za-z0-9+/]{60,}={0,2}\s*$|-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----\S*"
)
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
        rf"(?i)(?<![a-z])(?:[\w.-]{{0,40}}?[_.-])?(?:{words})[\"']?\s*(?:=>|:=|[:=])\s*(?:[\"'](?P<quoted>[^\"']{{4,}})[\"']|(?!bearer|basic)(?P<secret>[^\s\"',;&)}}\]]{{6,}}))"
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
        self._rules = rules()
        self._hints = tuple({hint for _, hints, _ in self._rules for hint in hints} - set(_NAMES))

    @property
    def worth(self) -> str:
        """A pattern in RE2's syntax for the lines that may hold a secret."""
        return f"{'|'.join(map(re.escape, self._hints))}|(?i:{'|'.join(_NAMES)})|^\\s*[^ ]{{60,}}\\s*$"

    def __call__(self, text: str) -> str:
        """Give the line with its secrets masked."""
        if not self._worth(text):
            return text
        if len(text) > _PIECE:
            return "".join(map(self._piece, _pieces(text)))
        return self._piece(text)

    def _worth(self, text: str) -> bool:
        if any(hint in text for hint in self._hints):
            return True
        low = text.lower()
        return any(name in low for name in _NAMES) or _block(text)

    def _piece(self, text: str) -> str:
        low = text.lower()
        for name, hints, rule in self._rules:
            if any(hint in text or hint in low for hint in hints) or (rule is _MATERIAL and _block(text)):
                text = rule.sub(lambda match, name=name: self._masked(name, match), text)  # type: ignore[misc]
        return text

    def _masked(self, name: str, match: re.Match[str]) -> str:
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
        self.counts[name] += 1
        return f"{match[0][:start]}[masked]{match[0][end:]}"

    def each(self, texts: Iterable[str]) -> list[str]:
        """Give lines with their secrets masked."""
        return [self(text) for text in texts]


def _block(text: str) -> bool:
    """Tell whether a line may be one of base64."""
    return len(text) >= 60 and " " not in text.strip()  # noqa: PLR2004


def _pieces(text: str) -> Iterator[str]:
    """Cut a long line between words, where it has any."""
    at = 0
    while at < len(text):
        end = at + _PIECE
        if end < len(text):
            gap = max(text.rfind(sign, at + _PIECE // 2, end) for sign in " \t,;")
            end = gap if gap > 0 else end
        yield text[at:end]
        at = end
