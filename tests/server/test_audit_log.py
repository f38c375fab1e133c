"""With an audit log, nothing is read without a record in it: every address is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from server.fake_recorder import T0, FakeRecorder
from server.running import Server, logs, run_server

from cortex_jupyter.errors import AuditError
from cortex_jupyter.server import download, openapi, recording, search, static, stream, tasks, view
from cortex_jupyter.server import logs as pages
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.base import NotFoundHandler
from cortex_jupyter.store.open import open_store
from cortex_jupyter.telemetry.audit import open_audit_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "a line that is nobody's business"
TASK = "default:job/train-1"
#: By handler, the addresses that read a task.
WAYS: dict[type, list[str]] = {
    pages.LogsHandler: [logs("train-1"), f"{logs('train-1')}?follow=true", f"{logs('train-1')}?format=text"],
    stream.StreamHandler: ["cortex/stream?task=job/train-1&since=all"],
    download.DownloadHandler: [logs("train-1", f"logs.{suffix}") for suffix in ("txt", "ndjson", "parquet")],
    recording.SearchHandler: [logs("train-1", "search?grep=business")],
    recording.MetricsHandler: [logs("train-1", "metrics")],
    recording.PatternsHandler: [logs("train-1", "patterns")],
    recording.RanksHandler: [logs("train-1", "ranks")],
    recording.OutlineHandler: [logs("train-1", "outline")],
    search.TasksSearchHandler: [
        "cortex/search?task=job/train-1&grep=business",
        "cortex/search?namespace=default&grep=business",
    ],
    tasks.TaskHandler: ["cortex/tasks/default/job/train-1"],
    view.ViewHandler: ["cortex/view?task=job/train-1"],
}
#: By handler, addresses that answer with no line.
WITHOUT_LINES: dict[type, str] = {
    tasks.NamespacesHandler: "cortex/namespaces",
    tasks.TasksHandler: "cortex/tasks",
    openapi.OpenApiHandler: "cortex/openapi.json",
    static.StaticHandler: "cortex/static/viewer.css",
    NotFoundHandler: "cortex/nothing",
}


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = open_store(f"sqlite://{tmp_path_factory.mktemp('audited')}/store.sqlite")
    fake_recorder = FakeRecorder(store, "train-1")
    fake_recorder.write([(T0, fake_recorder.source(), SECRET), (T0 + 1, fake_recorder.source(), "loss=0.5 step=1")])
    fake_recorder.end()
    yield store.url
    fake_recorder.close()
    store.close()


class Audited:
    """A server with an audit log, and what it has written since the last look."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server, self._path, self._at = server, path, 0

    def records(self, enough: Callable[[list[dict[str, Any]]], object] = len) -> list[dict[str, Any]]:
        """Return the new records, as soon as there are enough of them."""
        end = time.monotonic() + 60
        while True:
            lines = self._path.read_text().splitlines()[self._at :]
            found = [json.loads(line) for line in lines]
            if enough(found):
                self._at += len(found)
                return found
            assert time.monotonic() < end, found
            time.sleep(0.02)


