"""Users of an OpenID Connect provider: which tokens are accepted, which user they name, and a whole server of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from server.running import logs
from support.kube import python_job
from support.oidc import CLIENT, Key, Provider
from support.ports import free_port
from traitlets import TraitError

from cortex_jupyter.errors import CortexError, NotAllowed
from cortex_jupyter.server import id_token
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.id_token import OpenIDConnect, OpenIDUser
from cortex_jupyter.server.service import RequestPermissions, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess
    from support.kube import Kube


_HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "openid-connect.md"


@pytest.fixture(scope="module")
def only_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("provider"))
    yield provider
    provider.close()


@pytest.fixture
def provider(only_provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.setenv("SSL_CERT_FILE", str(only_provider.authority))
    only_provider.asked.clear()
    only_provider.is_away = False
    only_provider.published = [only_provider.key.jwk]
    only_provider.document = {"issuer": only_provider.issuer, "jwks_uri": f"{only_provider.issuer}/keys"}
    return only_provider


def identity(provider: Provider, **settings: Any) -> OpenIDConnect:
    return OpenIDConnect(issuer_url=provider.issuer, client_id=CLIENT, **settings)


def request(token: str | None, scheme: str = "Bearer") -> Any:
    headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
    return SimpleNamespace(request=SimpleNamespace(headers=headers))


async def user(connect: OpenIDConnect, token: str) -> OpenIDUser:
    handler = request(token)
    found = await connect.get_user(handler)
    assert found is not None, handler.sign_in_problem
    return found


async def refusal(connect: OpenIDConnect, handler: Any) -> str:
    assert await connect.get_user(handler) is None, "the token is accepted"
    problem: CortexError = handler.sign_in_problem
    assert isinstance(problem, CortexError)
    return problem.message


def unsigned(provider: Provider, algorithm: str) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "kid": provider.key.kid}, provider.claims())]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


def signed_with_public_key(provider: Provider) -> str:
    """Return a token that is valid if the public key is taken for a shared secret. PyJWT refuses to make one, so HMAC by hand."""
    public = provider.key.private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    begin = unsigned(provider, "HS256").rstrip(".")
    signature = hmac.new(pem, begin.encode(), hashlib.sha256).digest()
    return f"{begin}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def now(seconds: float) -> int:
    return int(time.time() + seconds)


ATTACKS: dict[str, tuple[Callable[[Provider], str], str]] = {
    "another audience": (lambda p: p.token(aud="another"), "Audience doesn't match"),
    "no audience": (lambda p: p.token(aud=None), '"aud" claim'),
    "another issuer": (lambda p: p.token(iss="https://evil.example"), "issuer"),
    "an issuer with a slash": (lambda p: p.token(iss=f"{p.issuer}/"), "issuer"),
    "no issuer": (lambda p: p.token(iss=None), '"iss" claim'),
    "no signature": (lambda p: unsigned(p, "none"), "it is not signed with RS256"),
    "no signature, in capitals": (lambda p: unsigned(p, "NONE"), "it is not signed with RS256"),
    "no signature, but an algorithm": (lambda p: unsigned(p, "RS256"), "Signature verification failed"),
    "the public key as a secret": (signed_with_public_key, "it is not signed with RS256"),
    "expired": (lambda p: p.token(exp=now(-60)), "your sign-in has expired"),
    "it never expires": (lambda p: p.token(exp=None), '"exp" claim'),
    "not yet valid": (lambda p: p.token(nbf=now(600)), "not yet valid"),
    "made in the future": (lambda p: p.token(iat=now(600)), "not yet valid"),
    "another key of the same name": (lambda p: p.token(key=Key("first")), "Signature verification failed"),
    "an unknown key": (lambda p: p.token(key=Key("other")), "does not have the key"),
    "a key of its own": (
        lambda p: p.token(key=(key := Key("own")), header={"jwk": key.jwk, "jku": "https://evil.example/keys"}),
        "does not have the key",
    ),
    "no user name": (lambda p: p.token(sub=None), "no claim 'sub'"),
    "an empty user name": (lambda p: p.token(sub=""), "no claim 'sub'"),
    "a list of user names": (lambda p: p.token(sub=["alice"]), "refused"),
    "no token at all": (lambda _: "not-a-token", "refused"),
    "nothing but dots": (lambda _: "..", "refused"),
    "a deep header": (lambda _: f"{base64.urlsafe_b64encode(b'[' * 100_000).decode()}.e30.", "refused"),
    "another form of header": (lambda _: f"{base64.urlsafe_b64encode(b'[]').decode()}.e30.", "refused"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_token_that_is_not_ours_is_refused(provider: Provider, attack: str) -> None:
    make, reason = ATTACKS[attack]
    token = make(provider)
    message = await refusal(identity(provider), request(token))
    assert reason in message and token not in message


async def test_a_changed_token_is_refused(provider: Provider) -> None:
    head, _, signature = provider.token().split(".")
    claims = base64.urlsafe_b64encode(json.dumps(provider.claims(sub="admin")).encode()).decode().rstrip("=")
    assert "verification failed" in await refusal(identity(provider), request(f"{head}.{claims}.{signature}"))


async def test_only_the_header_identifies_a_user(provider: Provider) -> None:
    connect, token = identity(provider), provider.token()
    assert (await user(connect, token)).username == f"{provider.issuer}#alice"
    for handler in (request(None), request(token, "Basic"), request(token, "token"), request(f"{token} {token}")):
        assert "no ID token" in await refusal(connect, handler)


async def test_algorithms_are_those_of_the_setting_and_of_the_key(provider: Provider) -> None:
    token = jwt.encode(provider.claims(), provider.key.private, "RS512", {"kid": provider.key.kid})
    assert "not signed with RS256" in await refusal(identity(provider), request(token))
    wide = identity(provider, signing_algs=["RS256", "RS512"])
    assert "does not have the key" in await refusal(wide, request(token)), "its key is for RS256 only"
    provider.published = [{k: v for k, v in provider.key.jwk.items() if k != "alg"}]
    assert (await user(identity(provider, signing_algs=["RS256", "RS512"]), token)).username.endswith("#alice")
    provider.published = [provider.key.jwk | {"use": "enc"}]
    assert "does not have the key" in await refusal(identity(provider), request(provider.token()))
    with pytest.raises(TraitError):
        identity(provider, signing_algs=["HS256"])


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
async def test_a_weak_key_verifies_nothing(provider: Provider) -> None:
    weak = Key("weak", 1024)
    provider.published = [weak.jwk]
    assert "below the minimum" in await refusal(identity(provider), request(provider.token(key=weak)))


async def test_a_token_without_key_id_needs_a_provider_with_one_key(provider: Provider) -> None:
    token = jwt.encode(provider.claims(), provider.key.private, "RS256")
    assert (await user(identity(provider), token)).username.endswith("#alice")
    provider.published = [provider.key.jwk, Key("second").jwk]
    assert "does not have the key" in await refusal(identity(provider), request(token))


async def test_a_new_key_is_fetched_once_and_unknown_ones_seldom(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, old = identity(provider), provider.token()
    tokens = [provider.token(key=Key(f"unknown-{n}")) for n in range(3)]
    await user(connect, old)
    await user(connect, old)
    assert provider.asked["/keys"] == 1
    for token in tokens * 5:
        assert "does not have the key" in await refusal(connect, request(token))
    assert provider.asked["/keys"] == 1, "each unknown key makes the server ask the provider"
    monkeypatch.setattr(id_token, "_MIN_INTERVAL_S", 0.0)
    provider.rotate("rotated")
    new = provider.token()
    found = await asyncio.gather(*(user(connect, new) for _ in range(20)))
    assert len(found) == 20 and provider.asked["/keys"] == 2, "requests at the same time do not share one answer"
    assert "does not have the key" in await refusal(connect, request(old)), "a withdrawn key is accepted"


async def test_a_withdrawn_key_opens_nothing_when_the_keys_are_old(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, old = identity(provider), provider.token()
    await user(connect, old)
    provider.published = [Key("another").jwk]
    monkeypatch.setattr(id_token, "_MIN_INTERVAL_S", 0.0)
    await user(connect, old)
    monkeypatch.setattr(id_token, "_KEYS_HOLD_S", 0.0)
    assert "does not have the key" in await refusal(connect, request(old))


async def test_a_provider_that_is_away_is_not_a_refusal(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, token = identity(provider), provider.token()
    provider.is_away = True
    handler = request(token)
    assert "answers with status 503" in await refusal(connect, handler)
    assert handler.sign_in_problem.status == 503 and handler.sign_in_problem.retry_s
    monkeypatch.setattr(id_token, "_MIN_INTERVAL_S", 0.0)
    provider.is_away = False
    await user(connect, token)
    provider.is_away = True
    monkeypatch.setattr(id_token, "_KEYS_HOLD_S", 0.0)
    await user(connect, token)  # the keys known so far stay valid


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://evil.example"}, "it calls itself 'https://evil.example'"),
        ({"jwks_uri": "http://127.0.0.1/keys"}, "not https"),
        ({"jwks_uri": None}, "not as specified"),
    ],
)
async def test_a_wrong_discovery_document_is_not_believed(
    provider: Provider, changes: dict[str, Any], reason: str
) -> None:
    provider.document |= changes
    assert reason in await refusal(identity(provider), request(provider.token()))


async def test_a_provider_without_a_trusted_certificate_is_not_believed(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "certificate verify failed" in await refusal(identity(provider), request(provider.token()))
    assert not provider.asked


NAMES: dict[str, tuple[dict[str, Any], dict[str, Any], str, tuple[str, ...]]] = {
    "the default is the API server's": ({}, {"groups": ["a"]}, "ISSUER#alice", ()),
    "prefixes": (
        {"username_prefix": "oidc:", "groups_claim": "groups", "groups_prefix": "oidc:"},
        {"groups": ["ml", "vision"]},
        "oidc:alice",
        ("oidc:ml", "oidc:vision"),
    ),
    "no prefix": ({"username_prefix": "-"}, {}, "alice", ()),
    "one group": ({"username_prefix": "-", "groups_claim": "groups"}, {"groups": "ml"}, "alice", ("ml",)),
    "no groups": ({"username_prefix": "-", "groups_claim": "groups"}, {}, "alice", ()),
    "an empty list": ({"username_prefix": "-", "groups_claim": "groups"}, {"groups": []}, "alice", ()),
    "another claim": ({"username_claim": "upn"}, {"upn": "al"}, "ISSUER#al", ()),
    "email has no prefix by default": (
        {"username_claim": "email"},
        {"email": "alice@example.com", "email_verified": True},
        "alice@example.com",
        (),
    ),
}


@pytest.mark.parametrize("case", NAMES)
async def test_claims_name_user_and_groups(provider: Provider, case: str) -> None:
    settings, claims, name, groups = NAMES[case]
    found = await user(identity(provider, **settings), provider.token(**claims))
    assert (found.username, found.groups) == (name.replace("ISSUER", provider.issuer), groups)


@pytest.mark.parametrize(
    ("settings", "claims", "reason"),
    [
        ({"username_claim": "email"}, {"email": "a@b.c", "email_verified": False}, "has not verified"),
        ({"username_claim": "email"}, {"email": "a@b.c", "email_verified": "true"}, "has not verified"),
        ({"username_claim": "email"}, {"email": "a@b.c"}, "has not verified"),
        ({"username_claim": "email"}, {"email_verified": True}, "no claim 'email'"),
        ({"groups_claim": "groups"}, {"groups": {"ml": True}}, "neither a name nor a list"),
        ({"groups_claim": "groups"}, {"groups": ["ml", 7]}, "neither a name nor a list"),
    ],
)
async def test_claims_that_name_nobody_are_refused(
    provider: Provider, settings: dict[str, Any], claims: dict[str, Any], reason: str
) -> None:
    assert reason in await refusal(identity(provider, **settings), request(provider.token(**claims)))


async def test_nobody_is_a_user_or_in_a_group_of_kubernetes_itself(provider: Provider) -> None:
    service = Service(CortexJupyter(access_for="user"))
    connect = identity(provider, username_prefix="-", groups_claim="groups")
    with pytest.raises(NotAllowed, match="reserves the user name 'system:admin'"):
        service.person(await user(connect, provider.token(sub="system:admin")))
    person = service.person(await user(connect, provider.token(groups=["ml", "system:masters"])))
    assert person is not None and person.groups == ("ml", "system:authenticated")
    for name in ("username_prefix", "groups_prefix"):
        with pytest.raises(TraitError, match="Kubernetes reserves"):
            identity(provider, **{name: "system:"})


@pytest.mark.parametrize("url", ["http://127.0.0.1", "example.com", "https://example.com?a=b", "https://"])
def test_the_issuer_is_an_https_address(url: str) -> None:
    with pytest.raises(TraitError, match="is no address of a provider"):
        OpenIDConnect(issuer_url=url)


async def test_an_open_stream_ends_with_its_token(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, handler = identity(provider), request(provider.token())
    handler.identity_provider, handler.current_user = connect, await user(connect, provider.token())
    permissions = RequestPermissions(Service(CortexJupyter(access_for="user")), handler)
    assert not await permissions.renew()
    handler.request.headers["Authorization"] = f"Bearer {provider.token(exp=now(-60))}"
    with pytest.raises(NotAllowed, match="has expired"):
        await permissions.renew()
    # While the provider is away and its key is gone, the token holds until it expires.
    monkeypatch.setattr(id_token, "_MIN_INTERVAL_S", 0.0)
    handler.request.headers["Authorization"] = f"Bearer {provider.token(key=Key('gone'))}"
    provider.is_away = True
    assert not await permissions.renew()
    handler.current_user.expires_at = now(-60)
    with pytest.raises(NotAllowed, match="has expired"):
        await permissions.renew()


def token_of(provider: Provider, name: str = "alice", **changes: Any) -> str:
    """Return a token for the service of the documentation."""
    return provider.token(preferred_username=name, **changes)


class Running:
    """The service in a process of its own."""

    def __init__(self, home: Path, provider: Provider, sandbox: SandboxProcess, *options: str) -> None:
        port = free_port()
        self.url, self.log = f"http://127.0.0.1:{port}/", home / "server.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "JUPYTER_", "CORTEX_"))}
        env = clean | {
            "HOME": str(home),
            "KUBECONFIG": str(sandbox.kubeconfig),
            "CORTEX_AUDIT_LOG": str(home / "audit.log"),
            "SSL_CERT_FILE": str(provider.authority),
            "JUPYTER_PLATFORM_DIRS": "1",
            "JUPYTER_TOKEN": "a-token-of-the-environment",
        }
        command = [sys.executable, "-m", "cortex_jupyter.server.oidc", "--allow-root", f"--port={port}"]
        with self.log.open("wb") as file:
            self.process = subprocess.Popen([*command, *options], env=env, cwd=home, stdout=file, stderr=file)
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(self.url + "cortex/tasks")
                break
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def get(self, path: str, token: str | None, query: dict[str, str] | None = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.get(self.url + path, params=query, headers=headers, timeout=60)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(120)


@pytest.fixture(scope="module")
def running(
    only_provider: Provider, sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    (example,) = re.findall(r"```python\n(.*?)```", _HOW_TO.read_text(), re.DOTALL)
    example = example.replace("https://login.example.com/realms/ml", only_provider.issuer)
    example = example.replace("valkey://reader@valkey", f"sqlite:///{home}/store.sqlite")
    assert "sqlite:" in example, "the store of the example has changed"
    (home / "oidc.py").write_text(example + "c.CortexJupyter.heartbeat_s = 0.2\n")
    running = Running(home, only_provider, sandbox_process, f"--config={home}/oidc.py")
    yield running
    running.close()


def test_each_user_reads_what_kubernetes_allows_their_claims(
    running: Running, provider: Provider, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    name = unique("oidc")
    kube.create(python_job(name, "print('a secret line')"))
    kube.wait_job(name, "Complete")
    sandbox.fault("deny", resource="pods/log", user="oidc:bob")
    sandbox.fault("deny", resource="pods/log", group="oidc:interns")
    assert "a secret line" in running.get(logs(name), token_of(provider)).text
    for path in (logs(name), logs(name, "logs.txt"), "cortex/tasks", "cortex/view", f"cortex/stream?task={name}"):
        for refused in (token_of(provider, "bob"), token_of(provider, "carol", groups=["interns"])):
            answer = running.get(path, refused)
            assert answer.status_code == 403 and "a secret line" not in answer.text, path
            assert "may not read logs" in answer.text
    audit = [json.loads(line) for line in (running.log.parent / "audit.log").read_text().splitlines()]
    assert {"oidc:alice", "oidc:bob", "oidc:carol"} <= {record["user"] for record in audit}


def test_without_a_valid_token_there_is_no_way_in(running: Running, provider: Provider) -> None:
    expired = provider.token(exp=now(-60))
    assert running.get("cortex/tasks", None).json()["error"] == {
        "code": "NotAllowed",
        "message": "you are not signed in: the request has no ID token",
        "hint": "sign in again; another tab will do",
    }
    assert running.get("cortex/tasks", expired).json()["error"]["message"] == "your sign-in has expired"
    page = running.get("cortex/view", expired)
    assert page.status_code == 403 and "<h1>your sign-in has expired</h1>" in page.text
    valid = token_of(provider)
    for query in ({"token": valid}, {"token": "a-token-of-the-environment"}, {"access_token": valid}):
        answer = running.get("cortex/tasks", None, query)
        assert answer.status_code == 403
        assert not answer.headers.get("set-cookie")
    assert running.get("cortex/tasks", "a-token-of-the-environment").status_code == 403
    cookies = {"username-127-0-0-1": valid, "_oauth2_proxy": valid}
    assert httpx.get(running.url + "cortex/tasks", cookies=cookies).status_code == 403
    assert valid not in running.log.read_text() and expired not in running.log.read_text()


@pytest.mark.parametrize("path", ["api/kernels", "api/contents", "files/server.log", "api/terminals", "login", "lab"])
def test_the_service_offers_nothing_but_logs(running: Running, provider: Provider, path: str) -> None:
    assert running.get(path, token_of(provider)).status_code in (403, 404)


def test_a_stream_ends_when_its_token_expires(
    running: Running, provider: Provider, kube: Kube, unique: Callable[[str], str]
) -> None:
    name = unique("oidc")
    kube.create(python_job(name, "import time\nprint('first', flush=True)\ntime.sleep(600)"))
    skew = id_token._CLOCK_SKEW_S
    headers = {"Authorization": f"Bearer {token_of(provider, exp=now(3 - skew))}"}
    with httpx.stream("GET", running.url + logs(name), params={"follow": "1"}, headers=headers, timeout=60) as got:
        rest = list(got.iter_lines())
    kube.delete("jobs", name)
    assert "event: error" in rest and '"message":"your sign-in has expired"' in rest[-2]


def test_it_does_not_start_without_its_settings(
    provider: Provider, sandbox_process: SandboxProcess, tmp_path: Path
) -> None:
    env = os.environ | {"HOME": str(tmp_path), "CORTEX_STORE": f"sqlite:///{tmp_path}/store.sqlite"}
    command = [sys.executable, "-m", "cortex_jupyter.server.oidc", "--allow-root", f"--port={free_port()}"]
    for options, reason in (
        ([], "OpenIDConnect.issuer_url is not set"),
        ([f"--OpenIDConnect.issuer_url={provider.issuer}"], "OpenIDConnect.client_id is not set"),
        (["--OpenIDConnect.issuer_url=http://127.0.0.1"], "is no address of a provider"),
    ):
        done = subprocess.run(
            [*command, *options], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 1 and reason in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
