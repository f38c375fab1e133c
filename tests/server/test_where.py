"""The table of conditions over HTTP and on the command line.

tests/notebook/test_view.py checks the table in Python, js/test/text/query.test.ts in the page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from server.fake_recorder import T0
from server.running import logs

from cortex_jupyter.cli.command_line import run
from cortex_jupyter.notebook import runtime as runtime_module
from cortex_jupyter.notebook.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.fake_recorder import FakeRecorder
    from server.running import Server

TABLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "query" / "fixtures" / "where.json").read_text())
CASES = list(enumerate(TABLE["cases"]))


@pytest.fixture(scope="module")
def table(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    """Return a completed task that has the lines of each case in a separate pod."""
    fake_recorder = session_recorder("table")
    for number, case in CASES:
        sid = fake_recorder.source(f"case-{number}")
        fake_recorder.write([(T0 + i, sid, line) for i, line in enumerate(case["yes"] + case["no"])])
    fake_recorder.end()
    return fake_recorder


@pytest.fixture
def cli(server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Return a function that runs the command line in this process, because a process per case would take too long."""
    monkeypatch.setenv("CORTEX_STORE", server.store_url)
    monkeypatch.setenv("KUBECONFIG", str(server.home / "none"))
    engine = Runtime()
    monkeypatch.setattr(runtime_module, "_current", engine)

    def cli(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        said = capfd.readouterr()
        return code, said.out, said.err

    yield cli
    engine.close()


@pytest.mark.parametrize(("number", "case"), CASES, ids=[case["where"] for _, case in CASES])
def test_conditions_in_pages_streams_downloads_and_the_command_line(
    server: Server, table: FakeRecorder, cli: Any, number: int, case: dict[str, Any]
) -> None:
    chosen = {"pod": f"case-{number}", "where": case["where"]}
    assert [r["text"] for r in server.page(table.ref.name, **chosen)["records"]] == case["yes"]
    ndjson = server.get(logs(table.ref.name, "logs.ndjson"), **chosen).text
    assert [json.loads(line)["text"] for line in ndjson.splitlines()] == case["yes"]
    stream = server.get(logs(table.ref.name), {"Accept": "text/event-stream"}, **chosen).text
    data = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith("data:")]
    assert [text for event in data for text in event.get("m", [])] == case["yes"]
    code, out, _ = cli("logs", table.ref.key, "--pod", chosen["pod"], "--where", case["where"], "-o", "ndjson")
    assert code == 0 and [json.loads(line)["text"] for line in out.splitlines()] == case["yes"]


@pytest.mark.parametrize("text", [text for text in TABLE["refused"] if text])  # an empty parameter counts as not given
def test_an_invalid_condition_is_refused_everywhere(server: Server, table: FakeRecorder, cli: Any, text: str) -> None:
    status, error = server.error(logs(table.ref.name), where=text)
    assert (status, error["code"]) == (400, "BadQuery") and "field op value" in error["hint"]
    code, out, said = cli("logs", table.ref.key, "--where", text)
    assert (code, out) == (2, "") and error["message"] in said and error["hint"] in " ".join(said.split())
