"""A recorder's spans: taking a task, each log stream from its opening to the first commit, the archive step."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.hand import until
from support.kube import python_job

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store.open import open_store
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import SandboxProcess
    from opentelemetry.sdk.trace import ReadableSpan
    from support.kube import Kube


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(trace, provider)
    yield exporter
    tracing.use(None)
    provider.shutdown()


async def test_beginnings_are_traced_and_no_line_is(
    sandbox: SandboxProcess,
    kube: Kube,
    unique: Callable[[str], str],
    tmp_path: Path,
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")  # for the archiving process
    name = unique("traced")
    sandbox.fault("cut", pod=f"{name}-.*", after_bytes=300, count=1)
    job = kube.create(python_job(name, "for i in range(50): print('SECRET line', i)"))
    store = open_store(f"sqlite://{tmp_path}/r.sqlite")
    store.set_setting("archive", str(tmp_path / "archive"))
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        id_ = store.open(cluster.id, TaskRef("default", "job", name), job["metadata"]["uid"])
        store.want(id_, 60)
        run = asyncio.create_task(Recorder(store, cluster).run())
        await until(lambda: "cortex.archive.step" in {s.name for s in spans.get_finished_spans()})
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    store.close()
    by_name: dict[str, list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        by_name.setdefault(span.name, []).append(span)
    [take] = by_name["cortex.task.take"]
    epoch = dict(take.attributes or {}).get("cortex.lease.epoch")
    assert isinstance(epoch, int) and epoch > 0
    assert take.parent is None and dict(take.attributes or {}) == {
        "k8s.namespace.name": "default",
        "cortex.task": f"default:job/{name}",
        "cortex.lease.epoch": epoch,
    }
    reads = by_name["cortex.source.read"]
    assert [_of(s)["cortex.read.attempt"] for s in reads] == [*range(1, len(reads) + 1)] and len(reads) > 1
    assert {_parent(s) for s in reads} == {_id(take)} and _of(reads[0])["k8s.container.name"] == "main"
    inside = {_id(s) for s in reads}
    for inner in ("cortex.log.open", "cortex.log.first_line", "cortex.commit"):
        assert {_parent(s) for s in by_name[inner]} <= inside, inner
    assert all((s.end_time or 0) >= (s.start_time or 0) for some in by_name.values() for s in some)
    [step] = by_name["cortex.archive.step"]
    captured = capfd.readouterr()
    out = captured.out + captured.err
    child = json.JSONDecoder().raw_decode(out, out.index('{\n    "name": "cortex.archive.task"'))[0]
    assert child["parent_id"] == f"0x{_id(step):016x}" and child["attributes"]["cortex.archive.lines"] == 50
    assert child["resource"]["attributes"]["service.name"] == "cortex-jupyter-archive"
    assert "SECRET" not in out + "".join(s.to_json() for some in by_name.values() for s in some)


def _of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _id(span: ReadableSpan) -> int:
    return span.get_span_context().span_id  # type: ignore[no-any-return,union-attr]


def _parent(span: ReadableSpan) -> int:
    return span.parent.span_id if span.parent else 0


def test_a_failure_is_recorded_by_its_code_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="SECRET"), tracing.span("work"):
        raise ValueError("SECRET")
    [span] = spans.get_finished_spans()
    assert _of(span) == {"error.type": "ValueError"} and not span.events and "SECRET" not in span.to_json()
