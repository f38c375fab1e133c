"""Pages of other sites cannot read: checks of host name, origin and content type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from server.running import _TLS, TOKEN, Server, logs

from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.redaction import route

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder

#: Every address, with `{}` for the name of a task.
ADDRESSES = (
    "cortex/namespaces",
    "cortex/tasks",
    "cortex/tasks/default/job/{}",
    *(logs("{}", end) for end in ("logs", "logs.txt", "logs.ndjson", "logs.parquet")),
    logs("{}", "outline"),
    logs("{}", "search?grep=line"),
    logs("{}", "metrics"),
    logs("{}", "patterns"),
    logs("{}", "ranks"),
    "cortex/search?task=job/{}&grep=line",
    "cortex/stream?task=job/{}&since=all",
    "cortex/openapi.json",
    "cortex/view?task=job/{}",
    "cortex/view",
    "cortex/static/viewer.css",
    "cortex/nothing",
)


def ask(server: Server, address: str, completed: FakeRecorder, method: str = "GET", **headers: str) -> httpx.Response:
    return httpx.request(
        method,
        server.url + address.format(completed.ref.name),
        headers=server.headers | headers,
        timeout=60,
        verify=_TLS,
    )


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "127.0.0.1.evil.example", "169.254.169.254"])
def test_requests_with_a_foreign_host_name_are_refused(
    server: Server, completed: FakeRecorder, address: str, host: str
) -> None:
    """DNS rebinding: another site lets its own name point to this machine, so a browser takes the answers for that site's."""
    host = host.format(httpx.URL(server.url).port)
    for credentials in (f"token {TOKEN}", ""):
        answer = ask(server, address, completed, Host=host, Authorization=credentials)
        assert answer.status_code == 403 and "line 00" not in answer.text and completed.ref.name not in answer.text
        assert "set-cookie" not in answer.headers
    assert ask(server, address, completed, Host=f"localhost:{httpx.URL(server.url).port}").status_code in (200, 404)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_get_is_answered_so_other_sites_cannot_change_anything(
    server: Server, completed: FakeRecorder, address: str, method: str
) -> None:
    assert ask(server, address, completed, method).status_code == 405, "the method is allowed with the server's token"
    with httpx.Client(timeout=60, verify=_TLS) as browser:
        # A browser that has signed in sends its cookie with each request, whichever site causes the request.
        assert browser.get(f"{server.url}cortex/view?token={TOKEN}").status_code == 200
        assert browser.get(server.url + "cortex/tasks").status_code == 200
        answer = browser.request(
            method, server.url + address.format(completed.ref.name), headers={"Origin": "https://evil.example"}
        )
        assert answer.status_code in (403, 404) and "line 00" not in answer.text


@pytest.mark.parametrize("address", [a for a in ADDRESSES if "view" not in a])
def test_other_sites_cannot_read_with_a_browsers_cookie(server: Server, completed: FakeRecorder, address: str) -> None:
    with httpx.Client(timeout=60, verify=_TLS) as browser:
        assert browser.get(f"{server.url}cortex/view?token={TOKEN}").status_code == 200
        answer = browser.get(
            server.url + address.format(completed.ref.name), headers={"Origin": "https://evil.example"}
        )
        assert answer.status_code == 404 and "line 00" not in answer.text
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_answers_have_a_safe_content_type_and_run_no_script(
    server: Server, completed: FakeRecorder, address: str, token: str
) -> None:
    """This applies to JSON, event streams, files, pages and errors: a line may look like HTML with a script."""
    answer = ask(server, address, completed, Authorization=f"token {token}")
    assert answer.headers["x-content-type-options"] == "nosniff"
    parts = [part.split() for part in answer.headers["content-security-policy"].split(";") if part.strip()]
    policy = {name: values for name, *values in parts}
    assert policy["default-src"] == ["'none'"] and policy["frame-ancestors"] == ["'self'"]
    # Only our own script can make a blob: address.
    scripts = ["'self'", "blob:"] if "cortex/view" in address else ["'self'"]
    assert "'unsafe-inline'" not in str(policy) and policy.get("script-src", scripts) == scripts
    if ".txt" in address or ".ndjson" in address or ".parquet" in address:
        assert token != TOKEN or answer.headers["content-disposition"].startswith("attachment")
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind != "text/html" or "view" in address


def test_every_handler_is_tested_here() -> None:
    app = CortexJupyter()
    app.handlers = []
    app.initialize_handlers()
    for pattern, *_ in app.handlers:
        assert any(re.fullmatch(pattern, address.partition("?")[0].format("x")) for address in ADDRESSES), pattern


def test_traces_name_each_address_without_the_names_in_it() -> None:
    paths = [address.partition("?")[0].format("secret") for address in ADDRESSES]
    assert [path for path in paths if route(path) == "/cortex/{other}"] == ["cortex/nothing"]
    assert not any("secret" in route(path) for path in paths)


@pytest.mark.parametrize("times", [2, 100, 6000])
def test_clusters_in_clusters_are_no_address_however_many(times: int) -> None:
    """The address of a stranger's request is replaced too, so it must not cost more the deeper it is."""
    assert route("cortex/" + "clusters/a/" * times + "tasks") == "/cortex/{other}"
