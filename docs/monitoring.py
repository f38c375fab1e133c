"""Write `how-to/monitoring/dashboard.json` (Grafana) and `alerts.yaml` beside it (Prometheus) from the list of metrics.

`how-to/runbooks.md` has a section for each alert.

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
#: Where each alert is explained. It is written as a path, since we do not know where you publish these pages.
RUNBOOKS: Final = "docs/how-to/runbooks.md"
#: Grafana's grid has 24 columns.
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 7
_QUANTILES: Final = (0.5, 0.95, 0.99)
#: Restricts each query to what the dashboard's variables select.
_SELECTED: Final = 'job=~"$job", instance=~"$instance"'
#: What `last_over_time` finds for a recorder or a server that answered within the last hour.
_KNOWN: Final = "last_over_time(cortex_jupyter_lines_total[1h]) or last_over_time(cortex_jupyter_streams[1h])"
#: A quarter of the memory that `record --manifests` gives a collector.
_QUEUE: Final = 512 << 20
#: Share of a core above which a recorder is nearly at its limit. One process uses little more than one core.
_BUSY: Final = 0.8


def quantile(q: float, name: str, window: str, by: str = "", selector: str = "") -> str:
    """Return the query of a histogram's quantile, over all instances or by a label."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({q}, sum by ({labels}) (rate({name}_bucket{selector}[{window}])))"


@dataclass(frozen=True)
class Alert:
    """An alert rule.

    Parameters
    ----------
    name, query : str
    lasting : str
        How long the condition must hold.
    severity : str
        `critical`: nothing is recorded, somewhere. `warning`: lines are missing or late, or will be.
    summary : str
        One line, as in a message.
    """

    name: str
    query: str
    lasting: str
    severity: str
    summary: str

    @property
    def rule(self) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        annotations = {"summary": self.summary, "runbook_url": f"{RUNBOOKS}#{self.name.lower()}"}
        return {
            "alert": self.name,
            "expr": self.query,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": annotations,
        }


