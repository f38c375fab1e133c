"""A certificate authority for tests that issues certificates of servers and clients."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


class Authority:
    """A certificate authority with its own new key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        built = self._builder("authority", self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.pem = built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def _builder(self, name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name("authority")).public_key(key)
        return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)

    def issue(self, name: str, password: str = "") -> tuple[str, str]:
        """Return a certificate for a host name, an address or a client, and its key, encrypted if there is a password.

        It has no authority key identifier, which Python 3.13 demands by default but Go programs do not.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        builder = self._builder(name, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            protection = serialization.BestAvailableEncryption(password.encode())
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, protection)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(pem).decode(), private.decode()

    def server(self, folder: Path, name: str, clients: Authority | None = None) -> ssl.SSLContext:
        """Return a server's TLS context; with `clients`, each client must present a certificate of that authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=clients.pem if clients else None)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            if hasattr(ssl, "VERIFY_X509_STRICT"):
                context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        path = folder / f"{name}.pem"
        path.write_text("\n".join(self.issue(name)))
        context.load_cert_chain(path)
        return context
