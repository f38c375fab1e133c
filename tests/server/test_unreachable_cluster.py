"""If the cluster cannot be reached, answers say so and show the recorded lines. No task is reported as gone."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from server.fake_recorder import CLUSTER, T0, FakeRecorder
from server.running import logs, run_server
from server.test_heartbeat import Reader, SilentWindow

from cortex_jupyter.errors import NoCluster
from cortex_jupyter.reader import event_stream
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import SandboxProcess
    from server.running import Server

_SSE = {"Accept": "text/event-stream"}


def _kubeconfig(path: Path, server: str, **cluster: Any) -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(config))
    return path


def _missing(folder: Path, _: str) -> tuple[Path, str]:
    return folder / "no-such-file", "there is no kubeconfig at"


def _broken(folder: Path, _: str) -> tuple[Path, str]:
    path = folder / "broken"
    path.write_text("{not: [yaml")
    return path, "cannot be used"


def _unreachable(folder: Path, _: str) -> tuple[Path, str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return _kubeconfig(folder / "unreachable", f"http://127.0.0.1:{port}"), "does not answer"


def _tls(folder: Path, sandbox: str) -> tuple[Path, str]:
    """Connect with TLS to a server without TLS: the handshake fails."""
    return _kubeconfig(folder / "tls", sandbox.replace("http://", "https://")), "does not answer"


@pytest.fixture(params=[_missing, _broken, _unreachable, _tls])
def unasked(
    request: pytest.FixtureRequest, sandbox_process: SandboxProcess, tmp_path: Path
) -> Iterator[tuple[Server, FakeRecorder, str]]:
    """Yield a server with an unreachable cluster, an unfinished recording of two lines, and the expected reason."""
    kubeconfig, message = request.param(tmp_path, sandbox_process.kube.server)
    where = CLUSTER
    if request.param in (_unreachable, _tls):
        where = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    store = open_store(f"sqlite:///{tmp_path / 'recordings.sqlite'}")
    fake_recorder = FakeRecorder(store, "asked", cluster=where)
    fake_recorder.write([(T0, fake_recorder.source(), "one"), (T0 + 1, 1, "two")])
    fake_recorder.running()
    fake_recorder.close()
    with run_server(
        tmp_path, "--CortexJupyter.heartbeat_s=0.2", kubeconfig=kubeconfig, CORTEX_STORE=store.url
    ) as server:
        yield server, fake_recorder, message
    store.close()


async def test_recorded_lines_are_shown_with_the_reason_why_there_are_no_more(
    unasked: tuple[Server, FakeRecorder, str],
) -> None:
    server, fake_recorder, why = unasked

    def holds(text: str) -> bool:
        return text.startswith("The cluster cannot be asked: ") and why in text

    listed = server.get("cortex/tasks").json()
    [row] = listed["tasks"]
    assert row["state"] == "running" and holds(row["message"]), row
    assert why in listed["problem"]["message"] and listed["problem"]["hint"]
    doc = server.get(f"cortex/tasks/default/job/{fake_recorder.ref.name}").json()
    assert doc["state"] == "running" and holds(doc["message"]) and doc["recorded"]["records"] == 2
    page = server.get("cortex/view").text
    assert "The cluster cannot be asked: " in page and f"job/{fake_recorder.ref.name}" in page
    page = server.page(fake_recorder.ref.name, follow="false", since="all")
    assert [r["text"] for r in page["records"]] == ["one", "two"] and holds(page["task"]["message"])
    async with asyncio.timeout(120), server.stream(logs(fake_recorder.ref.name), _SSE, since="all") as source:
        events: list[Any] = []
        async for part in source.response.aiter_text():
            events.append(part)
            if ": hb " in part:  # a heartbeat: the stream is silent and open
                break
    text = "".join(events)
    assert '"one"' in text and '"two"' in text and "event: end" not in text
    [status] = [line for line in text.splitlines() if line.startswith("data: ") and '"ref"' in line]
    state = json.loads(status.removeprefix("data: "))
    assert state["state"] == "running" and holds(state["message"])


async def test_a_stream_continues_when_the_cluster_answers_again(
    sandbox_process: SandboxProcess, unique: Callable[[str], str], tmp_path: Path
) -> None:
    """The cluster then answers that it has no such task."""
    where = sandbox_process.kube.server
    kubeconfig = tmp_path / "kubeconfig"
    store = open_store(f"sqlite:///{tmp_path / 'recordings.sqlite'}")
    fake_recorder = FakeRecorder(store, unique("back"), cluster=where)
    fake_recorder.write([(T0, fake_recorder.source(), "one")])
    fake_recorder.running()
    fake_recorder.close()
    states: list[tuple[str, str]] = []
    with run_server(tmp_path, kubeconfig=kubeconfig, CORTEX_STORE=store.url) as server:
        async with asyncio.timeout(120), server.stream(logs(fake_recorder.ref.name), _SSE, since="all") as source:
            async for event in source.aiter_sse():
                doc = json.loads(event.data)
                if event.event == "status" and "seq" not in doc:
                    states.append((doc["state"], doc["message"].partition(":")[0]))
                    kubeconfig.write_text(sandbox_process.kubeconfig.read_text())
                if event.event == "end":
                    break
    store.close()
    assert states[0] == ("running", "The cluster cannot be asked")
    assert (event.event, json.loads(event.data)["state"]) == ("end", "gone")


async def test_a_state_is_sent_again_only_if_its_text_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt to reach an absent cluster is a new error with the same text."""
    monkeypatch.setattr(event_stream, "_PROBLEM_S", 0.001)
    window: Any = SilentWindow()
    message, looks = "the cluster does not answer", 0

    class Looked(SimpleNamespace):
        @property
        def problem(self) -> NoCluster:
            nonlocal looks
            looks += 1
            return NoCluster(message)

    async def info() -> object:
        return window.info

    fields = vars(window.recording) | {"info": info}
    del fields["problem"]
    window.recording = Looked(**fields)
    reader = Reader()
    run = asyncio.create_task(
        event_stream.EventStream([event_stream.Slot("train-1", window)], reader, reader, heartbeat_s=0.01).run()
    )
    async with asyncio.timeout(60):
        while looks < 20:
            assert not run.done()
            await asyncio.sleep(0.01)
        assert reader.body.count(b"event: status") == 1
        message = "there is no kubeconfig"
        while reader.body.count(b"event: status") < 2:
            assert not run.done()
            await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
