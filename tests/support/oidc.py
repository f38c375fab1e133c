"""An OpenID Connect provider: its discovery document and its keys over HTTPS, and tokens that it signs."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from support.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = "cortex"


class Key:
    """A key with which a provider signs."""

    def __init__(self, kid: str, bits: int = 2048) -> None:
        self.kid, self.private = kid, rsa.generate_private_key(65537, bits)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as the provider publishes it."""
        public: dict[str, Any] = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return public | {"kid": self.kid, "use": "sig", "alg": "RS256"}


class Provider:
    """A provider that answers until it is closed.

    Parameters
    ----------
    folder : Path
        For its certificate; a program trusts it with `SSL_CERT_FILE={provider.authority}`.
    """

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        self.authority = folder / "authority.pem"
        self.authority.write_text(authority.pem)
        self.key = Key("first")
        self.published = [self.key.jwk]
        self.document: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.is_away = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked[self.path] += 1
                answers = {
                    "/.well-known/openid-configuration": provider.document,
                    "/keys": {"keys": provider.published},
                }
                body = json.dumps(answers.get(self.path)).encode()
                self.send_response(503 if provider.is_away else 200 if self.path in answers else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = authority.server(folder, "127.0.0.1")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.issuer = f"https://127.0.0.1:{self._server.server_port}"
        self.document = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of an ID token; None leaves one out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "alice", "iat": now, "exp": now + 600} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, key: Key | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return an ID token."""
        key = key or self.key
        headers = {"kid": key.kid} | (header or {})
        return jwt.encode(self.claims(**changes), key.private, "RS256", headers)

    def rotate(self, kid: str) -> Key:
        """Sign with a new key from now on, and publish only that."""
        self.key = Key(kid)
        self.published = [self.key.jwk]
        return self.key

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