ALERTS: Final = (
    Alert(
        "CortexLinesMissing",
        "increase(cortex_jupyter_gaps_total[10m]) > 0",
        "0m",
        "warning",
        "Lines are missing from a log, or were trimmed ({{ $labels.reason }}, recorder {{ $labels.instance }})",
    ),
    Alert(
        "CortexRecorderStale",
        f"time() - cortex_jupyter_heartbeat_timestamp_seconds > {STALE_S:g}",
        "1m",
        "critical",
        "The recorder {{ $labels.instance }} does not reach its store; others take over its tasks",
    ),
    Alert(
        "CortexNothingRecorded",
        f"cortex_jupyter_uncommitted_seconds > {WAITS_S:g}",
        "1m",
        "critical",
        "The store takes no lines from the recorder {{ $labels.instance }}",
    ),
    Alert(
        "CortexNoRecorder",
        "absent(cortex_jupyter_heartbeat_timestamp_seconds)",
        "5m",
        "critical",
        "No recorder runs, or Prometheus scrapes none",
    ),
    Alert(
        "CortexDown",
        f"up == 0 and on (job, instance) ({_KNOWN})",
        "2m",
        "critical",
        "{{ $labels.instance }} ({{ $labels.job }}) does not answer Prometheus any more",
    ),
    Alert(
        "CortexNamespaceRefused",
        "cortex_jupyter_refused_namespaces > 0",
        "5m",
        "critical",
        "The collector {{ $labels.instance }} skips {{ $value }} namespaces: a right is missing there",
    ),
    Alert(
        "CortexQueueLarge",
        f"cortex_jupyter_queue_bytes > {_QUEUE}",
        "5m",
        "warning",
        "{{ $value | humanize1024 }}B wait for the store in the memory of the recorder {{ $labels.instance }}",
    ),
    Alert(
        "CortexRecordingBehind",
        f"{quantile(0.95, 'cortex_jupyter_recording_lag_seconds', '5m', 'instance')} > 10",
        "5m",
        "warning",
        "Lines reach the store {{ $value | humanizeDuration }} late (recorder {{ $labels.instance }})",
    ),
    Alert(
        "CortexCommitSlow",
        f"{quantile(0.95, 'cortex_jupyter_commit_seconds', '5m', 'instance')} > 1",
        "5m",
        "warning",
        "The store takes {{ $value | humanizeDuration }} for a batch of the recorder {{ $labels.instance }}",
    ),
    Alert(
        "CortexLogsWaiting",
        "min_over_time(cortex_jupyter_waiting_streams[10m]) > 0",
        "5m",
        "warning",
        "{{ $value }} logs always wait for their turn at the recorder {{ $labels.instance }}: it reads as many as it may",
    ),
    Alert(
        "CortexRecorderBusy",
        f"rate(process_cpu_seconds_total[5m]) > {_BUSY} and on (job, instance) cortex_jupyter_tasks",
        "15m",
        "warning",
        "The recorder {{ $labels.instance }} uses {{ $value | humanizePercentage }} of a core, nearly all that one process can",
    ),
    Alert(
        "CortexStoreNearlyFull",
        "max by (job) (cortex_jupyter_store_bytes) > 0.9 * max by (job) (cortex_jupyter_store_budget_bytes) > 0",
        "15m",
        "warning",
        "Recordings take more than 0.9 of what they may in the store of {{ $labels.job }}; completed ones will leave",
    ),
    Alert(
        "CortexNamespaceOverQuota",
        "max by (job, namespace) (cortex_jupyter_namespace_bytes) > 1.2 * max by (job, namespace) (cortex_jupyter_namespace_quota_bytes)",
        "15m",
        "warning",
        "Namespace {{ $labels.namespace }} takes more than its quota, and what is over cannot leave ({{ $labels.job }})",
    ),
    Alert(
        "CortexLinesLate",
        "sum by (job, namespace) (rate(cortex_jupyter_line_limit_wait_seconds_total[10m])) > 0.5",
        "10m",
        "warning",
        "Tasks of namespace {{ $labels.namespace }} write more lines a second than its quota, and are read late",
    ),
    Alert(
        "CortexArchiveFailing",
        "increase(cortex_jupyter_archive_failures_total[15m]) > 0",
        "10m",
        "warning",
        "The recorder {{ $labels.instance }} cannot archive completed recordings",
    ),
    Alert(
        "CortexArchiveBehind",
        "max by (job) (cortex_jupyter_archive_oldest_waiting_seconds) > 3600",
        "10m",
        "warning",
        "A recording that ended {{ $value | humanizeDuration }} ago is not archived ({{ $labels.job }})",
    ),
    Alert(
        "CortexLeasesLost",
        'increase(cortex_jupyter_leases_total{change="lost"}[10m]) > 3',
        "0m",
        "warning",
        "Other recorders take tasks from {{ $labels.instance }}: it stalls for seconds at a time",
    ),
    Alert(
        "CortexErrors",
        'increase(cortex_jupyter_errors_total{code="InternalError"}[10m]) > 0',
        "0m",
        "warning",
        "The recorder {{ $labels.instance }} failed in a way that nobody foresaw",
    ),
    Alert(
        "CortexServerErrors",
        f'increase(cortex_jupyter_refused_total{{code=~"{"|".join(server.CRASHES)}"}}[10m]) > 0',
        "0m",
        "warning",
        "The Jupyter server {{ $labels.instance }} failed on a request ({{ $labels.code }})",
    ),
    Alert(
        "CortexServerStoreErrors",
        f'increase(cortex_jupyter_refused_total{{code=~"{"|".join(server.STORE_ERRORS)}"}}[10m]) > 0',
        "0m",
        "warning",
        "Readers get errors: the Jupyter server {{ $labels.instance }} cannot use its store ({{ $labels.code }})",
    ),
    Alert(
        "CortexServerAtLimit",
        f'increase(cortex_jupyter_refused_total{{code="{server.AT_LIMIT}"}}[10m]) > 0',
        "0m",
        "warning",
        "The Jupyter server {{ $labels.instance }} refuses readers, because a limit is reached",
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
        """Describe one of our metrics."""
        (described,) = metric.describe()
        labels = metric._labelnames  # noqa: SLF001 - the library shows only labels that have a value
        return cls(
            f"{described.name}{'_total' * (described.type == 'counter')}",
            described.documentation,
            described.type,
            labels,
        )


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard.

    Parameters
    ----------
    metric : str
        Its name; the first one if there are several.
    title : str
    hint : str
        What a good value is, or what to look for. It stands behind the metric's own description.
    unit : str
        As Grafana names it.
    limit : float, optional
        A line that an alert watches.
    queries : tuple of (str, str), optional
        PromQL and legend of each curve, in which `$$` is the selector of the variables; default by the metric's kind.
    """

    metric: str
    title: str
    hint: str
    unit: str
    limit: float | None = None
    queries: tuple[tuple[str, str], ...] = ()


def _recent(name: str, by: str) -> tuple[tuple[str, str], ...]:
    """Return the query of a counter of rare events: how many there were in the last hour."""
    return ((f"sum by ({by}) (increase({name}{{$$}}[1h]))", f"{{{{{by}}}}}"),)


def _shared(name: str, legend: str = "{{job}}") -> tuple[str, str]:
    """Return the query of what each recorder reports about the one store: the same number, which must not be added up."""
    return (f"max by (job) ({name}{{$$}})", legend)


#: The panels by the question that they answer.
ROWS: Final = {
    "Is every line recorded?": (
        Panel(
            "cortex_jupyter_gaps_total",
            "Gaps in the last hour",
            "0 is right.",
            "short",
            0,
            _recent("cortex_jupyter_gaps_total", "reason"),
        ),
        Panel(
            "cortex_jupyter_lines_lost_total",
            "Lines lost in the last hour",
            "0 is right.",
            "short",
            0,
            _recent("cortex_jupyter_lines_lost_total", "reason"),
        ),
        Panel("cortex_jupyter_refused_namespaces", "Namespaces that are skipped", "0 is right.", "short", 0),
        Panel(
            "cortex_jupyter_heartbeat_timestamp_seconds",
            "Seconds since the last heartbeat",
            "Below 2 s is right.",
            "s",
            STALE_S,
            (("time() - cortex_jupyter_heartbeat_timestamp_seconds{$$}", "{{instance}}"),),
        ),
        Panel("cortex_jupyter_uncommitted_seconds", "The oldest batch waits for", "Near 0 s is right.", "s", WAITS_S),
        Panel(
            "cortex_jupyter_leases_total",
            "Tasks taken, finished, handed over, lost",
            "Lost ones show a recorder that stalls.",
            "short",
            None,
            _recent("cortex_jupyter_leases_total", "change"),
        ),
    ),
    "Do recorders keep up?": (
        Panel(
            "cortex_jupyter_recording_lag_seconds",
            "Delay from written to recorded",
            "About 1 s without a reader, 0.1 s with one.",
            "s",
            10,
        ),
        Panel("cortex_jupyter_commit_seconds", "Time of a commit", "Below 0.1 s is right.", "s", 1),
        Panel(
            "cortex_jupyter_queue_bytes",
            "Lines in memory, not yet committed",
            "It falls to 0 between bursts.",
            "bytes",
            _QUEUE,
        ),
        Panel(
            "process_cpu_seconds_total",
            "CPU of a recorder",
            "Share of a core that the process uses.",
            "percentunit",
            _BUSY,
            (
                (
                    "rate(process_cpu_seconds_total{$$}[$__rate_interval]) and on (job, instance) cortex_jupyter_tasks",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "cortex_jupyter_waiting_streams",
            "Logs that wait for their turn",
            "0 is right; a few minutes after a start are no problem.",
            "short",
            0,
        ),
        Panel(
            "cortex_jupyter_line_limit_wait_seconds_total",
            "Lines held back by a namespace's limit",
            "Share of the time that they waited (max-lines-per-s).",
            "percentunit",
            None,
            (
                (
                    "sum by (namespace) (rate(cortex_jupyter_line_limit_wait_seconds_total{$$}[$__rate_interval]))",
                    "{{namespace}}",
                ),
            ),
        ),
        Panel(
            "cortex_jupyter_reconnects_total",
            "Logs opened again",
            "A burst means that nodes or the API server were cut off.",
            "ops",
        ),
    ),
    "How much is recorded?": (
        Panel(
            "cortex_jupyter_lines_total",
            "Lines recorded",
            "By recorder.",
            "cps",
            None,
            (("rate(cortex_jupyter_lines_total{$$}[$__rate_interval])", "{{instance}}"),),
        ),
        Panel(
            "cortex_jupyter_bytes_total",
            "Bytes recorded",
            "By recorder.",
            "Bps",
            None,
            (("rate(cortex_jupyter_bytes_total{$$}[$__rate_interval])", "{{instance}}"),),
        ),
        Panel(
            "cortex_jupyter_tasks",
            "Tasks being recorded",
            "Collectors of one selection have about the same number.",
            "short",
        ),
        Panel(
            "cortex_jupyter_sources",
            "Containers being read",
            "A recorder reads 2 000 logs at once (--streams).",
            "short",
        ),
    ),
    "Is there room?": (
        Panel(
            "cortex_jupyter_store_bytes",
            "What recordings take, and may take",
            "Completed recordings leave at the limit.",
            "bytes",
            None,
            (
                _shared("cortex_jupyter_store_bytes", "{{job}}: in use"),
                _shared("cortex_jupyter_store_budget_bytes", "{{job}}: limit"),
            ),
        ),
        Panel(
            "cortex_jupyter_namespace_bytes",
            "What a namespace takes of its quota",
            "Its completed recordings leave at the quota.",
            "percentunit",
            1,
            (
                (
                    "max by (job, namespace) (cortex_jupyter_namespace_bytes{$$}) / max by (job, namespace) (cortex_jupyter_namespace_quota_bytes{$$})",
                    "{{namespace}}",
                ),
            ),
        ),
        Panel(
            "cortex_jupyter_recordings_removed_total",
            "Recordings removed in the last hour",
            "Without an archive these lines are gone.",
            "short",
            None,
            _recent("cortex_jupyter_recordings_removed_total", "reason"),
        ),
        Panel(
            "cortex_jupyter_archive_waiting",
            "Recordings that wait for the archive",
            "Near 0 is right.",
            "short",
            None,
            (_shared("cortex_jupyter_archive_waiting"),),
        ),
        Panel(
            "cortex_jupyter_archive_oldest_waiting_seconds",
            "The first recording waits for the archive for",
            "Minutes are right.",
            "s",
            3600,
            (_shared("cortex_jupyter_archive_oldest_waiting_seconds"),),
        ),
        Panel(
            "cortex_jupyter_archive_failures_total",
            "Failed attempts to archive in the last hour",
            "0 is right.",
            "short",
            0,
            _recent("cortex_jupyter_archive_failures_total", "instance"),
        ),
    ),
    "Do readers get their lines?": (
        Panel("cortex_jupyter_streams", "Streams open to readers", "A server has 500 at most (max_streams).", "short"),
        Panel("cortex_jupyter_delivery_lag_seconds", "Delay from written to sent", "Below 0.2 s is right.", "s"),
        Panel(
            "cortex_jupyter_sent_bytes_total",
            "Bytes sent to readers",
            "By server.",
            "Bps",
            None,
            (("rate(cortex_jupyter_sent_bytes_total{$$}[$__rate_interval])", "{{instance}}"),),
        ),
        Panel(
            "cortex_jupyter_refused_total",
            "Requests answered with an error, in the last hour",
            "NotFound and BadQuery are the reader's; StoreError and InternalError are not.",
            "short",
            None,
            _recent("cortex_jupyter_refused_total", "code"),
        ),
    ),
    "What runs, and what failed?": (
        Panel(
            "cortex_jupyter_build_info",
            "Processes by version",
            "One version, except while you update.",
            "short",
            None,
            (("count by (version) (cortex_jupyter_build_info{$$})", "{{version}}"),),
        ),
        Panel(
            "cortex_jupyter_errors_total",
            "Errors of recorders in the last hour",
            "InternalError is a fault of ours.",
            "short",
            None,
            _recent("cortex_jupyter_errors_total", "code"),
        ),
    ),
}


def metrics() -> list[Metric]:
    """Return every metric, the recorder's first, in the order of their definition."""
    rooms = (shared, recorder, server)
    return [Metric.of(one) for room in rooms for one in vars(room).values() if isinstance(one, MetricWrapperBase)]


def _queries(panel: Panel, kind: str) -> list[tuple[str, str]]:
    """Return queries and legends of a panel."""
    if panel.queries:
        queries = list(panel.queries)
    elif kind == "histogram":
        queries = [
            (quantile(q, panel.metric, "$__rate_interval", selector="{$$}"), f"p{q * 100:g}") for q in _QUANTILES
        ]
    elif kind == "counter":
        queries = [(f"sum by (instance) (rate({panel.metric}{{$$}}[$__rate_interval]))", "{{instance}}")]
    else:
        queries = [(f"{panel.metric}{{$$}}", "{{instance}}")]
    return [(query.replace("$$", _SELECTED), legend) for query, legend in queries]


def _panel(panel: Panel, metric: Metric | None, number: int, at: tuple[int, int]) -> dict[str, Any]:
    """Return a panel as Grafana reads it, at a column and a row of its grid."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:  # a limit of 0 means that any value above it is one too many
        steps.append({"color": "red", "value": panel.limit or 0.5})
    style = "off" if panel.limit is None else "dashed"
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": f"{metric.text}. {panel.hint}" if metric else panel.hint,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"x": at[0], "y": at[1], "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": style}, "fillOpacity": 10, "showPoints": "never"},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(65 + i), "expr": query, "legendFormat": legend}
            for i, (query, legend) in enumerate(_queries(panel, metric.kind if metric else ""))
        ],
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    """Return a variable of the dashboard whose values Prometheus knows; all of them at first."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard() -> str:
    """Return the dashboard. A metric that no row names gets a panel in a last row."""
    known = {metric.name: metric for metric in metrics()}
    shown = {panel.metric for row in ROWS.values() for panel in row} | {
        name for name in known for row in ROWS.values() for panel in row for query, _ in panel.queries if name in query
    }
    more = tuple(Panel(name, one.text, "", "short") for name, one in known.items() if name not in shown)
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in [*ROWS.items(), *([("More", more)] if more else [])]:
        grid = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": grid, "panels": []}
        )
        y += 1
        for i, panel in enumerate(row):
            at = (i % (_COLUMNS // _WIDTH) * _WIDTH, y + i // (_COLUMNS // _WIDTH) * _HEIGHT)
            panels.append(_panel(panel, known.get(panel.metric), len(panels) + 1, at))
        y += -(-len(row) // (_COLUMNS // _WIDTH)) * _HEIGHT
    document = {
        "uid": "cortex-jupyter",
        "title": "cortex-jupyter: logs of tasks",
        "tags": ["cortex-jupyter"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                _variable("job", "Job", "label_values(cortex_jupyter_build_info, job)"),
                _variable("instance", "Instance", 'label_values(cortex_jupyter_build_info{job=~"$job"}, instance)'),
            ]
        },
        "panels": panels,
    }
    return json.dumps(document, indent=1) + "\n"


def alerts() -> str:
    """Return the alert rules."""
    rules = [alert.rule for alert in ALERTS]
    return yaml.safe_dump({"groups": [{"name": "cortex-jupyter", "rules": rules}]}, sort_keys=False, width=200)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "dashboard.json").write_text(dashboard())
    (FOLDER / "alerts.yaml").write_text(alerts())
