"""Traces cost nothing where nobody asks for them."""

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
    tracing.past("before", 1.0, {}, tracing.here())
print(any(name.startswith("opentelemetry") for name in sys.modules), tracing.carried())
"""


def run(**env: str) -> subprocess.CompletedProcess[str]:
    known = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    return subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=known | env)


def test_nothing_is_imported_unless_it_is_asked_for() -> None:
    for env in ({}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}):
        done = run(**env)
        assert (done.stdout, done.stderr) == ("False {}\n", "")


def test_an_exporter_that_is_not_there_is_said_and_no_harm() -> None:
    done = run(OTEL_TRACES_EXPORTER="nowhere")
    assert "there is no exporter 'nowhere'" in done.stderr and 'pip install "cortex-jupyter[otel]"' in done.stderr
    assert done.stdout == "True {}\n"
