"""Identifies a user by the ID token of an OpenID Connect provider.

We verify the token and make user and groups of its claims, by the rules and settings of the API server's own `--oidc-...`
flags: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens
So a user has the same name here and in the cluster. We keep no session and set no cookie: a request without a valid token
is refused, also if it comes past the proxy in front of us.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from jupyter_server.auth.identity import IdentityProvider, User
from traitlets import Enum, List, TraitError, Unicode, validate

from cortex_jupyter.errors import CortexError, MissingExtra, NotAllowed, SignInUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import ClientSession
    from tornado.web import RequestHandler
    from traitlets import Bunch

_log = logging.getLogger(__name__)

#: The algorithms that the API server knows. None of them is symmetric: a public key never counts as a secret.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
#: Claims without which a token is refused.
_REQUIRED: Final = ["iss", "aud", "exp"]
#: The provider's clock may differ from ours by this much (seconds).
_CLOCK_SKEW_S: Final = 10
#: Keys are read again after this long (seconds), so that a key which the provider has withdrawn opens nothing any more.
_KEYS_HOLD_S: Final = 300.0
#: Requests for the keys are at least this far apart (seconds), even if many tokens name unknown keys.
_MIN_INTERVAL_S: Final = 10.0
_TIMEOUT_S: Final = 5.0
_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_SIGN_IN: Final = "sign in again; another tab will do"


@dataclass
class OpenIDUser(User):
    """A user whom an ID token names.

    Parameters
    ----------
    groups : tuple of str
        With their prefix.
    expires_at : float
        When the token expires (seconds since the Unix epoch).
    """

    groups: tuple[str, ...] = ()
    expires_at: float = 0.0


class ProviderKeys:
    """A provider's public keys, which verify its tokens. They are read when they are first needed.

    Parameters
    ----------
    issuer : str
        The provider's address.
    """

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._keys: list[dict[str, Any]] | None = None
        self._read_at = self._asked_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._failure = ""

    async def find(self, kid: str | None) -> list[dict[str, Any]]:
        """Return the keys with an ID. A token without one may be signed with any key.

        Raises
        ------
        SignInUnavailable
            The key is unknown, and the provider does not answer.
        """
        if self._is_old() or not self._keys_of(kid):
            await self._read()
        keys = self._keys_of(kid)
        if not keys and self._failure:
            raise SignInUnavailable(f"cannot check who you are: {self._failure}")
        return keys

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > _KEYS_HOLD_S

    def _keys_of(self, kid: str | None) -> list[dict[str, Any]]:
        return [key for key in self._keys or () if kid is None or key.get("kid") == kid]

    async def _read(self) -> None:
        """Ask the provider, unless that was done a moment ago. Requests that wait at the same time share one answer."""
        if self._reading is None:
            if time.monotonic() - self._asked_at < _MIN_INTERVAL_S:
                return
            self._reading = asyncio.create_task(self._ask())
        await asyncio.shield(self._reading)

    async def _ask(self) -> None:
        """Read the keys. If that fails, the keys read before stay valid."""
        self._asked_at = time.monotonic()
        had_failed = bool(self._failure)
        try:
            self._keys, self._failure = await _fetch_keys(self._issuer), ""
            self._read_at = time.monotonic()
            if had_failed:
                _log.warning("the keys of %s can be read again", self._issuer)
        except SignInUnavailable as error:
            self._failure = error.message
            if not had_failed:
                _log.warning("%s; %s", error.message, error.hint)
        finally:
            self._reading = None


class OpenIDConnect(IdentityProvider):
    """Identifies users by the ID token in a request's header `Authorization: Bearer TOKEN`.

    The settings have the meaning of the API server's flags of the same names: `issuer_url` is `--oidc-issuer-url`.
    """

    #: There is no other way in: no token of the server, no cookie, no password.
    token = ""
    need_token = False
    login_available = False
    logout_available = False

    issuer_url = Unicode("", help="Address of the provider, https://...; the claim `iss` of its tokens.").tag(
        config=True
    )
    client_id = Unicode("", help="The client that tokens must be made for: their claim `aud` must contain it.").tag(
        config=True
    )
    username_claim = Unicode(
        "sub", help="The claim that is the user's name. `email` counts only if the claim `email_verified` is true."
    ).tag(config=True)
    username_prefix = Unicode(
        "",
        help="Prefix of user names in Kubernetes. Default: `ISSUER_URL#`, or none if the claim is `email`. `-` for none.",
    ).tag(config=True)
    groups_claim = Unicode("", help="The claim that lists the user's groups. Default: no groups.").tag(config=True)
    groups_prefix = Unicode("", help="Prefix of group names in Kubernetes.").tag(config=True)
    signing_algs = List(
        Enum(_ALGORITHMS), ["RS256"], minlen=1, help="The algorithms with which tokens may be signed."
    ).tag(config=True)

    _provider_keys: ProviderKeys | None = None

    @validate("issuer_url")  # type: ignore[untyped-decorator]  # traitlets has no types
    def _check_issuer(self, proposal: Bunch) -> str:
        url: str = proposal.value
        address = urlsplit(url)
        if address.scheme != "https" or not address.hostname or address.query or address.fragment:
            raise TraitError(f"OpenIDConnect.issuer_url={url!r} is no address of a provider; write https://HOST[/PATH]")
        return url

    @validate("username_prefix", "groups_prefix")  # type: ignore[untyped-decorator]
    def _check_prefix(self, proposal: Bunch) -> str:
        if proposal.value.startswith("system:"):
            raise TraitError(f"OpenIDConnect.{proposal.trait.name}: Kubernetes reserves names that begin with system:")
        return str(proposal.value)

    def check_settings(self) -> None:
        """Check that the settings that have no default are there.

        Raises
        ------
        CortexError
        MissingExtra
            The library that verifies tokens is not installed.
        """
        for name in ("issuer_url", "client_id"):
            if not getattr(self, name):
                hint = f"write c.OpenIDConnect.{name} = '...'; docs/how-to/openid-connect.md"
                raise CortexError(f"OpenIDConnect.{name} is not set", hint)
        _jwt()

    async def get_user(self, handler: RequestHandler) -> OpenIDUser | None:
        """Return the user of a request; None if it has no valid token. `handler.sign_in_problem` is then the reason."""
        try:
            return await self.identify(handler)
        except CortexError as error:
            handler.sign_in_problem = error  # type: ignore[attr-defined]  # of RedactingHandler
            return None

    async def identify(self, handler: RequestHandler) -> OpenIDUser:
        """Return the user whom the request's token names.

        A proxy makes this header of a cookie, so a request with it is not exempt from checks of its origin, as one with a
        token of Jupyter Server is.

        Raises
        ------
        NotAllowed
            There is no token, or it is not valid (any more).
        SignInUnavailable
            The provider does not answer.
        """
        match = _BEARER.fullmatch(handler.request.headers.get("Authorization", ""))
        if match is None:
            raise NotAllowed("you are not signed in: the request has no ID token", _SIGN_IN)
        return self._user(await self._verify(match[1]))

    async def _verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that is valid now."""
        jwt = _jwt()
        if self._provider_keys is None:
            self._provider_keys = ProviderKeys(self.issuer_url)
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in self.signing_algs:
                raise _refusal(f"it is not signed with {' or '.join(self.signing_algs)}")
            key = _suitable_key(await self._provider_keys.find(header.get("kid")), algorithm)
            if key is None:
                raise _refusal("the provider does not have the key that it is signed with")
            claims: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(key, algorithm),
                algorithms=[algorithm],
                audience=self.client_id,
                issuer=self.issuer_url,
                leeway=_CLOCK_SKEW_S,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise _expired() from None
        except jwt.PyJWTError as error:
            raise _refusal(str(error)) from None
        except RecursionError:  # releases before 2.15
            raise _refusal("it is nested too deeply") from None
        return claims

    @staticmethod
    def check_expiry(user: OpenIDUser) -> None:
        """Check that the token that has named a user has not expired since.

        Raises
        ------
        NotAllowed
        """
        if time.time() > user.expires_at + _CLOCK_SKEW_S:
            raise _expired()

    def _user(self, claims: Mapping[str, Any]) -> OpenIDUser:
        """Make a user of verified claims.

        Raises
        ------
        NotAllowed
        """
        name, groups = claims.get(self.username_claim), claims.get(self.groups_claim) if self.groups_claim else None
        if not isinstance(name, str) or not name:
            raise _refusal(f"it has no claim {self.username_claim!r}, which is the user's name here")
        if self.username_claim == "email" and claims.get("email_verified") is not True:
            # Stricter than the API server, which accepts an address without the claim: users of some providers choose it.
            raise _refusal("the provider has not verified the address in its claim 'email'")
        if isinstance(groups, str):
            groups = [groups]
        elif groups is None:
            groups = []
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            raise _refusal(f"its claim {self.groups_claim!r} is neither a name nor a list of names")
        prefix = self.username_prefix
        if prefix == "-" or (not prefix and self.username_claim == "email"):
            prefix = ""
        elif not prefix:
            prefix = f"{self.issuer_url}#"
        return OpenIDUser(
            prefix + name,
            name,
            groups=tuple(self.groups_prefix + group for group in groups if group),
            expires_at=float(claims["exp"]),
        )


