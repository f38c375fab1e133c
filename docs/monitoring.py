"""Write `how-to/monitoring/dashboard.json` (Grafana) and `alerts.yaml` beside it (Prometheus) from the list of metrics.

.venv/bin/python docs/monitoring.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import yaml
from prometheus_client.metrics import MetricWrapperBase

from cortex_jupyter.recorder.process.health import STALE_S, WAITS_S
from cortex_jupyter.telemetry import metrics as shared
from cortex_jupyter.telemetry import recorder_metrics as recorder
from cortex_jupyter.telemetry import server_metrics as server

FOLDER: Final = Path(__file__).parent / "how-to" / "monitoring"
_WIDTH, _HEIGHT = 8, 7
_QUANTILES: Final = (0.5, 0.95, 0.99)
#: What every recorder tells of the one store: the same number, which adds up to nothing.
_SHARED: Final = (
    "cortex_jupyter_store_bytes",
    "cortex_jupyter_store_budget_bytes",
    "cortex_jupyter_namespace_bytes",
    "cortex_jupyter_namespace_quota_bytes",
    "cortex_jupyter_archive_waiting",
    "cortex_jupyter_archive_oldest_waiting_seconds",
)
#: Metrics from the last hour, also of processes that do not answer now.
_KNOWN: Final = "last_over_time(cortex_jupyter_lines_total[1h]) or last_over_time(cortex_jupyter_streams[1h])"
#: A quarter of the memory that `record --manifests` gives a collector.
_QUEUE: Final = 512 << 20


def quantile(q: float, name: str, window: str, by: str = "") -> str:
    """Return the query of a histogram's quantile, over all instances or by a label."""
    return f"histogram_quantile({q}, sum by ({', '.join(filter(None, ('le', by)))}) (rate({name}_bucket[{window}])))"


#: Name, condition, for how long, severity, what it means and what to do.
ALERTS: Final = (
    (
        "CortexLinesMissing",
        "increase(cortex_jupyter_gaps_total[10m]) > 0",
        "0m",
        "warning",
        "Lines are missing from a log, or were trimmed; the label `reason` says why, a recorder's log names the task, and the task's gap notice the lines",
    ),
    (
        "CortexRecorderStale",
        f"time() - cortex_jupyter_heartbeat_timestamp_seconds > {STALE_S:g}",
        "1m",
        "critical",
        "A recorder does not reach its store: other recorders take over its tasks; look at its log and at the store",
    ),
    (
        "CortexNothingRecorded",
        f"cortex_jupyter_uncommitted_seconds > {WAITS_S:g}",
        "1m",
        "critical",
        "The store takes heartbeats and no lines: it is full, or a replica is missing; `/readyz` says which, `cortex_jupyter_errors_total` counts it",
    ),
    (
        "CortexNoRecorder",
        "absent(cortex_jupyter_heartbeat_timestamp_seconds)",
        "5m",
        "critical",
        "No recorder is there, or none is scraped: nothing is recorded. Look at the collector's pods, and at Prometheus' targets",
    ),
    (
        "CortexDown",
        f"up == 0 and on (job, instance) ({_KNOWN})",
        "2m",
        "critical",
        "A recorder or a Jupyter server that was there does not answer: it hangs, is not ready, or the network is cut; look at its log",
    ),
    (
        "CortexNamespaceRefused",
        "cortex_jupyter_refused_namespaces > 0",
        "5m",
        "critical",
        "A collector skips a namespace: a right is missing there, as after the namespace was deleted with its RoleBinding; `/readyz` and `cortex-jupyter doctor` name it",
    ),
    (
        "CortexQueueLarge",
        f"cortex_jupyter_queue_bytes > {_QUEUE}",
        "5m",
        "warning",
        "What was read waits for the store and takes memory: the store is slow for what its recorders read; add a recorder, or see why commits are slow",
    ),
    (
        "CortexRecordingBehind",
        f"{quantile(0.95, 'cortex_jupyter_recording_lag_seconds', '5m', 'instance')} > 10",
        "5m",
        "warning",
        "Lines reach the store 10 s late: the recorder or the store is at its limit; add a recorder, or look at commit times",
    ),
    (
        "CortexCommitSlow",
        f"{quantile(0.95, 'cortex_jupyter_commit_seconds', '5m', 'instance')} > 1",
        "5m",
        "warning",
        "The store takes more than a second for a batch: a slow disk, or a Valkey server that is busy",
    ),
    (
        "CortexStoreNearlyFull",
        "max by (job) (cortex_jupyter_store_bytes) > 0.9 * max by (job) (cortex_jupyter_store_budget_bytes) > 0",
        "15m",
        "warning",
        "Completed recordings will leave soon; set an archive, or raise the budget",
    ),
    (
        "CortexArchiveFailing",
        "increase(cortex_jupyter_archive_failures_total[15m]) > 0",
        "10m",
        "warning",
        "Recordings cannot be archived; a recorder's log says why. They stay in the store, which may fill: look at the archive's address and credentials",
    ),
    (
        "CortexArchiveBehind",
        "max by (job) (cortex_jupyter_archive_oldest_waiting_seconds) > 3600",
        "10m",
        "warning",
        "A recording that ended more than an hour ago is not archived; a recorder's log says why",
    ),
    (
        "CortexLeasesLost",
        'increase(cortex_jupyter_leases_total{change="lost"}[10m]) > 3',
        "0m",
        "warning",
        "Recorders take tasks from each other: one stalls for seconds at a time (CPU limit, paused machine)",
    ),
    (
        "CortexErrors",
        'increase(cortex_jupyter_errors_total{code="InternalError"}[10m]) > 0',
        "0m",
        "warning",
        "A recorder failed on something it does not know; its log has the traceback: report it",
    ),
    (
        "CortexServerErrors",
        f'increase(cortex_jupyter_refused_total{{code=~"{"|".join(server.CRASHES)}"}}[10m]) > 0',
        "0m",
        "warning",
        "A Jupyter server failed on a request, or a search or chart of it ended early; its log has the traceback: report it",
    ),
    (
        "CortexServerStoreErrors",
        f'increase(cortex_jupyter_refused_total{{code=~"{"|".join(server.STORE_ERRORS)}"}}[10m]) > 0',
        "0m",
        "warning",
        "Readers get errors because a Jupyter server cannot use its store; its log has the code, the reason and what to do",
    ),
)


