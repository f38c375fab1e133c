"""S3, GCS and Azure on loopback, each behind the same gate.

S3 is SeaweedFS. Azure is azurite, Microsoft's own emulator; npm installs it with 360 MB, so only `make test-clouds`
uses it.

GCS is SeaweedFS too. obstore uses GCS's XML interface, which Google designed like S3's with headers of its own. No
fake of GCS in PyPI, npm or Debian supports an archive there, since they implement the JSON interface:
gcp-storage-emulator 2026.7.19 has no XML list, deletion or multipart upload; fake-gcs-server 1.54 lists, but answers
every PUT with 400. What is specific to Google is tested: the address, the key file, and the token signed with it,
which the gate verifies. Not tested: generations and preconditions, which an archive does not use, and the texts of
Google's errors.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import time
from dataclasses import dataclass
from email.utils import formatdate
from functools import cached_property
from typing import TYPE_CHECKING, Self

import httpx
from archive.s3 import OPEN, Gate, gate, seaweed
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from obstore.store import S3Store
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

#: Clouds on which the whole suite runs.
WHOLE = os.environ.get("CORTEX_TEST_CLOUDS", "s3").split()
#: And those on which some tests run in addition.
COMPACT = list(dict.fromkeys([*WHOLE, "gs"]))


@dataclass
class Cloud:
    """One cloud as a client sees it.

    Attributes
    ----------
    url : str
    gate : Gate
    env : dict
        Environment variables of a client.
    others : dict
        Environment variables of a client without permissions.
    names : str
        The variable that holds the credentials.
    """

    url: str
    gate: Gate
    env: dict[str, str]
    others: dict[str, str]
    names: str


class Clouds:
    """The servers; each starts when it is first needed, and all stop together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @cached_property
    def _seaweed(self) -> int:
        (self._folder / "seaweed").mkdir()
        port = self._running.enter_context(seaweed(self._folder / "seaweed"))
        for bucket in ("logs", OPEN):  # created by the first write
            client = {"access_key_id": "key", "secret_access_key": "secret", "client_options": {"allow_http": True}}
            S3Store(bucket, endpoint=f"http://127.0.0.1:{port}", **client).put("made", b"")
        return port

    @cached_property
    def _azurite(self) -> int:
        (self._folder / "azurite").mkdir()
        return self._running.enter_context(azurite(self._folder / "azurite"))

    @cached_property
    def _google(self) -> tuple[Path, Path, rsa.RSAPublicKey]:
        """Return key files of a client with and one without permissions, and the public key of the former."""
        ours, others = self._folder / "key.json", self._folder / "other.json"
        _key_file(others)
        return ours, others, _key_file(ours)

    @contextlib.contextmanager
    def cloud(self, kind: str) -> Iterator[Cloud]:
        """Yield a cloud with a gate of its own."""
        if kind == "s3":
            name = "AWS_SECRET_ACCESS_KEY"
            with gate(self._seaweed) as made:
                yield Cloud("s3://logs", made, made.env, {name: "wrong"}, name)
        elif kind == "gs":
            name, (ours, others, public) = "GOOGLE_APPLICATION_CREDENTIALS", self._google
            with gate(self._seaweed, lambda headers: _signed(headers, public)) as made:
                env = {"GOOGLE_BASE_URL": made.address, name: str(ours)}
                yield Cloud(f"gs://{OPEN}", made, env, {name: str(others)}, name)
        else:
            name = "AZURE_STORAGE_ACCOUNT_KEY"
            with gate(self._azurite) as made:
                env = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, name: ACCOUNT_KEY}
                env |= {"AZURE_STORAGE_ENDPOINT": f"{made.address}/{ACCOUNT}"}
                yield Cloud("az://logs", made, env, {name: base64.b64encode(b"wrong").decode()}, name)


def _key_file(path: Path) -> rsa.RSAPublicKey:
    """Write a service account's key and return its public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {"type": "service_account", "client_email": "tests@example.org", "private_key_id": "1"}
    path.write_text(json.dumps(account | {"private_key": pem.decode()}))
    return key.public_key()


def _signed(headers: Message, key: rsa.RSAPublicKey) -> bool:
    """Return whether a request has a token that the key has signed."""
    kind, _, token = headers.get("Authorization", "").partition(" ")
    signed, _, signature = token.rpartition(".")
    try:
        key.verify(base64.urlsafe_b64decode(signature + "=="), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return kind == "Bearer"


#: Azurite's key, from its documentation.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[int]:
    """Start azurite with a container `logs` and yield its port."""
    program, port = os.environ.get("CORTEX_TEST_AZURITE", "azurite-blob"), free_port()
    options = ["--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    options += ["--silent", "--disableTelemetry"]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 120
        while not _container(port):
            assert process.poll() is None and time.monotonic() < until, (folder / "azurite.log").read_text()[-2000:]
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def _container(port: int) -> bool:
    """Create the container, which obstore cannot do."""
    date, version = formatdate(usegmt=True), "2023-11-03"
    said = f"x-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/logs\nrestype:container"
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), f"PUT{12 * chr(10)}{said}".encode(), hashlib.sha256).digest()
    headers = {"x-ms-date": date, "x-ms-version": version}
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    try:
        answer = httpx.put(f"http://127.0.0.1:{port}/{ACCOUNT}/logs?restype=container", headers=headers)
    except httpx.HTTPError:
        return False
    assert answer.status_code == 201, answer.text
    return True
