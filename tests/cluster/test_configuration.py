"""Kubeconfigs and credentials are read as kubectl reads them, with any release of the `kubernetes` package."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
import ssl
import sys
import textwrap
import time
import traceback
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from aiohttp import web
from cluster.conftest import Api, kubeconfig, serving
from support.authority import Authority

from cortex_jupyter.cluster import configuration, plugin
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import ClusterChanged, ClusterUnreachable, NoCluster, NotAllowed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VERSION = "client.authentication.k8s.io/v1"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def program(folder: Path, text: str, **more: Any) -> dict[str, Any]:
    """Write a credential plugin in Python and return the `exec` section that runs it."""
    path = folder / "plugin.py"
    path.write_text("import json, os, sys, time, subprocess\n" + textwrap.dedent(text))
    return {
        "exec": {"apiVersion": VERSION, "command": sys.executable, "args": [str(path)], "interactiveMode": "Never"}
        | more
    }


def prints(**status: Any) -> str:
    return f"print(json.dumps({ {'apiVersion': VERSION, 'kind': 'ExecCredential', 'status': status}!r}))"


@asynccontextmanager
async def secure(
    folder: Path, authority: Authority, name: str = "127.0.0.1", *, clients: Authority | None = None, port: int = 0
) -> AsyncIterator[Api]:
    one = Api()
    one.tokens.add("")
    one.objects["/x"] = {"ok": 1}
    async with serving(one, authority.server(folder, name, clients), port) as api:
        yield api


async def answer(path: str, **more: Any) -> Any:
    async with await Cluster.open(path, **more) as cluster:
        return await cluster.json("/x")


# --- TLS ---


@pytest.mark.parametrize("as_files", [True, False])
async def test_a_client_certificate(tmp_path: Path, as_files: bool) -> None:
    """The certificate is in files with paths relative to the kubeconfig's folder, or inline."""
    authority, clients = Authority(), Authority()
    certificate, key = clients.issue("me")
    (tmp_path / "me.crt").write_text(certificate)
    (tmp_path / "me.key").write_text(key)
    (tmp_path / "ca.crt").write_text(authority.pem)
    user = {"client-certificate": "me.crt", "client-key": "me.key"}
    ca = {"certificate-authority": "ca.crt"}
    if not as_files:
        user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
        ca = {"certificate-authority-data": encoded(authority.pem)}
    async with secure(tmp_path, authority, clients=clients) as api:
        assert await answer(kubeconfig(tmp_path / "config", api.url, user, **ca)) == {"ok": 1}
        with pytest.raises(ClusterUnreachable):
            await answer(kubeconfig(tmp_path / "none", api.url, {}, **ca))


async def test_a_plugin_gives_a_client_certificate(tmp_path: Path) -> None:
    authority, clients = Authority(), Authority()
    certificate, key = clients.issue("me")
    user = program(tmp_path, prints(clientCertificateData=certificate, clientKeyData=key))
    async with secure(tmp_path, authority, clients=clients) as api:
        path = kubeconfig(tmp_path / "config", api.url, user, **{"certificate-authority-data": encoded(authority.pem)})
        assert await answer(path) == {"ok": 1}


async def test_a_key_with_a_password_is_an_error_and_does_not_prompt(tmp_path: Path) -> None:
    certificate, key = Authority().issue("me", password="secret")
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    with pytest.raises(NoCluster, match="certificate or key cannot be used"):
        await Cluster.open(kubeconfig(tmp_path / "config", "https://127.0.0.1:1", user))


async def test_the_name_in_the_servers_certificate(tmp_path: Path) -> None:
    authority = Authority()
    ca = {"certificate-authority-data": encoded(authority.pem)}
    async with secure(tmp_path, authority, "api.example") as api:
        with pytest.raises(ClusterUnreachable, match="certificate"):
            await answer(kubeconfig(tmp_path / "c", api.url, {}, **ca))
        assert await answer(kubeconfig(tmp_path / "c", api.url, {}, **ca, **{"tls-server-name": "api.example"})) == {
            "ok": 1
        }


async def test_an_unknown_authority_is_refused_unless_tls_checks_are_off(tmp_path: Path) -> None:
    async with secure(tmp_path, Authority()) as api:
        with pytest.raises(ClusterUnreachable, match="certificate"):
            await answer(kubeconfig(tmp_path / "c", api.url, {}))
        assert api.requests == []
        assert await answer(kubeconfig(tmp_path / "c", api.url, {}, **{"insecure-skip-tls-verify": True})) == {"ok": 1}


