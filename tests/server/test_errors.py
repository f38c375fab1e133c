from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from server.running import TOKEN, logs, run_server
from support.valkey import Server as Valkey

import cortex_jupyter
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.deletion import Deletion
from cortex_jupyter.store.settings import write_quota

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.fake_recorder import FakeRecorder
    from server.running import Server

    from cortex_jupyter.store import Store

SSE = {"Accept": "text/event-stream"}


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ({"since": "soon"}, "since='soon' is no duration and no time", "90s"),
        ({"since": "90"}, "since='90'", "did you mean 90s?"),
        ({"until": "all"}, "until='all'", "RFC 3339"),
        ({"since": "1m", "until": "2m"}, "since is later than until", "from since to until"),
        ({"tail": "-1"}, "tail='-1' is not a number, 0 or more", "tail"),
        ({"limit": "0"}, "limit='0' is not a number from 1 to 10000", "limit"),
        ({"limit": "10001"}, "limit='10001'", "other pages"),
        ({"grep": "("}, "missing ), unterminated subpattern at position 0", r"\("),
        ({"exclude": "[z-a]"}, "exclude='[z-a]' is no regular expression", "backslash"),
        ({"grep": "(a+)+"}, "nested repetitions", "leave one"),
        ({"level": "loud"}, "level='loud' is no level", "trace, debug, info, warning, error, critical"),
        ({"stream": "stdin"}, "stream='stdin' is no stream", "stdout, stderr"),
        ({"follow": "perhaps"}, "neither true nor false", "follow=true"),
        ({"contaner": "main"}, "there is no parameter 'contaner'", "did you mean 'container'?"),
        ({"nonsense": "1"}, "there is no parameter 'nonsense'", "parameters are"),
        ({"before": "1-2", "after": "1-2"}, "both before and after are given", "not both"),
        ({"after": "here"}, "'here' is no cursor", "`id:` of an event"),
        ({"after": "1-2", "tail": "3"}, "tail is given with a cursor", "limit"),
        ({"cursor": "1-2"}, "a page does not take cursor", "after=`newer`"),
        ({"format": "xml"}, "there is no format 'xml'", "format=json or format=text"),
        ({"since": ["1m", "2m"]}, "'since' is given 2 times", "once"),
    ],
)
def test_bad_queries(server: Server, completed: FakeRecorder, query: dict[str, str], message: str, hint: str) -> None:
    status, error = server.error(logs(completed.ref.name), **query)
    assert (status, error["code"]) == (400, "BadQuery")
    assert message in error["message"] and hint in error["hint"]


@pytest.mark.parametrize("query", [{"before": "1-2"}, {"cursor": "1-2-3-4"}, {"cursor": "1-1,1-2"}, {"cursor": "no"}])
def test_bad_queries_of_a_stream_have_an_error_status(
    server: Server, completed: FakeRecorder, query: dict[str, str]
) -> None:
    status, error = server.error(logs(completed.ref.name), SSE, **query)
    assert (status, error["code"]) == (400, "BadQuery")


def test_a_query_is_checked_before_the_task_is_searched(server: Server) -> None:
    assert server.error(logs("nobody"), tail="-1")[0] == 400


@pytest.mark.parametrize("path", [logs("X_Y"), logs("a", kind="job_b"), logs("a", namespace="A")])
def test_bad_names(server: Server, path: str) -> None:
    status, error = server.error(path)
    assert (status, error["code"]) == (400, "BadQuery") and error["hint"]


def test_containers_and_pods_that_the_task_does_not_have(server: Server, completed: FakeRecorder) -> None:
    status, error = server.error(logs(completed.ref.name), container="mian")
    assert (status, error["code"]) == (404, "ContainerNotFound")
    assert error["hint"] == "it has main, proxy"
    assert server.error(logs(completed.ref.name), SSE, pod="train-9")[1]["hint"] == "it has train-0, train-1"
    assert server.error(logs(completed.ref.name), container="main,mian")[0] == 404
    assert len(server.page(completed.ref.name, container="main,proxy")["records"]) == 1000
    assert server.page(completed.ref.name, pod="train-9*")["records"] == [], (
        "a glob that matches no pod is not an empty page"
    )


