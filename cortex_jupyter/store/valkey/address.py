"""Parse the URL of a Valkey store. Only the server may see a password: no log, message or command line shows it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from cortex_jupyter.errors import StoreError

_HINT = "write valkey://[USER@]HOST[:PORT][/DATABASE][?replicas=1], valkeys:// for TLS (?ca=FILE for your own certificate authority)"
_PORT = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how to connect to it.

    Parameters
    ----------
    host : str
    port, database : int
    user : str
    password : str
    tls : bool
    ca : str
        File of the certificate authority; empty for the system's.
    replicas : int
        Number of replicas that must have a commit before it counts.
    """

    host: str
    port: int = _PORT
    database: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    replicas: int = 0

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. If it has no password, `CORTEX_STORE_PASSWORD` supplies it.

        Raises
        ------
        StoreError

        Examples
        --------
        >>> address = Address.parse("valkey://me:secret@host/2?replicas=1")
        >>> address.password, address.url
        ('secret', 'valkey://me@host:6379/2?replicas=1')
        """
        try:
            parts = urlsplit(url)
            options = parse_qs(parts.query, strict_parsing=bool(parts.query))
            is_valid = parts.scheme in ("valkey", "valkeys") and options.keys() <= {"replicas", "ca"}
            address = cls(
                parts.hostname or "",
                parts.port or _PORT,
                int(parts.path.strip("/") or 0),
                unquote(parts.username or ""),
                unquote(parts.password or "") or os.environ.get("CORTEX_STORE_PASSWORD", ""),
                parts.scheme == "valkeys",
                options.get("ca", [""])[0],
                int(options.get("replicas", ["0"])[0]),
            )
        except ValueError:
            is_valid = False
        if not is_valid or not address.host:
            # The message does not show the URL: the mistake may be a password with an `@` or a `/`.
            raise StoreError("CORTEX_STORE is not the address of a Valkey server", _HINT)
        return address

    @property
    def url(self) -> str:
        """The URL without the password."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        options = {"replicas": self.replicas, "ca": self.ca}
        query = urlencode({k: v for k, v in options.items() if v})
        scheme = "valkeys" if self.tls else "valkey"
        return f"{scheme}://{user}{host}:{self.port}/{self.database}{'?' if query else ''}{query}"