async def test_certificates_that_kubectl_accepts_are_accepted(tmp_path: Path) -> None:
    """Python 3.13 by itself refuses an authority without key identifiers, which many clusters have."""
    authority = Authority()
    path = kubeconfig(tmp_path / "c", "https://x", {}, **{"certificate-authority-data": encoded(authority.pem)})
    async with await Cluster.open(path) as cluster:
        assert cluster._configuration.tls is not None
        assert not cluster._configuration.tls.verify_flags & ssl.VERIFY_X509_STRICT


# --- tokens ---


async def test_a_token_file_wins_over_a_token_and_is_read_again(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """client-go does the same. The path is relative to the kubeconfig's folder."""
    monkeypatch.setattr(configuration, "_TOKEN_FILE_S", 0)
    api.objects["/x"] = {}
    api.tokens = {"first", "second"}
    (tmp_path / "token").write_text("first\n")
    path = kubeconfig(tmp_path / "c", api.url, {"tokenFile": "token", "token": "old"})
    async with await Cluster.open(path) as cluster:
        await cluster.json("/x")
        (tmp_path / "token").write_text("second")
        await cluster.json("/x")
        (tmp_path / "token").unlink()  # it is being replaced
        await cluster.json("/x")
    assert [seen["Authorization"] for seen in api.seen] == ["Bearer first", "Bearer second", "Bearer second"]


async def test_a_token_file_that_is_missing_is_named(api: Api, tmp_path: Path) -> None:
    async with await Cluster.open(kubeconfig(tmp_path / "c", api.url, {"tokenFile": "nope"})) as cluster:
        with pytest.raises(NoCluster, match="nope"):
            await cluster.json("/x")


async def test_user_and_password(api: Api, tmp_path: Path) -> None:
    with pytest.raises(NotAllowed):
        await answer(kubeconfig(tmp_path / "c", api.url, {"username": "me", "password": "p:w"}))
    assert api.seen[0]["Authorization"] == f"Basic {encoded('me:p:w')}"


async def test_impersonation(api: Api, tmp_path: Path) -> None:
    api.objects["/x"] = {}
    user = {"token": "secret", "as": "ci", "as-groups": ["a", "b"], "as-user-extra": {"why": ["test"]}}
    await answer(kubeconfig(tmp_path / "c", api.url, user))
    seen = api.seen[0]
    assert (seen["Impersonate-User"], seen.getall("Impersonate-Group")) == ("ci", ["a", "b"])
    assert seen["Impersonate-Extra-why"] == "test"


async def test_a_token_is_not_sent_to_another_host(api: Api, tmp_path: Path) -> None:
    async with serving(Api()) as other:
        other.objects["/x"] = {}
        other.tokens = {""}

        async def elsewhere(_: web.Request) -> web.Response:
            raise web.HTTPFound(f"{other.url}/x")

        api.objects["/x"] = elsewhere
        await answer(kubeconfig(tmp_path / "c", api.url))
        assert "Authorization" not in other.seen[0]


async def test_the_kubernetes_package_handles_an_auth_provider(api: Api, tmp_path: Path) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) + 3600}).encode()).decode().rstrip("=")
    token = f"e30.{claims}.c2ln"
    api.tokens = {token}
    api.objects["/x"] = {"ok": 1}
    provider = {"name": "oidc", "config": {"id-token": token, "client-id": "x", "idp-issuer-url": "https://x.invalid"}}
    assert await answer(kubeconfig(tmp_path / "c", api.url, {"auth-provider": provider})) == {"ok": 1}
    with pytest.raises(NoCluster, match="auth-provider 'nosuch'"):
        await answer(kubeconfig(tmp_path / "c", api.url, {"auth-provider": {"name": "nosuch"}}))


# --- several files ---


def entry(folder: Path, server: str, token: str, **more: Any) -> dict[str, Any]:
    folder.mkdir()
    (folder / "token").write_text(token)
    return {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": token}}],
    } | more


