"""The server against its own description, with generated requests."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from server.fake_recorder import CLUSTER, T0
from server.running import TOKEN, Server, run_server
from support.jupyter import Home

from cortex_jupyter.query.language import NAMES
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.openapi import PARAMETERS, document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import SandboxProcess
    from server.fake_recorder import FakeRecorder

# Not formatted: fifty words would take fifty lines.
_FIELDS = (
    "0", "-1", "1", "99999999999999999999", "1e9", "NaN", "all", "10m", "90s", "-5m", "2026-01-31T12:00:00Z", "9999-99-99T00:00:00Z",
    "train-0", "*", "[", "train-[0-9", "main,proxy", "line 0", "(", "(a+)+$", "(?P<a>.)(?P=a)", "loss>=0.5", "loss", ">", "a.b.c==1",
    "warning", "stdout", "true", "maybe", "1-2", "1-2-3-4", "1-1,1-1", "9223372036854775807-9223372036854775807", "json", "text",
    "../../etc/passwd", "a\r\nSet-Cookie: x=1", "\0", "\x1b[31m", "<script>alert(1)</script>", "' OR 1=1 --", "ü" * 300,
    "default:job/done", "http://169.254.169.254/latest", "s3://bucket/x", "file:///etc/passwd", "${jndi:ldap://x}",
)  # fmt: skip
#: Invalid namespaces that look like parts of a path.
NOWHERE = (
    "default/../../nodes/n1/proxy",
    "..",
    ".",
    "default/..",
    "default%2F..",
    "a/b",
    "a\\b",
    "default?x=1",
    "default#",
    "DEFAULT",
    "-l app=x",
    "default:job",
    "é",
    "a\0b",
    "default\r\nX: y",
)
#: Other text that may come in a header or a path.
_ANY = st.one_of(st.sampled_from(_FIELDS), st.text(max_size=40))


@pytest.fixture(scope="module")
def knowing(
    server: Server, sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with the same store, and with the cluster whose tasks are recorded there."""
    home = Home(tmp_path_factory.mktemp("knowing"), sandbox_process.kubeconfig)
    known = {"CORTEX_STORE": server.store_url, "CORTEX_CLUSTER": CLUSTER}
    with run_server(home.path, kubeconfig=home.kubeconfig, **known) as running:
        yield running
    home.end()


