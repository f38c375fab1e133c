"""A server's spans, as OpenTelemetry's exporter writes them: named by the conventions, without secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from server.fake_recorder import T0, FakeRecorder
from server.running import TOKEN, logs, run_server

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def spans(text: str) -> list[dict[str, Any]]:
    found, at, decoder = [], 0, json.JSONDecoder()
    while (at := text.find('{\n    "name": "', at)) >= 0:
        one, at = decoder.raw_decode(text, at)
        found.append(one)
    return found


async def test_requests_are_traced_if_configured(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/store.sqlite")
    fake_recorder = FakeRecorder(store, "train-1")
    fake_recorder.write([(T0, fake_recorder.source(), "a line that is nobody's business")])
    fake_recorder.end()
    with run_server(
        tmp_path, CORTEX_STORE=store.url, OTEL_TRACES_EXPORTER="console", OTEL_BSP_SCHEDULE_DELAY="20"
    ) as server:
        known = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert server.get(logs("train-1"), known, grep="business").status_code == 200
        assert server.get(f"cortex/tasks?token={TOKEN}&namespace=default").status_code == 200
        await server.events(logs("train-1"), {"Accept": "text/event-stream"})
        assert server.error(logs("nobody"))[0] == 502
    fake_recorder.close()
    store.close()
    said = server.log.read_text()
    found = {(s["name"], s["attributes"].get("http.response.status_code")): s for s in spans(said)}
    path = "/cortex/tasks/{namespace}/{kind}/{name}/logs"
    page, missing = found[f"GET {path}", 200], found[f"GET {path}", 502]
    assert {(f"GET {path}", 200), ("GET /cortex/tasks", 200), ("cortex.task.find", None)} <= found.keys()
    assert page["kind"] == "SpanKind.SERVER" and page["attributes"]["http.route"] == path
    assert page["resource"]["attributes"]["service.name"] == "cortex-jupyter-server"
    inner = [s for s in spans(said) if s["name"] == "cortex.task.find"]
    parents = {s["context"]["span_id"]: s for s in spans(said)}
    assert all(parents[s["parent_id"]]["attributes"]["http.route"] == path for s in inner)
    continued = [s for s in spans(said) if s["parent_id"] == f"0x{PARENT}"]
    assert [s["context"]["trace_id"] for s in continued] == [f"0x{TRACE}"]
    assert missing["attributes"]["error.type"] == "NoCluster" and missing["status"]["status_code"] == "ERROR"
    assert "business" not in json.dumps(spans(said)) and TOKEN not in json.dumps(spans(said))