async def test_the_first_of_several_files_wins(api: Api, tmp_path: Path) -> None:
    api.objects["/x"] = {"ok": 1}
    one = entry(tmp_path / "one", api.url, "secret")
    two = entry(tmp_path / "two", "http://wrong.invalid", "wrong", **{"current-context": "x"})
    two["contexts"].append({"name": "y", "context": {"cluster": "c", "user": "u", "namespace": "y"}})
    three = entry(tmp_path / "three", "http://wrong.invalid", "wrong", **{"current-context": "y"})
    paths = []
    for name, document in {"one": one, "two": two, "three": three}.items():
        paths.append(tmp_path / name / "config")
        paths[-1].write_text(yaml.safe_dump(document))
    (tmp_path / "empty").touch()
    path = os.pathsep.join(map(str, [tmp_path / "missing", tmp_path / "empty", *paths]))
    async with await Cluster.open(path) as cluster:
        assert await cluster.json("/x") == {"ok": 1}
        assert (cluster.host, cluster.namespace, cluster.context) == (api.url, "secret", "x")
        assert cluster.kubeconfig == path
    assert (await Cluster.open(path, "y")).namespace == "y"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"current-context": "nope"}, "no context 'nope'"),
        ({"current-context": ""}, "no current-context"),
        ({"clusters": []}, "no cluster 'c'"),
        ({"users": None}, "no user 'u'"),
        ({"contexts": "text"}, "cannot be used"),
        ({"clusters": [{"name": "c", "cluster": {"server": "host:6443"}}]}, "http or https"),
        ({"users": [{"name": "u", "user": {"client-key-data": "%"}}]}, "cannot be used"),
    ],
)
async def test_the_error_says_what_is_wrong_with_a_kubeconfig(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    path = tmp_path / "c"
    kubeconfig(path, "https://127.0.0.1:1")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    with pytest.raises(NoCluster, match=why):
        await Cluster.open(str(path))


async def test_without_home_and_user_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with `runAsUser` may have no HOME and a UID that is not in /etc/passwd."""

    def unknown(_: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(RuntimeError):
        Path.home()
    with pytest.raises(NoCluster, match="no home directory"):
        await Cluster.open()
    with pytest.raises(NoCluster, match="there is no kubeconfig at ~/config"):
        await Cluster.open("~/config")
    authority = Authority()
    for name, text in (("token", "secret"), ("namespace", "pods-own"), ("ca.crt", authority.pem)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(configuration, "_SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    cluster = await Cluster.open()
    assert (cluster.host, cluster.namespace, cluster.context) == ("https://[fd00::1]:443", "pods-own", None)


async def test_a_home_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose image is root's, run as another user, has `HOME=/root`."""
    home = tmp_path / "home"
    (home / ".kube").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    user = os.geteuid()
    await asyncio.to_thread(bool)  # starts the thread pool while we still may read its modules
    home.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)  # root may enter every folder
        with pytest.raises(NoCluster, match="there is no kubeconfig at"):
            await Cluster.open()
    finally:
        os.seteuid(user)
        home.chmod(0o700)


