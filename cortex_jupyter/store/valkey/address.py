"""What the URL of a Valkey store says. A password is for the server alone: not for logs, messages, command lines."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from cortex_jupyter.errors import StoreError

_HINT = "write valkey://[USER@]HOST[:PORT][/DATABASE][?replicas=1], valkeys:// for TLS (?ca=FILE for an authority of your own)"
_PORT = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how it is spoken to.

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
        So many replicas have to have a commit before it counts.
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
        """Read a URL. Without a password in it the one in `CORTEX_STORE_PASSWORD` holds.

        Raises
        ------
        StoreError

        Examples
        --------
        >>> one = Address.parse("valkey://me:secret@host/2?replicas=1")
        >>> one.password, one.url
        ('secret', 'valkey://me@host:6379/2?replicas=1')
        """
        try:
            parts = urlsplit(url)
            options = parse_qs(parts.query, strict_parsing=bool(parts.query))
            known = parts.scheme in ("valkey", "valkeys") and options.keys() <= {"replicas", "ca"}
            found = cls(
                parts.hostname or "", parts.port or _PORT, int(parts.path.strip("/") or 0), unquote(parts.username or ""),
                unquote(parts.password or "") or os.environ.get("CORTEX_STORE_PASSWORD", ""),
                parts.scheme == "valkeys", options.get("ca", [""])[0], int(options.get("replicas", ["0"])[0]),
            )  # fmt: skip
        except ValueError:
            known = False
        if not known or not found.host:
            # Not the URL itself: what is wrong with it may be that its password holds an `@` or a `/`.
            raise StoreError("CORTEX_STORE is no address of a Valkey server", _HINT)
        return found

    @property
    def url(self) -> str:
        """The URL without the password."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        options = {"replicas": self.replicas, "ca": self.ca}
        query = urlencode({k: v for k, v in options.items() if v})
        scheme = "valkeys" if self.tls else "valkey"
        return f"{scheme}://{user}{host}:{self.port}/{self.database}{'?' if query else ''}{query}"