@pytest.fixture(scope="module")
def audited(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    home = tmp_path_factory.mktemp("home")
    path = home / "audit.log"
    options = (f"--CortexJupyter.audit_log={path}", "--CortexJupyter.namespaces=default")
    with run_server(home, *options, CORTEX_STORE=store_url) as server:
        yield Audited(server, path)
        assert SECRET not in path.read_text() and "loss=0.5" not in path.read_text(), "the audit log has a line"
        assert path.stat().st_mode & 0o777 == 0o600


def test_every_handler_is_tried_here() -> None:
    app = CortexJupyter()
    app.initialize_handlers()
    handlers = {handler for _, handler, *_ in app.handlers}
    assert handlers == WAYS.keys() | WITHOUT_LINES.keys(), "a new handler belongs into one of the tables above"
    assert all(handler.is_audited for handler in WAYS)
    assert not any(handler.is_audited for handler in WITHOUT_LINES)


@pytest.mark.parametrize("path", [path for paths in WAYS.values() for path in paths])
def test_each_way_in_is_recorded(audited: Audited, path: str) -> None:
    answer = audited.server.get(path, {"User-Agent": "curl/8"})
    assert answer.status_code == 200, answer.text
    started, ended = audited.records(lambda found: len(found) == 2)
    way = "GET " + path.partition("?")[0].replace("default/job/train-1", "{namespace}/{kind}/{name}")
    for record, event in ((started, "started"), (ended, "ended")):
        assert (record["event"], record["task"], record["user"]) == (event, TASK, "(server token)")
        assert (record["way"], record["from"], record["agent"]) == (f"GET /{way[4:]}", "127.0.0.1", "curl/8")
        assert record["time"].endswith("Z") and record["request"] == started["request"]
    assert (ended["outcome"], ended["status"]) == ("complete", 200)
    assert 0 < ended["bytes"] <= ended["request_bytes"] and ended["seconds"] >= 0
    if path.partition("?")[0] == logs("train-1"):
        assert ended["lines"] == len(answer.json()["records"]) == 2


def test_an_answer_without_a_body_needs_no_record(audited: Audited) -> None:
    """A browser asks with OPTIONS before a request to another origin."""
    server = audited.server
    answer = httpx.options(server.url + logs("train-1"), headers=server.headers, timeout=60)
    assert (answer.status_code, answer.content) == (200, b""), answer.text


@pytest.mark.parametrize("path", WITHOUT_LINES.values())
def test_other_addresses_answer_with_no_line(audited: Audited, path: str) -> None:
    assert SECRET not in audited.server.get(path, namespace="default" if path == "cortex/tasks" else "").text


@pytest.mark.parametrize(
    ("path", "token", "code", "task", "user"),
    [
        (logs("train-1"), False, "NotAllowed", TASK, None),
        (logs("train-1", namespace="other"), True, "NotAllowed", "other:job/train-1", "(server token)"),
        (logs("nobody", "logs.txt"), True, "NoCluster", "default:job/nobody", "(server token)"),
        (f"{logs('train-1')}?grep=(", True, "BadQuery", TASK, "(server token)"),
        ("cortex/search?namespace=other&grep=x", True, "NotAllowed", "other:", "(server token)"),
        ("cortex/stream?task=other:job/train-1", True, "NotAllowed", "other:job/train-1", "(server token)"),
        ("cortex/view?task=other:job/a", True, "NotAllowed", "other:job/a", "(server token)"),
    ],
)
def test_refusals_are_recorded(
    audited: Audited, path: str, token: bool, code: str, task: str, user: str | None
) -> None:
    server = audited.server
    answer = httpx.get(server.url + path, headers=server.headers if token else {}, timeout=60)
    assert answer.status_code >= 400
    (record,) = audited.records()
    assert (record["event"], record["outcome"], record["task"], record["user"]) == ("refused", code, task, user)
    assert record["status"] == answer.status_code


def test_the_page_that_is_shown_first_is_no_refusal(audited: Audited) -> None:
    server = audited.server
    assert httpx.get(f"{server.url}cortex/view?selector=(", headers=server.headers, timeout=60).status_code >= 400
    answer = httpx.get(f"{server.url}cortex/view?task=other:job/b", headers=server.headers, timeout=60)
    assert answer.status_code == 403
    assert [record["task"] for record in audited.records()] == ["other:job/b"]


def test_a_stream_of_several_tasks_has_records_of_each(audited: Audited) -> None:
    answer = audited.server.get("cortex/stream?task=job/train-1&task=other:job/x&since=all")
    assert answer.status_code == 200 and SECRET in answer.text
    found = audited.records(lambda found: len(found) == 3)
    assert [(r["event"], r["task"], r.get("outcome")) for r in found] == [
        ("started", TASK, None),
        ("refused", "other:job/x", "NotAllowed"),
        ("ended", TASK, "complete"),
    ]
    assert 0 < found[2]["bytes"] < found[2]["request_bytes"]


async def test_a_reader_that_goes_away_is_recorded(audited: Audited, store_url: str) -> None:
    store = open_store(store_url)
    fake_recorder = FakeRecorder(store, "running")
    try:
        fake_recorder.write([(T0, fake_recorder.source(), SECRET)])
        async with audited.server.stream(logs("running"), follow="true", since="all") as source:
            async for event in source.aiter_sse():
                if event.event == "log":
                    break
    finally:
        fake_recorder.close()
        store.close()
    started, ended = audited.records(lambda found: len(found) == 2)
    assert (started["event"], ended["event"], ended["outcome"]) == ("started", "ended", "closed")
    assert ended["bytes"] > len(SECRET)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")  # noqa: PTH110 - a device
def test_nothing_is_read_if_the_record_cannot_be_written(store_url: str, tmp_path: Path) -> None:
    """Every write to /dev/full fails, as on a full disk."""
    with run_server(tmp_path, CORTEX_STORE=store_url, CORTEX_AUDIT_LOG="/dev/full") as server:
        for path in (path for paths in WAYS.values() for path in paths):
            answer = server.get(path)
            assert answer.status_code == 503 and SECRET not in answer.text, path
            assert "audit log" in answer.text
        assert server.get("cortex/tasks", namespace="default").status_code == 200, "a list of tasks has no lines"


def test_a_file_that_was_rotated_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = open_audit_log(str(path), "test")
    log.write({"event": "started", "n": 1})
    path.rename(tmp_path / "audit.log.1")
    log.write({"event": "ended", "n": 2})
    assert (json.loads(path.read_text()), path.stat().st_mode & 0o777) == ({"event": "ended", "n": 2}, 0o600)
    assert json.loads((tmp_path / "audit.log.1").read_text())["n"] == 1
    with pytest.raises(AuditError, match=r"cannot be opened: No such file"):
        open_audit_log(str(tmp_path / "nowhere" / "audit.log"), "test")


@pytest.mark.parametrize(("target", "stream"), [("stderr", "stderr"), ("otel", "stdout")])
def test_records_go_to_standard_error_and_to_opentelemetry(target: str, stream: str) -> None:
    program = (
        "from cortex_jupyter.telemetry.audit import open_audit_log\n"
        f"open_audit_log({target!r}, 'the service').write({{'event': 'refused', 'task': 'ml:job/a', 'user': None}})"
    )
    env = os.environ | {"OTEL_LOGS_EXPORTER": "console"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    record = json.loads(getattr(done, stream))
    if target == "stderr":
        assert record == {"event": "refused", "task": "ml:job/a", "user": None}
        return
    assert record["event_name"] == "cortex.audit.refused" and json.loads(record["body"])["task"] == "ml:job/a"
    assert record["attributes"] == {"cortex.audit.event": "refused", "cortex.audit.task": "ml:job/a"}
    assert record["resource"]["attributes"]["service.name"] == "the service"


def test_a_missing_exporter_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "nothing")
    with pytest.raises(AuditError, match="no exporter 'nothing'") as caught:
        open_audit_log("otel", "test")
    assert "cortex-jupyter[otel]" in caught.value.hint
