"""Dashboard and alert rules are of the metrics that there are."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

DOCS = Path(__file__).parents[1] / "docs"
MADE = runpy.run_path(str(DOCS / "monitoring.py"))


@pytest.mark.parametrize(("name", "make"), [("dashboard.json", "dashboard"), ("alerts.yaml", "alerts")])
def test_what_is_in_the_repository_is_what_the_list_gives(name: str, make: str) -> None:
    assert (DOCS / "monitoring" / name).read_text() == MADE[make](), "run docs/monitoring.py"


def test_every_metric_has_a_panel_and_every_query_a_metric() -> None:
    panels = json.loads(MADE["dashboard"]())["panels"]
    names = {metric.name for metric in MADE["metrics"]()}
    assert {panel["title"] for panel in panels} == names and len(names) > 10
    queries = [t["expr"] for panel in panels for t in panel["targets"]] + [alert[1] for alert in MADE["ALERTS"]]
    collected = [metric for metric in REGISTRY.collect() if metric.name.startswith("cortex_")]
    served = {sample.name for metric in collected for sample in metric.samples}
    served |= {f"{metric.name}_total" for metric in collected if metric.type == "counter"}
    for query in queries:
        assert set(re.findall(r"cortex_\w+", query)) <= served, query