@pytest.mark.parametrize("text", ["token: SECRET: x", "token: *SECRET", "token: !SECRET x", "SECRET", "\tSECRET"])
async def test_an_invalid_kubeconfig_is_not_quoted(tmp_path: Path, text: str) -> None:
    """The invalid line may contain the token, and messages are logged and shown."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(NoCluster, match=r"config, line 1, is not YAML|config is no kubeconfig") as failed:
        await Cluster.open(str(tmp_path / "config"))
    assert "SECRET" not in "".join(traceback.format_exception(failed.value))


async def test_no_message_contains_a_proxys_password(tmp_path: Path) -> None:
    asked: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        proxy = f"http://me:se%20cret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        path = kubeconfig(tmp_path / "c", "https://cluster.example", **{"proxy-url": proxy})
        with pytest.raises(ClusterUnreachable, match="407") as refused:
            await answer(path)
    assert f"Proxy-Authorization: Basic {encoded('me:se cret')}" in asked[0]
    path = kubeconfig(tmp_path / "c", "https://cluster.example", **{"proxy-url": "socks5://me:se%20cret@host"})
    with pytest.raises(NoCluster, match="the proxy socks5://host is not supported") as unknown:
        await answer(path)
    for error in (refused.value, unknown.value):
        assert "cret" not in "".join(traceback.format_exception(error))


# --- plugins ---


async def test_the_input_of_a_plugin(api: Api, tmp_path: Path) -> None:
    api.objects["/x"] = {"ok": 1}
    code = f"""
        info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
        open({str(tmp_path / "info")!r}, "w").write(json.dumps([info, os.environ["MINE"], sys.stdin.read()]))
        {prints(token="secret")}
    """
    user = program(tmp_path, code, env=[{"name": "MINE", "value": "my"}], provideClusterInfo=True)
    (tmp_path / "ca.crt").write_text("authority")
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    more = {"certificate-authority": "ca.crt", "tls-server-name": "name", "extensions": [extension]}
    assert await answer(kubeconfig(tmp_path / "c", api.url, user, **more)) == {"ok": 1}
    info, mine, typed = json.loads((tmp_path / "info").read_text())
    assert info == {
        "apiVersion": VERSION,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": api.url,
                "tls-server-name": "name",
                "certificate-authority-data": encoded("authority"),
                "config": {"audience": "a"},
            },
        },
    }
    assert (mine, typed) == ("my", "")


async def test_a_plugins_credentials_are_used_until_they_expire(api: Api, tmp_path: Path) -> None:
    api.objects["/x"] = {}
    api.tokens = {"1", "2"}
    count = tmp_path / "count"
    code = f"""
        count = os.path.getsize({str(count)!r})
        open({str(count)!r}, "a").write("x")
        stamp = "2000-01-01T00:00:00Z" if count == 0 else "2999-01-01T00:00:00Z"
        status = {{"token": str(count + 1), "expirationTimestamp": stamp}}
        print(json.dumps({{"apiVersion": "{VERSION}", "kind": "ExecCredential", "status": status}}))
    """
    count.touch()
    async with await Cluster.open(kubeconfig(tmp_path / "c", api.url, program(tmp_path, code))) as cluster:
        await cluster.json("/x")
        await cluster.json("/x")
        assert [seen["Authorization"] for seen in api.seen] == ["Bearer 2", "Bearer 2"]
        api.tokens = {"3"}  # revoked
        await cluster.json("/x")
    assert count.read_text() == "xxx"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("sys.exit('no session: run `sso login`')", r"exit code 1: no session: run `sso login`"),
        ("print('<html>')", "prints no ExecCredential"),
        ("print('[]')", "prints no ExecCredential"),
        (prints(), "neither a token nor a certificate"),
        (prints(clientCertificateData="x"), "neither a token nor a certificate"),
        (prints(token="x").replace("/v1", "/v1beta1"), "v1beta1"),
    ],
)
async def test_a_plugin_that_fails_is_named(tmp_path: Path, code: str, why: str) -> None:
    with pytest.raises(NoCluster, match=why) as failed:
        await Cluster.open(kubeconfig(tmp_path / "c", "https://x", program(tmp_path, code)))
    assert "plugin.py" in failed.value.message


async def test_no_message_contains_a_plugins_output_or_options(tmp_path: Path) -> None:
    """A plugin may print a bare token, and a client secret is often one of its options."""
    for code in ("print('SECRET')", "sys.exit(1)"):
        user = program(tmp_path, code)
        user["exec"]["args"] += ["get-token", "--client-secret=SECRET", "--password", "SECRET"]
        with pytest.raises(NoCluster, match=r"plugin\.py get-token'") as failed:
            await Cluster.open(kubeconfig(tmp_path / "c", "https://x", user))
        assert "SECRET" not in str(failed.value) + failed.value.hint


async def test_a_failing_plugin_runs_once_for_all_waiting_requests(api: Api, tmp_path: Path) -> None:
    """Otherwise each of a hundred logs would wait for the timeouts of all logs before it."""
    code = f"""
        open({str(tmp_path / "runs")!r}, "a").write("x")
        if os.path.exists({str(tmp_path / "broken")!r}):
            sys.exit("no session")
        {prints(token="secret")}
    """
    async with await Cluster.open(kubeconfig(tmp_path / "c", api.url, program(tmp_path, code))) as cluster:
        api.tokens = {"another"}
        (tmp_path / "broken").touch()
        asked = await asyncio.gather(*(cluster.json("/x") for _ in range(8)), return_exceptions=True)
        assert {type(one) for one in asked} == {NoCluster}
        assert (tmp_path / "runs").read_text() == "xx"
        with pytest.raises(NoCluster, match="no session"):
            await cluster.json("/x")
        assert (tmp_path / "runs").read_text() == "xxx", "a later request does not run the plugin again"
        api.objects["/x"] = {"ok": 1}
        api.tokens = {"secret"}
        assert await cluster.json("/x") == {"ok": 1}


async def test_a_plugin_that_is_not_installed(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": VERSION, "command": "no-such-plugin", "installHint": "install it from the moon"}}
    with pytest.raises(NoCluster, match="no-such-plugin") as failed:
        await Cluster.open(kubeconfig(tmp_path / "c", "https://x", user))
    assert failed.value.hint == "install it from the moon"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "plugin").symlink_to(sys.executable)
    user = {
        "exec": {"apiVersion": VERSION, "command": "./bin/plugin", "args": ["-c", "import json;" + prints(token="x")]}
    }
    assert (await Cluster.open(kubeconfig(tmp_path / "c", "https://x", user))).context == "x"


def is_running(pid: str) -> bool:
    """Return whether a process runs. In a container, an orphan may stay a zombie because no init process reaps it."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def test_a_plugin_that_hangs_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "TIMEOUT_S", 2.0)
    code = f"""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(300)
    """
    with pytest.raises(NoCluster, match=r"plugin\.py' did not end within 2 s"):
        await Cluster.open(kubeconfig(tmp_path / "c", "https://x", program(tmp_path, code)))
    async with asyncio.timeout(120):
        while any(map(is_running, (tmp_path / "pids").read_text().split())):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)


