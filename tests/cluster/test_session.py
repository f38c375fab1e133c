"""Configuration, authentication and errors of one cluster."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cluster.conftest import kubeconfig, status
from support.authority import Authority

from cortex_jupyter.cluster import configuration, session
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import ClusterError, ClusterUnreachable, NoCluster, NotAllowed, NotFound

if TYPE_CHECKING:
    from pathlib import Path


def answering(code: int, body: str) -> Any:
    async def answer(_: web.Request) -> web.Response:
        return status(code, body) if code != 599 else web.Response(status=200, text=body)

    return answer


async def test_a_document(api: Any, cluster: Cluster) -> None:
    api.objects["/version"] = {"minor": "32"}
    assert await cluster.json("/version", {"a": "b c"}) == {"minor": "32"}
    assert api.requests == ["GET /version?a=b+c"]
    assert cluster.host == api.url


@pytest.mark.parametrize(
    ("code", "kind"), [(403, NotAllowed), (404, NotFound), (422, ClusterError), (500, ClusterError)]
)
async def test_a_status_is_an_error_with_the_servers_message(
    api: Any, cluster: Cluster, code: int, kind: type[Exception]
) -> None:
    api.objects["/x"] = answering(code, "the server's words")
    with pytest.raises(kind, match="the server's words"):
        await cluster.json("/x")


async def test_an_answer_that_is_not_json_is_a_cluster_error(api: Any, cluster: Cluster) -> None:
    api.objects["/x"] = answering(599, "<html>log in</html>")
    with pytest.raises(ClusterError):
        await cluster.json("/x")


async def test_a_truncated_document_is_an_outage(api: Any, cluster: Cluster) -> None:
    async def cut(_: web.Request) -> web.Response:
        return web.Response(body=b'{"items": [{"meta', content_type="application/json")

    api.objects["/x"] = cut
    with pytest.raises(ClusterUnreachable, match="broke off its answer"):
        await cluster.json("/x")


async def test_a_stream_whose_answer_never_begins_is_an_outage(
    api: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANSWER_S", 0.2)

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    api.objects["/x"] = never
    with pytest.raises(ClusterUnreachable, match=r"did not answer within 0\.2 s"):
        async with cluster.request("/x"):
            pass


async def test_an_expired_token_is_read_again_once(api: Any, cluster: Cluster, tmp_path: Path) -> None:
    api.objects["/x"] = {}
    api.tokens = {"renewed"}
    kubeconfig(tmp_path / "config", api.url, {"token": "renewed"})
    assert await cluster.json("/x") == {}
    assert len(api.requests) == 2
    api.tokens = set()
    with pytest.raises(NotAllowed, match="does not know who you are"):
        await cluster.json("/x")
    assert len(api.requests) == 4


async def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    async with await Cluster.open(kubeconfig(tmp_path / "c", "http://127.0.0.1:9")) as cluster:
        with pytest.raises(ClusterUnreachable, match="does not answer"):
            await cluster.json("/version")


async def test_an_answer_that_breaks_off(api: Any, cluster: Cluster) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    api.objects["/x"] = broken
    with pytest.raises(ClusterUnreachable):
        await cluster.json("/x")


async def test_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(NoCluster, match="no kubeconfig"):
        await Cluster.open()
    (tmp_path / "bad").write_text("{]")
    with pytest.raises(NoCluster, match="cannot be used"):
        await Cluster.open(str(tmp_path / "bad"))
    kubeconfig(tmp_path / "good", "http://x")
    with pytest.raises(NoCluster, match="cannot be used"):
        await Cluster.open(str(tmp_path / "good"), "no-such-context")


async def test_the_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kubeconfig(tmp_path / "c", "http://x")
    monkeypatch.setenv("KUBECONFIG", path)
    monkeypatch.delenv("CORTEX_NAMESPACE", raising=False)
    assert (await Cluster.open()).namespace == "team"
    assert (await Cluster.open(context="y")).namespace == "other"
    monkeypatch.setenv("CORTEX_NAMESPACE", "mine")
    assert (await Cluster.open()).namespace == "mine"


async def test_a_credential_plugin(api: Any, tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "secret"},
    }
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "interactiveMode": "Never",
        "args": ["-c", f"print({json.dumps(json.dumps(credential))})"],
    }
    api.objects["/x"] = {"ok": 1}
    async with await Cluster.open(kubeconfig(tmp_path / "c", api.url, {"exec": plugin})) as cluster:
        assert await cluster.json("/x") == {"ok": 1}


async def test_inside_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("token", "secret\n"), ("namespace", "pods-own"), ("ca.crt", Authority().pem)):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(configuration, "_SERVICE_ACCOUNT", tmp_path)
    cluster = await Cluster.open()
    assert (cluster.host, cluster.namespace) == ("https://10.0.0.1:443", "pods-own")
    assert await cluster._headers() == [("Authorization", "Bearer secret")]
    # The kubelet replaces the token before it expires.
    (tmp_path / "token").write_text("renewed")
    monkeypatch.setattr(configuration, "_TOKEN_FILE_S", 0)
    assert await cluster._headers() == [("Authorization", "Bearer renewed")]
    # Many clusters have this address: a store must tell them apart, but know a restarted pod's cluster again.
    assert (await Cluster.open()).id == cluster.id != cluster.host
    (tmp_path / "ca.crt").write_text(Authority().pem)
    assert (await Cluster.open()).id != cluster.id
    monkeypatch.setenv("CORTEX_CLUSTER", "prod-1")
    assert (await Cluster.open()).id == "prod-1"


async def test_a_proxy(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.objects["http://cluster.example/x"] = api.objects["/x"] = {"by": "proxy"}
    path = kubeconfig(tmp_path / "c", "http://cluster.example", **{"proxy-url": api.url})
    async with await Cluster.open(path) as cluster:
        assert await cluster.json("/x") == {"by": "proxy"}


async def test_a_renewed_configuration_gets_a_pool_of_its_own(api: Any, cluster: Cluster, tmp_path: Path) -> None:
    """A client certificate may be new. Open responses of the old pool go on."""
    api.objects["/x"] = {}
    api.objects["/old"] = answering(599, "{}")
    async with cluster.request("/old") as open_one:
        old = cluster._session
        api.tokens = {"renewed"}
        kubeconfig(tmp_path / "config", api.url, {"token": "renewed"})
        assert await cluster.json("/x") == {}
        assert old is not None and cluster._session is not old
        assert await open_one.read() == b"{}"
    await cluster.close()
    assert old.closed


async def test_answers_set_the_clock(api: Any, cluster: Cluster) -> None:
    async def late(_: web.Request) -> web.Response:
        return web.json_response({}, headers={"Date": formatdate(time.time() - 3600, usegmt=True)})

    api.objects["/x"] = late
    await cluster.json("/x")
    assert -3601.5 < cluster.clock.offset < -3598.5


async def test_a_busy_server_is_asked_again_after_its_retry_after(api: Any, cluster: Cluster) -> None:
    asked: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        asked.append(time.monotonic())
        busy = status(429, "Too many requests")
        busy.headers["Retry-After"] = "1"
        return web.json_response({}) if len(asked) == 2 else busy

    api.objects["/x"] = answer
    assert await cluster.json("/x") == {}
    assert asked[1] - asked[0] >= 1

    async def at_once(_: web.Request) -> web.Response:
        asked.append(time.monotonic())
        return web.Response(status=429 if len(asked) == 3 else 200, headers={"Retry-After": "0"}, text="{}")

    api.objects["/x"] = at_once
    assert await cluster.json("/x") == {}
    assert asked[3] - asked[2] >= 1, "a server that stays busy is asked again without a pause"

    async def never(_: web.Request) -> web.Response:
        busy = status(429, "come back tomorrow")
        busy.headers["Retry-After"] = "86400"
        return busy

    api.objects["/y"] = never
    with pytest.raises(ClusterError, match="come back tomorrow"):
        await cluster.json("/y")