@dataclass(frozen=True)
class Metric:
    """A metric as Prometheus shows it.

    Parameters
    ----------
    name, text : str
    kind : str
        `counter`, `gauge` or `histogram`.
    labels : tuple of str
    """

    name: str
    text: str
    kind: str
    labels: tuple[str, ...]

    @classmethod
    def of(cls, metric: MetricWrapperBase) -> Self:
        """Describe one of ours."""
        (known,) = metric.describe()
        labels = metric._labelnames  # noqa: SLF001 - the library tells only of those that have a value
        return cls(f"{known.name}{'_total' * (known.type == 'counter')}", known.documentation, known.type, labels)

    @property
    def unit(self) -> str:
        """As Grafana names it."""
        size = "s" if "seconds" in self.name else "bytes" if "bytes" in self.name else "short"
        return {"bytes": "Bps"}.get(size, "cps") if self.kind == "counter" else size

    def queries(self) -> list[tuple[str, str]]:
        """Give queries and legends of its panel."""
        if self.kind == "histogram":
            return [(quantile(q, self.name, "$__rate_interval"), f"p{q * 100:g}") for q in _QUANTILES]
        if self.kind == "counter":
            by, legend = (
                (f" by ({', '.join(self.labels)})", f"{{{{{self.labels[0]}}}}}") if self.labels else ("", "all")
            )
            return [(f"sum{by} (rate({self.name}[$__rate_interval]))", legend)]
        if self.name.endswith("_info"):
            return [(f"count by (version) ({self.name})", "{{version}}")]
        if self.name in _SHARED:
            by = ", ".join(("job", *self.labels))
            return [(f"max by ({by}) ({self.name})", f"{{{{{self.labels[0] if self.labels else 'job'}}}}}")]
        return [(f"time() - {self.name}" if "timestamp" in self.name else self.name, "{{instance}}")]


def metrics() -> list[Metric]:
    """Give every metric, the recorder's first, in the order of their definition."""
    rooms = (shared, recorder, server)
    return [Metric.of(one) for room in rooms for one in vars(room).values() if isinstance(one, MetricWrapperBase)]


def panel(metric: Metric, at: int) -> dict[str, Any]:
    """Return a panel of Grafana."""
    return {
        "id": at + 1,
        "type": "timeseries",
        "title": metric.name,
        "description": metric.text,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"x": at % 3 * _WIDTH, "y": at // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": metric.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "expr": query, "legendFormat": legend}
            for i, (query, legend) in enumerate(metric.queries())
        ],
    }


def dashboard() -> str:
    """Give the dashboard."""
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    found = {
        "uid": "cortex-jupyter",
        "title": "cortex-jupyter: logs of tasks",
        "tags": ["cortex-jupyter"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source]},
        "panels": [panel(metric, at) for at, metric in enumerate(metrics())],
    }
    return json.dumps(found, indent=1) + "\n"


def alerts() -> str:
    """Return the alert rules."""
    rules = [
        {
            "alert": name,
            "expr": query,
            "for": lasting,
            "labels": {"severity": severity},
            "annotations": {"summary": text},
        }
        for name, query, lasting, severity, text in ALERTS
    ]
    return yaml.safe_dump({"groups": [{"name": "cortex-jupyter", "rules": rules}]}, sort_keys=False, width=200)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "dashboard.json").write_text(dashboard())
    (FOLDER / "alerts.yaml").write_text(alerts())
