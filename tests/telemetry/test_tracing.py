"""Traces cost nothing unless the environment asks for them."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import sys
from cortex_jupyter.telemetry import logs, tracing
import cortex_jupyter.recorder.__main__
logs.begin()
tracing.begin("a service")
with tracing.span("work") as span:
    span.event("something")
    tracing.record_span("before", 1.0, {}, tracing.current_context())
print(any(name.startswith("opentelemetry") for name in sys.modules), tracing.propagation_env())
"""


def run(**env: str) -> subprocess.CompletedProcess[str]:
    others = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    return subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=others | env)


def test_nothing_is_imported_unless_traces_are_asked_for() -> None:
    for env in ({}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}):
        done = run(**env)
        assert (done.stdout, done.stderr) == ("False {}\n", "")


def test_a_missing_exporter_is_a_warning_and_does_no_harm() -> None:
    done = run(OTEL_TRACES_EXPORTER="nowhere")
    assert "there is no exporter 'nowhere'" in done.stderr and 'pip install "cortex-jupyter[otel]"' in done.stderr
    assert done.stdout == "True {}\n"