@pytest.fixture(scope="module", params=["server", "knowing"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    server: Server = request.getfixturevalue(request.param)
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as client:
        yield client


def test_every_address_and_every_parameter_is_described(client: httpx.Client) -> None:
    served = client.get("cortex/openapi.json").json()
    assert [unquote(one["url"]) for one in served["servers"]] == [client.base_url.path + "cortex"]
    assert served["paths"] == document()["paths"]
    assert tuple(PARAMETERS) == NAMES
    app = CortexJupyter()
    app.handlers = []
    app.initialize_handlers()
    routes = [re.compile(pattern + r"\Z") for pattern, *_ in app.handlers[:-1]]
    paths = ["cortex" + path.format(namespace="a", kind="job", name="b") for path in document()["paths"]]
    described = [any(route.match(path) for path in paths) for route in routes]
    pages = [route.pattern for route, known in zip(routes, described, strict=True) if not known]
    assert pages == [r"cortex/view\Z", r"cortex/static/([^/]+)\Z"], (
        "other addresses than the browser's pages are not described"
    )
    assert all(any(route.match(path) for route in routes) for path in paths)


def _schema(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema | {"components": document()["components"]})


def _conforms(answer: httpx.Response, operation: dict[str, Any]) -> None:
    declared = operation["responses"].get(str(answer.status_code))
    assert declared is not None, f"{answer.status_code} is not described: {answer.text[:200]}"
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in declared["content"], kind
    if kind == "application/json":
        _schema(declared["content"][kind]["schema"]).validate(answer.json())
    assert answer.status_code != 500, answer.text
    assert "Traceback" not in answer.text and TOKEN not in answer.text
    assert "set-cookie" not in answer.headers or "x=1" not in answer.headers["set-cookie"]


@pytest.mark.parametrize("path", document()["paths"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_request_is_answered_as_described(
    client: httpx.Client, completed: FakeRecorder, path: str, data: st.DataObject
) -> None:
    operation = document()["paths"][path]["get"]
    names = [p["name"] for p in operation["parameters"] if p["in"] == "query"]
    ours = {"namespace": "default", "kind": "job", "name": completed.ref.name}
    place = {k: data.draw(st.one_of(st.just(v), st.just(v), _ANY), k) for k, v in ours.items()}
    key = st.sampled_from([*names, "nonsense"]) if names else st.just("nonsense")
    query = data.draw(st.lists(st.tuples(key, _ANY), max_size=4), "query")
    if "task" in names:
        query.append(("task", data.draw(st.one_of(st.just(completed.ref.key), _ANY), "task")))
    url = (
        "cortex"
        + path.format(**{k: quote(v, safe="") for k, v in place.items()})
        + "?"
        + urlencode(query, errors="replace")
    )
    headers = {"Last-Event-ID": data.draw(st.sampled_from([f for f in _FIELDS if f.isascii() and f.isprintable()]))}
    headers |= {"Accept": data.draw(st.sampled_from(["*/*", "text/event-stream", "application/json"]))}
    answer = client.get(url, headers=headers if data.draw(st.booleans()) else {})
    if answer.status_code == 404 and answer.json()["error"]["code"] == "NotFound":
        return  # a name with `/` is another address
    _conforms(answer, operation)


@pytest.mark.parametrize("namespace", NOWHERE)
@pytest.mark.parametrize("selector", ["", "app=x"])
def test_a_namespace_cannot_inject_a_path_of_the_cluster_api(
    client: httpx.Client, namespace: str, selector: str
) -> None:
    """The namespace becomes part of a path of the cluster's API, which the server reads with its own permissions."""
    answer = client.get("cortex/tasks", params={"namespace": namespace, "selector": selector})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "BadQuery", answer.text
    page = client.get("cortex/view", params={"namespace": namespace, "selector": selector})
    assert page.status_code == 400 and ("is no namespace" in page.text or not namespace.isprintable()), page.text
    if namespace.strip("."):  # a client removes a segment of dots
        task = client.get(f"cortex/tasks/{quote(namespace, safe='')}/job/train-1")
        assert task.status_code == 400 and task.json()["error"]["code"] == "BadQuery", task.text


def test_the_default_namespace_is_the_servers_own(client: httpx.Client, completed: FakeRecorder) -> None:
    for address in ("cortex/view?namespace=", "cortex/view", "cortex/tasks?namespace="):
        answer = client.get(address)
        assert answer.status_code == 200 and completed.ref.name in answer.text, answer.text
        assert "Tasks in default" in answer.text or "view" not in address


@pytest.mark.parametrize(
    "task", ["http://169.254.169.254/x", "//evil.test/x", "ml:job/../../nodes", "s3://bucket/x", "a@evil.test:80/x"]
)
def test_a_task_reference_cannot_inject_a_path_of_the_cluster_api(client: httpx.Client, task: str) -> None:
    answer = client.get("cortex/stream", params={"task": task})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "BadQuery", answer.text


_PARTS = st.one_of(
    st.integers(0, 12).map(str),
    st.integers(0, 1 << 64).map(str),
    st.sampled_from(["", "-", "-1", "1e3", "0x1", "٣", " 7", "a", "1,1"]),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_forged_cursor_opens_no_other_recording(
    client: httpx.Client, completed: FakeRecorder, session_recorder: Any, data: st.DataObject
) -> None:
    """Cursors are not signed. They apply only to the recording of the task in the path, whose permission was checked."""
    if not _others:
        _others.append(session_recorder("theirs"))
        _others[0].source()
        _others[0].write([(T0 + 1, 1, "not yours"), (T0 + 2, 1, "not yours")])
        _others[0].end()
    ids = st.sampled_from([str(completed.id), str(_others[0].id), "0"])
    numbers = st.one_of(_PARTS, st.integers(T0 - 10, T0 + 10**12).map(str))
    cursor = "-".join([data.draw(st.one_of(ids, ids, _PARTS)), *data.draw(st.lists(numbers, max_size=4))])
    way, accept = data.draw(
        st.sampled_from(
            [
                ("after", "application/json"),
                ("before", "application/json"),
                ("cursor", "text/event-stream"),
                ("after", "text/event-stream"),
                ("before", "search"),
                ("Last-Event-ID", "text/event-stream"),
            ]
        )
    )
    url = f"cortex/tasks/default/job/{completed.ref.name}/{'search?grep=line' if accept == 'search' else 'logs'}"
    headers = {"Accept": accept} if "/" in accept else {}
    if way == "Last-Event-ID":
        assume(cursor.isascii() and cursor == cursor.strip())
        answer = client.get(url, headers=headers | {way: cursor})
    else:
        answer = client.get(f"{url}{'&' if '?' in url else '?'}{urlencode({way: cursor})}", headers=headers)
    assert answer.status_code in (200, 400, 410), answer.text
    assert "not yours" not in answer.text and "Traceback" not in answer.text
    if answer.status_code == 200:
        assert _texts(answer) <= set(completed.texts) and "InternalError" not in answer.text


_others: list[FakeRecorder] = []


def _texts(answer: httpx.Response) -> set[str]:
    if answer.headers["content-type"].startswith("application/json"):
        return {record["text"] for record in answer.json()["records"]}
    docs = (json.loads(part[6:]) for part in answer.text.splitlines() if part.startswith("data: "))
    return {text for doc in docs for text in doc.get("m", ())}


def test_a_cursor_of_another_recording_shows_none_of_its_records(
    client: httpx.Client, completed: FakeRecorder, session_recorder: Any
) -> None:
    """A cursor of another recording opens nothing, however it is constructed."""
    other = session_recorder("other")
    other.source()
    other.write([(1, 1, "not yours")])
    other.end()
    for cursor in (f"{other.id}-0", f"{other.id}-1", f"{other.id}-1-1-1"):
        for query in ({"after": cursor}, {"before": cursor}, {"cursor": cursor}):
            for accept in ("application/json", "text/event-stream"):
                url = f"cortex/tasks/default/job/{completed.ref.name}/logs"
                answer = client.get(url, params=query, headers={"Accept": accept})
                assert answer.status_code in (400, 410) and "not yours" not in answer.text
                assert set(json.loads(answer.text)) == {"error"}