@pytest.mark.parametrize(
    "query",
    [
        {"headers": SSE, "cursor": "999999-5"},
        {"headers": SSE | {"Last-Event-ID": "999999-5"}},
        {"after": "999999-5"},
        {"before": "999999-5-1-1"},
    ],
)
def test_cursors_of_another_recording(server: Server, completed: FakeRecorder, query: dict[str, str]) -> None:
    status, error = server.error(logs(completed.ref.name), **query)  # type: ignore[arg-type]
    assert (status, error["code"], error["hint"]) == (410, "CursorNotHeld", "start again without a cursor")


def test_a_cursor_of_a_recording_that_has_left_the_store(
    server: Server, store: Store, session_recorder: Callable[[str], FakeRecorder]
) -> None:
    fake_recorder = session_recorder("left")
    fake_recorder.source()
    fake_recorder.write([(1, 1, "a")])
    fake_recorder.end()
    assert store.forget(fake_recorder.id)
    for query in ({"headers": SSE, "cursor": f"{fake_recorder.id}-1"}, {"after": f"{fake_recorder.id}-1"}):
        status, error = server.error(logs(fake_recorder.ref.name), **query)  # type: ignore[arg-type]
        assert (status, error["code"]) == (410, "CursorNotHeld")
        assert "store_max_bytes" in error["hint"]
    namespace = fake_recorder.ref.namespace
    write_quota(store, namespace, {"max-bytes": "20GB", "max-age": "7d"}, "the test")
    hint = server.error(logs(fake_recorder.ref.name), after=f"{fake_recorder.id}-1")[1]["hint"]
    write_quota(store, namespace, {"max-bytes": "", "max-age": ""}, "the test")
    assert f"recordings of namespace {namespace} are kept up to 20 GB and 7 days after a task's end" in hint
    assert server.error(logs(fake_recorder.ref.name))[0] in (404, 502)


def test_a_deleted_recording(server: Server, store: Store, session_recorder: Callable[[str], FakeRecorder]) -> None:
    fake_recorder = session_recorder("deleted")
    fake_recorder.source()
    fake_recorder.write([(1, 1, "a")])
    fake_recorder.end()
    ref, other = fake_recorder.ref, TaskRef("default", "job", "not-this-one")
    fields = (fake_recorder.cluster, ref.namespace, ref.kind, ref.name, f"uid-{ref.name}", "root@host", 1.8e9)
    store.delete(Deletion(fake_recorder.id, *fields))
    for query in ({"headers": SSE}, {}, {"headers": SSE, "cursor": f"{fake_recorder.id}-1"}):
        status, error = server.error(logs(ref.name), **query)  # type: ignore[arg-type]
        assert (status, error["code"]) == (404, "RecordingDeleted")
        assert f"{ref.key} was deleted 2027-01-15 08:00 UTC by root@host" in error["message"]
    error = server.error(logs(other.name), after=f"{fake_recorder.id}-1")[1]
    assert ref.name not in error["message"] + error["hint"], "a cursor tells the name of another task"
    page = server.get(f"cortex/view?task={ref.key}")
    assert page.status_code == 404 and "was deleted" in page.text
    assert "You may read" not in page.text, "its namespace is not what is refused"


def test_a_cursor_beyond_the_recording(server: Server, completed: FakeRecorder) -> None:
    assert server.error(logs(completed.ref.name), SSE, cursor=f"{completed.id}-99999")[1]["code"] == "CursorNotHeld"


def test_no_cluster_and_nothing_recorded(server: Server) -> None:
    for path in (logs("nobody"), "cortex/tasks/default/job/nobody", logs("nobody", "logs.txt")):
        status, error = server.error(path)
        assert (status, error["code"]) == (502, "NoCluster") and "KUBECONFIG" in error["hint"]


def test_a_stream_of_no_tasks_or_too_many_is_refused(server: Server) -> None:
    assert server.error("cortex/stream")[1]["message"] == "no task is named"
    assert server.error("cortex/stream", task=["a"] * 51)[0] == 429
    assert server.error("cortex/stream", task="a", cursor="1-1,1-1")[0] == 400
    assert server.error("cortex/stream", task="a", tsk="b")[1]["hint"] == "did you mean 'task'?"
    assert server.error("cortex/stream", task="nobody")[0] == 502, (
        "the error of a stream's only task is not the error of the answer"
    )


def test_unknown_addresses(server: Server) -> None:
    assert server.error("cortex/nothing")[1]["code"] == "NotFound"
    assert server.error("cortex/tasks", nmespace="a")[0] == 400
    response = httpx.post(server.url + "cortex/tasks", headers=server.headers)
    assert response.status_code == 405 and response.json()["error"]["code"] == "MethodNotAllowed"