def _suitable_key(keys: list[dict[str, Any]], algorithm: str) -> dict[str, Any] | None:
    """Return the only one of some keys that may verify signatures of an algorithm; None if there is none, or several.

    Examples
    --------
    >>> rsa, ec = {"kty": "RSA", "kid": "1"}, {"kty": "EC", "kid": "1", "use": "sig"}
    >>> _suitable_key([rsa, ec], "ES256")["kty"], _suitable_key([rsa, rsa], "RS256")
    ('EC', None)
    """
    kind: Literal["EC", "RSA"] = "EC" if algorithm.startswith("ES") else "RSA"
    suitable = [
        key
        for key in keys
        if key.get("kty") == kind and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
    ]
    return suitable[0] if len(suitable) == 1 else None


async def _fetch_keys(issuer: str) -> list[dict[str, Any]]:
    """Read a provider's keys, from the address in its discovery document.

    Raises
    ------
    SignInUnavailable

    Notes
    -----
    https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig
    """
    import aiohttp  # heavy

    try:
        context = await asyncio.to_thread(ssl.create_default_context)  # reads the authorities of this machine
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_TIMEOUT_S), trust_env=True) as session:
            document = await _read(session, f"{issuer.rstrip('/')}/.well-known/openid-configuration", context)
            keys = (await _read(session, _keys_address(document, issuer), context))["keys"]
            return [key for key in keys if isinstance(key, dict)]
    except TimeoutError:
        reason = "it does not answer"
    except (aiohttp.ClientError, ValueError, OSError) as error:
        reason = str(error)
    except (KeyError, TypeError, AttributeError):
        reason = "its answer is not as specified"
    raise SignInUnavailable(f"the keys of {issuer} cannot be read: {reason}")


async def _read(session: ClientSession, url: str, context: ssl.SSLContext) -> Any:
    async with session.get(url, ssl=context, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"{url} answers with status {response.status}")
        return await response.json(content_type=None)


def _keys_address(document: dict[str, Any], issuer: str) -> str:
    if document["issuer"] != issuer:
        raise ValueError(f"it calls itself {document['issuer']!r}, not {issuer!r}")
    address: str = document["jwks_uri"]
    if not address.startswith("https://"):
        raise ValueError("the address of its keys is not https://")
    return address


def _jwt() -> Any:
    """Return the library that verifies tokens.

    Raises
    ------
    MissingExtra
    """
    try:
        import cryptography  # noqa: F401 - without it, PyJWT knows no public keys
        import jwt
    except ImportError as error:
        raise MissingExtra("PyJWT is not installed", "pip install 'cortex-jupyter[oidc]'") from error
    return jwt


def _expired() -> NotAllowed:
    return NotAllowed("your sign-in has expired", _SIGN_IN)


def _refusal(reason: str) -> NotAllowed:
    return NotAllowed(f"your ID token is refused: {reason}", _SIGN_IN)