async def test_an_interactive_plugin_needs_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="needs a terminal"):
        await Cluster.open(
            kubeconfig(tmp_path / "c", "https://x", program(tmp_path, prints(token="x"), interactiveMode="Always"))
        )


# --- never another cluster ---


async def test_credentials_are_never_sent_to_another_cluster(api: Api, tmp_path: Path) -> None:
    """`kubectl config use-context` changes nothing. If the context itself leads elsewhere, no server is asked."""
    path = tmp_path / "c"
    kubeconfig(path, api.url)
    async with await Cluster.open(str(path)) as cluster, serving(Api()) as other:
        ran = tmp_path / "ran"
        two = program(tmp_path, f"open({str(ran)!r}, 'w'); {prints(token='two')}")
        document = yaml.safe_load(path.read_text())
        document["clusters"].append({"name": "two", "cluster": {"server": other.url}})
        document["users"].append({"name": "two", "user": two})
        document["contexts"].append({"name": "two", "context": {"cluster": "two", "user": "two"}})
        path.write_text(yaml.safe_dump(document | {"current-context": "two"}))
        api.tokens = {"new"}
        with pytest.raises(NotAllowed):
            await cluster.json("/x")
        document["contexts"][0]["context"] = {"cluster": "two", "user": "two"}
        path.write_text(yaml.safe_dump(document))
        with pytest.raises(ClusterChanged, match=other.url):
            await cluster.json("/x")
        with pytest.raises(ClusterChanged):
            await cluster.json("/x")
        assert cluster.changed.is_set()
        assert {seen["Authorization"] for seen in api.seen} == {"Bearer secret"} and other.seen == []
        assert not ran.exists()
        async with await Cluster.open(str(path), "x") as anew:
            assert anew.host == other.url != cluster.host


async def test_a_cluster_recreated_at_the_same_address(tmp_path: Path) -> None:
    """The cluster and the kubeconfig have a new certificate authority."""
    old, new = Authority(), Authority()
    path = tmp_path / "c"
    async with secure(tmp_path, old) as api:
        kubeconfig(path, api.url, **{"certificate-authority-data": encoded(old.pem)})
        port = int(api.url.rpartition(":")[2])
        cluster = await Cluster.open(str(path))
        assert await cluster.json("/x") == {"ok": 1}
    async with cluster:
        with pytest.raises(ClusterUnreachable):
            await cluster.json("/x")
        async with secure(tmp_path, new, port=port) as api:
            with pytest.raises(ClusterUnreachable, match="certificate"):
                await cluster.json("/x")
            kubeconfig(path, api.url, **{"certificate-authority-data": encoded(new.pem)})
            assert await cluster.json("/x") == {"ok": 1}


async def test_a_cluster_recreated_at_another_address(tmp_path: Path) -> None:
    path = tmp_path / "c"
    async with serving(Api()) as api:
        kubeconfig(path, api.url)
        cluster = await Cluster.open(str(path))
    async with cluster, serving(Api()) as other:
        path.write_text("{]")  # it is being written
        with pytest.raises(ClusterUnreachable) as failed:
            await cluster.json("/x")
        assert not isinstance(failed.value, ClusterChanged)
        kubeconfig(path, other.url)
        with pytest.raises(ClusterChanged):
            await cluster.json("/x")
        assert other.seen == []


async def test_a_context_that_was_removed(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "c"
    kubeconfig(path, api.url)
    async with await Cluster.open(str(path), "y") as cluster:
        document = yaml.safe_load(path.read_text())
        document["contexts"].pop()
        path.write_text(yaml.safe_dump(document))
        api.tokens = {"new"}
        with pytest.raises(ClusterChanged, match="no context 'y' any more"):
            await cluster.json("/x")
