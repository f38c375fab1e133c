"""Our own logs have no line of a task and no token: recorder, archiver, server and its processes, at the debug level."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from server.running import TOKEN, logs, records, run_server
from support.jupyter import Home
from support.kube import python_job

from cortex_jupyter.server import redaction
from cortex_jupyter.server.app import CortexJupyter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess
    from server.running import Server
    from support.kube import Kube

MARK = "Zm9vYmFyIHNlY3JldA"
#: Lines of one program that may confuse a parser, a terminal or a log of logs.
HOSTILE = f"""
import sys
out = sys.stdout.buffer
for line in [
    b"{MARK} plain", b"\\xff\\xfe{MARK}\\x80", b"\\x1b]0;{MARK}\\x07\\x1b[2J", b"{MARK} 10%\\r{MARK} 20%", b"\\x00{MARK}",
    b'{{"level": "error", "msg": "{MARK}", "n": 1e999, "deep": ' + b"[" * 500, b"level=error msg={MARK} loss=nan step=1",
    b"2026-01-01T00:00:00.000000000Z {MARK}", b"unable to retrieve container logs for {MARK}", b"E0101 00:00:00.0 1 a.go:1] {MARK}",
    b"{MARK}" * 20_000, b"Traceback (most recent call last):", b'  File "a", line 1', b"ValueError: {MARK}", b"token ghp_{MARK}",
    b"event: end", b"data: {MARK}", b"", b"%s %d {MARK} {{}}", b"loss={MARK}", b"step=1 loss=0.5 acc=0.25", b"no end {MARK}",
]:
    out.write(line + b"\\n")
    out.flush()
sys.exit(3)
"""


async def test_our_logs_have_no_line_and_no_token(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, home = unique("hostile"), Home(tmp_path, sandbox.kubeconfig)
    sandbox.fault("abort", pod=f"{name}-.*", after_bytes=20_000, count=1)
    loud = {"CORTEX_LOG_FORMAT": "json", "CORTEX_LOG_LEVEL": "debug", "CORTEX_ARCHIVE": str(tmp_path / "archive")}
    kube.create(python_job(name, HOSTILE))
    try:
        with run_server(tmp_path, "--Application.log_level=DEBUG", kubeconfig=home.kubeconfig, **loud) as server:
            events = await server.events(logs(name), follow="true", since="all")
            assert sum(MARK in text for _, text in records(events)) > 15
            for path, query in (
                (logs(name), {"level": "warning"}),
                (logs(name, "search"), {"grep": "plain"}),
                (logs(name, "metrics"), {}),
                (logs(name, "outline"), {}),
                (logs(name, "logs.parquet"), {"where": "loss<1"}),
                (logs(name, "logs.txt"), {}),
                (f"cortex/tasks/default/job/{name}", {}),
                (f"cortex/stream?task={name}&token={TOKEN}", {}),
                ("cortex/search", {"search": "plain OR secret"}),
            ):
                assert server.get(path, **query).status_code == 200, path
            assert server.error(logs(name), grep="(")[0] == 400
            log = server.log.parent / "store" / "recorder.log"
            until = time.monotonic() + 120
            while "archived in" not in log.read_text():
                assert time.monotonic() < until, log.read_text()
                await asyncio.sleep(0.05)
    finally:
        home.end()
    of_recorder, of_server = log.read_text(), server.log.read_text()
    for said in (of_recorder, of_server):
        assert MARK not in said and MARK[:10] not in said and TOKEN not in said
    docs = [json.loads(line) for line in of_recorder.splitlines()]
    assert {"debug", "info"} <= {doc["level"] for doc in docs} and "traceback" not in of_recorder
    read = next(doc for doc in docs if doc["message"].startswith("its log was read"))
    assert read["task"] == f"default:job/{name}" and read["source"].startswith(name) and read["recorder"]
    assert read["seconds"] >= 0
    signalled = ("got SIG", "ended")  # by the end of this test
    told = [doc for doc in docs if doc["level"] == "info" and not doc["message"].startswith(signalled)]
    began, taken, *_, ended = (doc for doc in told if "archived in" not in doc["message"])
    assert "records the tasks of" in began["message"] and (taken["message"], ended["message"]) == (
        "taken",
        "recorded to its end",
    )
    assert taken["task"] == ended["task"] == read["task"]
    own = [json.loads(line) for line in of_server.splitlines() if line.startswith('{"time"')]
    assert any(doc["message"].endswith("is answered with BadQuery") for doc in own)


_TASK = "cortex/tasks/default/job/" + MARK.lower()
#: An address of every handler, with an undecodable part.
FAILING = (
    "cortex/namespaces?x=%FF{0}&",
    "cortex/tasks?namespace=%FF{0}&",
    "cortex/tasks/%FF{0}/job/x?",
    _TASK + "?x=%FF{0}&",
    "cortex/tasks/%FF{0}/job/x/logs?",
    *(f"{_TASK}/{end}?bins=%FF{{0}}&" for end in redaction._OF_TASK),
    "cortex/stream?task=%FF{0}&",
    "cortex/namespaces?x=%FF{0}&",
    "cortex/search?search=%FF{0}&",
    "cortex/openapi.json?x=%FF{0}&",
    "cortex/view?task=%FF{0}&",
    "cortex/view?namespace=%FF{0}&",
    "cortex/static/%FF{0}?",
    "cortex/%FF{0}?",
)


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server at the debug level that can be made to fail in unexpected ways."""
    options = ("--Application.log_level=DEBUG", "--ServerApp.identity_provider_class=server.people.Fails")
    path = f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"
    with run_server(tmp_path_factory.mktemp("loud"), *options, PYTHONPATH=path, CORTEX_LOG_LEVEL="debug") as server:
        yield server


def test_every_handler_is_made_to_fail() -> None:
    app = CortexJupyter()
    app.handlers = []
    app.initialize_handlers()
    asked = [address.partition("?")[0].replace("%FF{0}", "x") for address in FAILING]
    for pattern, *_ in app.handlers:
        assert any(re.fullmatch(pattern, path) for path in asked), pattern


@pytest.mark.parametrize("address", FAILING)
@pytest.mark.parametrize("how", ["unreadable", "unforeseen", "posted", "of a stranger"])
def test_a_refused_request_leaves_no_token_and_no_query_in_the_log(loud: Server, address: str, how: str) -> None:
    method = "POST" if how == "posted" else "GET"
    token = TOKEN if how != "of a stranger" else "almost-" + TOKEN
    before = len(loud.log.read_text())
    headers = {"X-Fails": "1"} if how == "unforeseen" else {}
    if how == "unforeseen":
        address = address.replace("%FF", "")  # so that the request reaches the handler
    answer = httpx.request(method, f"{loud.url}{address.format(MARK)}token={token}", headers=headers)
    assert answer.status_code >= 300 or "openapi" in address
    loud.get("cortex/written-after-it")
    until = time.monotonic() + 120
    while "written-after-it" not in (said := loud.log.read_text()[before:]):
        assert time.monotonic() < until, said
    of_ours = [line for line in said.splitlines() if "[secret]" not in line]  # Jupyter's own line for each request
    assert TOKEN not in said
    assert MARK not in "\n".join(of_ours)
    if how == "unforeseen":
        assert answer.status_code == 500 and "ValueError" in said and TOKEN not in answer.text