def test_recorded_tasks_are_listed_without_a_cluster(server: Server, completed: FakeRecorder) -> None:
    tasks = server.get("cortex/tasks").json()["tasks"]
    [row] = [t for t in tasks if t["task"] == completed.ref.key]
    assert row["recorded"] and row["state"] == "succeeded" and row["exit_code"] == 0 and row["pods"] == 0
    one = server.get(f"cortex/tasks/default/job/{completed.ref.name}").json()
    assert one["recorded"]["records"] == 1000 and one["recorded"]["complete"] and one["pods"] == [] == one["events"]


# ---------------------------------------------------------------- authorization


PATHS = [
    "cortex/tasks",
    "cortex/tasks/default/job/a",
    logs("a"),
    logs("a", "logs.txt"),
    "cortex/stream?task=a",
    "cortex/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_requests_without_the_token_are_refused(server: Server, path: str) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, SSE):
        response = httpx.get(server.url + path, headers=headers)
        assert response.status_code == 403 and response.json()["error"]["code"] == "NotAllowed"


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_other_origins_are_refused(server: Server, completed: FakeRecorder, path: str) -> None:
    cookies = httpx.get(server.url + "lab", params={"token": TOKEN}).cookies
    with httpx.Client(cookies=cookies) as client:
        assert client.get(server.url + "cortex/tasks").status_code == 200
        response = client.get(server.url + path, headers={"Origin": "https://evil.test"})
    assert response.status_code == 404 and response.json()["error"]["code"] == "NotFound"


def test_an_authorizer_decides(tmp_path: Path) -> None:
    (tmp_path / "strict.py").write_text(
        "from jupyter_server.auth.authorizer import Authorizer\n"
        "class Strict(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return not (resource == 'cortex-jupyter' and action == 'read')\n"
    )
    options = ("--ServerApp.authorizer_class=strict.Strict",)
    with run_server(tmp_path, *options, PYTHONPATH=str(tmp_path)) as server:
        assert server.get("api/status").status_code == 200
        for path in PATHS:
            status, error = server.error(path)
            assert (status, error["code"]) == (403, "NotAllowed"), path


def test_limits_and_namespaces_of_a_server(tmp_path: Path, server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.running()
    options = (
        "--CortexJupyter.max_streams=1",
        "--CortexJupyter.max_tasks_per_stream=2",
        "--CortexJupyter.namespaces=default",
        "--CortexJupyter.namespaces=ml",
    )
    with run_server(tmp_path, *options, CORTEX_STORE=server.store_url) as small:
        status, error = small.error(logs("a", namespace="secret"))
        assert (status, error["code"], error["hint"]) == (403, "NotAllowed", "it serves default, ml")
        assert small.error("cortex/tasks", namespace="secret")[0] == 403
        assert small.error("cortex/tasks/secret/job/a")[0] == 403
        assert small.error("cortex/stream", task="secret:a")[0] == 403
        assert small.error("cortex/stream", task=["a", "b", "c"])[0] == 429
        for _ in range(3):  # a leaving reader frees its slot soon
            with _when_free(small, fake_recorder):
                status, error = small.error(logs(fake_recorder.ref.name), follow="true")
                assert (status, error["code"]) == (429, "LimitReached") and "max_streams" in error["hint"]
    assert "Traceback" not in small.log.read_text()


@contextlib.contextmanager
def _when_free(small: Server, fake_recorder: FakeRecorder) -> Iterator[None]:
    """Keep the only allowed stream of a server open, as soon as it is free."""
    for _ in range(100):
        url = small.url + logs(fake_recorder.ref.name)
        with httpx.stream("GET", url, params={"follow": "true"}, headers=small.headers) as response:
            if response.status_code == 200:
                parts = response.iter_raw()  # keep a reference: httpx closes the connection with its iterator
                next(parts)
                yield
                return
    raise AssertionError("the slot of a reader that left is still taken")


@pytest.mark.parametrize(("content", "code"), [(b"this is no database" * 100, "StoreError"), (None, "StoreError")])
def test_an_unusable_store_is_reported(tmp_path: Path, content: bytes | None, code: str) -> None:
    path = tmp_path / "recordings.sqlite"
    path.write_bytes(content) if content else path.mkdir()
    with run_server(tmp_path, CORTEX_STORE=f"sqlite:///{path}") as broken:
        status, error = broken.error(logs("a"))
        assert (status, error["code"]) == (500, code) and str(path) in error["message"] and error["hint"]
    assert "Traceback" not in broken.log.read_text()


# ---------------------------------------------------------------- the extension in its server


def test_the_extension_is_enabled_by_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "jupyter_server_config.d"
    folder.mkdir()
    shutil.copy(Path(cortex_jupyter.__file__).parent / "etc" / "cortex_jupyter.json", folder)
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "server", "extension", "list"],
        env={
            "PATH": str(Path(sys.executable).parent),
            "HOME": str(tmp_path),
            "JUPYTER_CONFIG_PATH": str(tmp_path),
            "JUPYTER_PLATFORM_DIRS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "cortex_jupyter" in line]
    assert any("enabled" in line for line in lines) and any("OK" in line for line in lines), done.stdout + done.stderr


def test_no_text_of_a_log_and_no_token_in_the_server_log(server: Server, completed: FakeRecorder) -> None:
    server.page(completed.ref.name)
    server.error(logs(completed.ref.name), tail="-1")
    log = server.log.read_text()
    assert "loss=0." not in log and TOKEN not in log and "Traceback" not in log


def test_a_failure_of_our_own_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("")
    (tmp_path / "jupyter_server_config.py").write_text(
        "from cortex_jupyter.server import recording\n"
        "from cortex_jupyter.server.service import Service\n"
        "class Found: ref = None\n"
        "async def find(*_): return Found\n"
        "async def fail(self): raise RuntimeError('a secret')\n"
        "async def measured(*_):\n"
        "    yield b': begun\\n'\n"
        "    raise RuntimeError('a secret')\n"
        "Service.recordings, Service.find = fail, find\n"
        "recording.MetricsHandler.events_of = staticmethod(measured)\n"
    )
    with run_server(tmp_path, f"--config={tmp_path / 'jupyter_server_config.py'}") as broken:
        status, error = broken.error("cortex/tasks")
        page = broken.get("cortex/view")
        assert broken.refused("InternalError") == 2
        assert broken.get(logs("any", "metrics")).text == ": begun\n", "more was sent after the failure"
        assert broken.refused("InternalError") == 3
    assert (status, error["code"]) == (500, "InternalError") and "secret" not in json.dumps(error)
    assert page.status_code == 500 and "bug of cortex-jupyter" in page.text and "secret" not in page.text


def test_a_failure_is_logged_with_its_reason_and_without_headers(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An administrator finds code, message and hint in one line, already at start, and nothing about the reader's browser."""
    with (
        Valkey(tmp_path_factory.mktemp("valkey"), requirepass="right") as valkey,
        run_server(tmp_path, CORTEX_STORE=valkey.url, CORTEX_STORE_PASSWORD="wrong-word") as server,
    ):
        until = time.monotonic() + 120
        while "CRITICAL" not in (said := server.log.read_text()):
            assert time.monotonic() < until, said
            time.sleep(0.05)
        of_start = next(line for line in said.splitlines() if "CRITICAL" in line)
        for part in ("refuses the user or the password", "CORTEX_STORE_PASSWORD", "code=StoreError"):
            assert part in of_start
        before = len(said)
        status, error = server.error(
            logs("train-1"), {"User-Agent": "a-browser", "Referer": "http://a-page/"}, grep="x9"
        )
        assert (status, error["code"]) == (500, "StoreError")
        assert server.refused("StoreError") == 1
        while "code=StoreError" not in (said := server.log.read_text()[before:]):
            assert time.monotonic() < until, said
            time.sleep(0.05)
        (line,) = (line for line in said.splitlines() if "code=StoreError" in line)
        for part in ("GET /cortex/tasks/{namespace}/{kind}/{name}/logs", " 500 ", error["message"], error["hint"]):
            assert part in line
        for part in ("a-browser", "a-page", "User-Agent", "x9", "wrong-word", "train-1"):
            assert part not in said
        metrics = server.get("metrics").text
        assert re.search(r'http_request_duration_seconds_count{.*status_code="500"} 1', metrics)


def test_a_store_that_is_not_configured_is_not_opened_at_start(tmp_path: Path) -> None:
    with run_server(tmp_path, CORTEX_STORE="") as server:
        assert server.get("api").status_code == 200
        assert not [*tmp_path.rglob("recordings.sqlite")]
