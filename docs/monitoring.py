"""Write `monitoring/dashboard.json` (Grafana) and `monitoring/alerts.yaml` (Prometheus) from the list of metrics.

.venv/bin/python docs/monitoring.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from cortex_jupyter.recording.process import telemetry as recorder
from cortex_jupyter.server import telemetry as server

FOLDER: Final = Path(__file__).parent / "monitoring"
_WIDTH, _HEIGHT = 8, 7

#: Name, condition, for how long, severity, what it means and what to do.
ALERTS: Final = (
    ("CortexLinesMissing", "increase(cortex_gaps_total[10m]) > 0", "0m", "warning",
     "Lines are missing from a log; its gap notice says which and why. `get nodes/proxy` lets rotated files be read"),
    ("CortexRecorderStale", "time() - cortex_heartbeat_timestamp_seconds > 10", "1m", "critical",
     "A recorder does not reach its store: other recorders take over its tasks; look at its log and at the store"),
    ("CortexRecordingBehind", "histogram_quantile(0.95, rate(cortex_recording_lag_seconds_bucket[5m])) > 10", "5m", "warning",
     "Lines reach the store 10 s late: the recorder or the store is at its limit; add a recorder, or look at commit times"),
    ("CortexCommitSlow", "histogram_quantile(0.95, rate(cortex_commit_seconds_bucket[5m])) > 1", "5m", "warning",
     "The store takes more than a second for a batch: a slow disk, or a Valkey server that is busy"),
    ("CortexStoreNearlyFull", "cortex_store_bytes > 0.9 * cortex_store_budget_bytes > 0", "15m", "warning",
     "Completed recordings will leave soon; set an archive, or raise the budget"),
    ("CortexLeasesLost", 'increase(cortex_leases_total{change="lost"}[10m]) > 3', "0m", "warning",
     "Recorders take tasks from each other: one stalls for seconds at a time (CPU limit, paused machine)"),
    ("CortexErrors", 'increase(cortex_errors_total{code="InternalError"}[10m]) > 0', "0m", "warning",
     "A recorder failed on something it does not know; its log has the traceback: report it"),
)  # fmt: skip


def metrics() -> list[MetricWrapperBase]:
    """Give every metric, the recorder's first, in the order of their definition."""
    return [m for room in (recorder, server) for m in vars(room).values() if isinstance(m, MetricWrapperBase)]


def name_of(metric: MetricWrapperBase) -> str:
    """Give the name that Prometheus shows."""
    name = metric._name  # noqa: SLF001 - the library tells only samples
    return f"{name}_total" if isinstance(metric, Counter) else name


def targets(metric: MetricWrapperBase) -> list[tuple[str, str]]:
    """Give queries and legends of a metric's panel."""
    name, labels = name_of(metric), metric._labelnames  # noqa: SLF001
    by, legend = (f" by ({', '.join(labels)})", f"{{{{{labels[0]}}}}}") if labels else ("", "all")
    if isinstance(metric, Histogram):
        of = "sum by (le) (rate({}_bucket[$__rate_interval]))"
        return [(f"histogram_quantile({q}, {of.format(name)})", f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]
    if isinstance(metric, Gauge):
        if "timestamp" in name:
            return [(f"time() - {name}", "{{instance}}")]
        return [(name, "{{instance}}")]
    return [(f"sum{by} (rate({name}[$__rate_interval]))", legend)]


def panel(metric: MetricWrapperBase, at: int) -> dict[str, Any]:
    """Give a panel of Grafana."""
    name = name_of(metric)
    unit = "s" if "seconds" in name else "bytes" if "bytes" in name else "short"
    if isinstance(metric, Counter):
        unit = "Bps" if unit == "bytes" else "cps"
    return {
        "id": at + 1, "type": "timeseries", "title": name, "description": metric._documentation,  # noqa: SLF001
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"x": at % 3 * _WIDTH, "y": at // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(targets(metric))
        ],
    }  # fmt: skip


def dashboard() -> str:
    """Give the dashboard."""
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    found = {
        "uid": "cortex-jupyter", "title": "cortex-jupyter: logs of tasks", "tags": ["cortex-jupyter"], "schemaVersion": 39,
        "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "templating": {"list": [source]},
        "panels": [panel(metric, at) for at, metric in enumerate(metrics())],
    }  # fmt: skip
    return json.dumps(found, indent=1) + "\n"


def alerts() -> str:
    """Give the alert rules."""
    rules = [
        {
            "alert": name,
            "expr": expr,
            "for": lasting,
            "labels": {"severity": severity},
            "annotations": {"summary": text},
        }
        for name, expr, lasting, severity, text in ALERTS
    ]
    return yaml.safe_dump({"groups": [{"name": "cortex-jupyter", "rules": rules}]}, sort_keys=False, width=200)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "dashboard.json").write_text(dashboard())
    (FOLDER / "alerts.yaml").write_text(alerts())
