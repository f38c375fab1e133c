"""Dashboard and alert rules use existing metrics."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import cortex_jupyter

DOCS = Path(__file__).parents[1] / "docs"
MADE = runpy.run_path(str(DOCS / "monitoring.py"))


@pytest.mark.parametrize(("name", "make"), [("dashboard.json", "dashboard"), ("alerts.yaml", "alerts")])
def test_dashboard_and_alerts_in_the_repository_are_up_to_date(name: str, make: str) -> None:
    assert (DOCS / "how-to" / "monitoring" / name).read_text() == MADE[make](), (
        "the file is out of date: run docs/monitoring.py"
    )


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, without the rows."""
    return [panel for panel in json.loads(MADE["dashboard"]())["panels"] if panel["type"] != "row"]


def test_every_metric_has_a_panel_and_every_query_a_metric() -> None:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    for metric in MADE["metrics"]():
        name = metric.name + "_bucket" * (metric.kind == "histogram")
        assert any(re.search(rf"\b{name}\b", query) for query in shown), name
    collected = [metric for metric in REGISTRY.collect() if metric.name.startswith("cortex_jupyter_")]
    served = {sample.name for metric in collected for sample in metric.samples}
    served |= {f"{metric.name}_total" for metric in collected if metric.type == "counter"}
    served |= {metric.name for metric in collected if metric.type == "gauge"}  # one with a label may have no value yet
    for query in [*shown, *(alert.query for alert in MADE["ALERTS"])]:
        assert set(re.findall(r"cortex_\w+", query)) <= served, query


def test_the_dashboard_can_be_read_by_a_person() -> None:
    document = json.loads(MADE["dashboard"]())
    rows = [panel["title"] for panel in document["panels"] if panel["type"] == "row"]
    assert len(rows) > 4 and all(title.endswith("?") or title == "More" for title in rows)
    titles = [panel["title"] for panel in panels()]
    assert len({*titles}) == len(titles) and not [title for title in titles if "_" in title or len(title) > 60]
    for panel in panels():
        assert len(panel["description"]) > 20 and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]]
    assert len({*places}) == len(places) and len({panel["id"] for panel in document["panels"]}) == len(places)


def test_the_dashboard_shows_one_job_or_instance_on_demand() -> None:
    variables = {one["name"]: one for one in json.loads(MADE["dashboard"]())["templating"]["list"]}
    assert variables.keys() == {"source", "job", "instance"}
    assert variables["job"]["multi"] and variables["instance"]["includeAll"]
    for panel in panels():
        for target in panel["targets"]:
            assert 'job=~"$job", instance=~"$instance"' in target["expr"], panel["title"]


def test_each_limit_that_an_alert_watches_is_drawn() -> None:
    drawn = {panel["title"] for panel in panels() if len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1}
    assert {"Delay from written to recorded", "CPU of a recorder", "Gaps in the last hour"} <= drawn


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_prometheus_can_parse_every_query_of_the_dashboard(tmp_path: Path) -> None:
    variables = {"$job": ".*", "$instance": ".*", "$__rate_interval": "5m"}
    rules = []
    for i, query in enumerate(target["expr"] for panel in panels() for target in panel["targets"]):
        for name, value in variables.items():
            query = query.replace(name, value)  # noqa: PLW2901 - the same query, filled in
        rules.append({"record": f"panel:{i}", "expr": query})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    check = ["promtool", "check", "rules", str(tmp_path / "rules.yaml")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr


def test_each_alert_has_its_runbook() -> None:
    page = (DOCS / "how-to" / "runbooks.md").read_text()
    sections = dict(re.findall(r"^## (Cortex\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert [*sections] == [alert.name for alert in MADE["ALERTS"]], "in the order of the rules"
    for alert in MADE["ALERTS"]:
        text = sections[alert.name]
        parts = re.findall(r"^- \*\*([\w ]+)\.\*\*", text, re.MULTILINE)
        assert parts == ["Means", "Hurts", "Look", "Mend", "Ends"], alert.name
        assert alert.rule["annotations"]["runbook_url"] == f"docs/how-to/runbooks.md#{alert.name.lower()}"
        assert len(alert.summary) < 140, alert.name


def test_every_metric_in_the_documents_exists() -> None:
    names = {metric.name for metric in MADE["metrics"]()}
    for path in DOCS.rglob("*.md"):
        for name in re.findall(
            r"cortex_jupyter_[a-z_]+(?:_total|_bytes|_seconds|_info|_waiting|_streams)\b", path.read_text()
        ):
            assert name.removesuffix("_bucket") in names, (path.name, name)


def test_counters_of_alerts_are_served_from_zero_on() -> None:
    """`increase` of a series that begins with 1 is 0, so the first error of a process would cause no alert."""
    program = "import prometheus_client as p, cortex_jupyter.telemetry.{0}_metrics; print(p.generate_latest().decode())"
    served = "".join(
        subprocess.run([sys.executable, "-c", program.format(room)], check=True, capture_output=True, text=True).stdout
        for room in ("recorder", "server")
    )
    counted = {one for alert in MADE["ALERTS"] for one in re.findall(r"increase\((\w+(?:{[^}]*})?)", alert.query)}
    assert len(counted) > 3
    for one in counted:
        name, several, codes = one.partition('{code=~"')
        for each in [f'{name}{{code="{code}"}}' for code in codes.removesuffix('"}').split("|")] if several else [one]:
            assert re.search(rf"\n{re.escape(each)}({{reason=\S+}})? 0.0\n", served), each


def test_every_metric_has_our_prefix_and_the_old_name_for_one_release() -> None:
    """`cortex_` alone is the prefix of another project, Grafana Mimir's predecessor Cortex."""
    program = (
        "import prometheus_client as p\n"
        "from cortex_jupyter.telemetry import recorder_metrics as r, server_metrics as s\n"
        "r.LINES.inc(7); s.count_refusal('NotFound'); r.COMMIT.observe(0.3)\n"
        "print(p.generate_latest().decode())"
    )
    served = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    samples = dict(re.findall(r"^(cortex_\S+) (\S+)$", served, re.MULTILINE))
    new = {name: value for name, value in samples.items() if name.startswith("cortex_jupyter_")}
    assert all(metric.name.startswith("cortex_jupyter_") for metric in MADE["metrics"]())
    assert new["cortex_jupyter_lines_total"] == "7.0"
    (build,) = (name for name in new if name.startswith("cortex_jupyter_build_info{"))
    assert f'version="{cortex_jupyter.__version__}"' in build and new[build] == "1.0"
    old = {name: value for name, value in samples.items() if name not in new}
    assert (old["cortex_lines_total"], old['cortex_refused_total{code="NotFound"}']) == ("7.0", "1.0")
    assert old['cortex_commit_seconds_bucket{le="0.5"}'] == "1.0" and len(old) > 50
    assert all(new[name.replace("cortex_", "cortex_jupyter_", 1)] == value for name, value in old.items())


#: Metrics of a healthy recorder and a healthy server, once per minute from 1970 on.
HEALTHY = {
    "up{job='c',instance='r'}": "1x90",
    "up{job='c',instance='s'}": "1x90",
    "up{job='others',instance='x'}": "1x90",
    "cortex_jupyter_heartbeat_timestamp_seconds{job='c',instance='r'}": "0+60x90",
    "cortex_jupyter_lines_total{job='c',instance='r'}": "0+9x90",
    "cortex_jupyter_gaps_total{job='c',instance='r',reason='rotated'}": "0x90",
    "cortex_jupyter_gaps_total{job='c',instance='r',reason='store_memory'}": "0x90",
    "cortex_jupyter_uncommitted_seconds{job='c',instance='r'}": "0x90",
    "cortex_jupyter_queue_bytes{job='c',instance='r'}": "1000x90",
    "cortex_jupyter_refused_namespaces{job='c',instance='r'}": "0x90",
    "cortex_jupyter_waiting_streams{job='c',instance='r'}": "0x10 50x5 0x80",
    "cortex_jupyter_tasks{job='c',instance='r'}": "9x90",
    "process_cpu_seconds_total{job='c',instance='r'}": "0+20x90",
    "process_cpu_seconds_total{job='others',instance='x'}": "0+60x90",
    "cortex_jupyter_streams{job='c',instance='s'}": "3x90",
    "cortex_jupyter_store_bytes{job='c',instance='r'}": "100x90",
    "cortex_jupyter_store_budget_bytes{job='c',instance='r'}": "1000x90",
    "cortex_jupyter_namespace_bytes{job='c',instance='r',namespace='ml'}": "100x90",
    "cortex_jupyter_namespace_quota_bytes{job='c',instance='r',namespace='ml'}": "100x90",
    "cortex_jupyter_line_limit_wait_seconds_total{job='c',instance='r',namespace='ml'}": "0+6x90",
    "cortex_jupyter_recording_lag_seconds_bucket{job='c',instance='r',le='1'}": "0+60x90",
    "cortex_jupyter_recording_lag_seconds_bucket{job='c',instance='r',le='30'}": "0+60x90",
    "cortex_jupyter_recording_lag_seconds_bucket{job='c',instance='r',le='+Inf'}": "0+60x90",
    "cortex_jupyter_commit_seconds_bucket{job='c',instance='r',le='0.5'}": "0+60x90",
    "cortex_jupyter_commit_seconds_bucket{job='c',instance='r',le='5'}": "0+60x90",
    "cortex_jupyter_commit_seconds_bucket{job='c',instance='r',le='+Inf'}": "0+60x90",
    "cortex_jupyter_archive_failures_total{job='c',instance='r'}": "0x90",
    "cortex_jupyter_archive_oldest_waiting_seconds{job='c',instance='r'}": "30x90",
    "cortex_jupyter_leases_total{job='c',instance='r',change='lost'}": "0x90",
    "cortex_jupyter_errors_total{job='c',instance='r',code='InternalError'}": "0x90",
    "cortex_jupyter_errors_total{job='c',instance='r',code='NotAllowed'}": "0+5x90",
    "cortex_jupyter_refused_total{job='c',instance='s',code='InternalError'}": "0x90",
    "cortex_jupyter_refused_total{job='c',instance='s',code='SearchFailed'}": "0x90",
    "cortex_jupyter_refused_total{job='c',instance='s',code='MetricsFailed'}": "0x90",
    "cortex_jupyter_refused_total{job='c',instance='s',code='StoreUnreachable'}": "0x90",
    "cortex_jupyter_refused_total{job='c',instance='s',code='LimitReached'}": "0x90",
    "cortex_jupyter_refused_total{job='c',instance='s',code='NotFound'}": "0+5x90",
}
#: For each alert, the metrics that differ from the healthy ones. `None` means that the series is missing.
FAILING: dict[str, dict[str, str | None]] = {
    "CortexLinesMissing": {"cortex_jupyter_gaps_total{job='c',instance='r',reason='store_memory'}": "0x80 1x10"},
    "CortexRecorderStale": {"cortex_jupyter_heartbeat_timestamp_seconds": "0+60x80 4800x10"},
    "CortexNothingRecorded": {"cortex_jupyter_uncommitted_seconds": "0x80 0+60x10"},
    "CortexNoRecorder": dict.fromkeys(
        ("up{job='c',instance='r'}", *(f"cortex_jupyter_{n}" for n in ("heartbeat_timestamp_seconds", "lines_total")))
    ),
    "CortexDown": {"up{job='c',instance='r'}": "1x80 0x10", "cortex_jupyter_lines_total": "0+9x80 stale"},
    "CortexNamespaceRefused": {"cortex_jupyter_refused_namespaces": "0x80 1x10"},
    "CortexQueueLarge": {"cortex_jupyter_queue_bytes": "1000x80 900000000x10"},
    "CortexRecordingBehind": {"cortex_jupyter_recording_lag_seconds_bucket{job='c',instance='r',le='1'}": "0x90"},
    "CortexCommitSlow": {"cortex_jupyter_commit_seconds_bucket{job='c',instance='r',le='0.5'}": "0x90"},
    "CortexLogsWaiting": {"cortex_jupyter_waiting_streams": "0x60 50x30"},
    "CortexRecorderBusy": {"process_cpu_seconds_total{job='c'": "0+55x90"},
    "CortexStoreNearlyFull": {"cortex_jupyter_store_bytes": "950x90"},
    "CortexNamespaceOverQuota": {"cortex_jupyter_namespace_bytes": "130x90"},
    "CortexLinesLate": {"cortex_jupyter_line_limit_wait_seconds_total": "0+50x90"},
    "CortexArchiveFailing": {"cortex_jupyter_archive_failures_total": "0x70 0+1x20"},
    "CortexArchiveBehind": {"cortex_jupyter_archive_oldest_waiting_seconds": "0+60x90"},
    "CortexLeasesLost": {"cortex_jupyter_leases_total": "0x80 0+1x10"},
    "CortexErrors": {"cortex_jupyter_errors_total{job='c',instance='r',code='InternalError'}": "0x88 1x2"},
    "CortexServerStoreErrors": {
        "cortex_jupyter_refused_total{job='c',instance='s',code='StoreUnreachable'}": "0x88 1x2"
    },
    "CortexServerAtLimit": {"cortex_jupyter_refused_total{job='c',instance='s',code='LimitReached'}": "0x88 1x2"},
    "CortexServerErrors": {"cortex_jupyter_refused_total{job='c',instance='s',code='InternalError'}": "0x88 1x2"},
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install promtool")
def test_each_alert_fires_for_its_own_problem_only(tmp_path: Path) -> None:
    assert FAILING.keys() == {alert.name for alert in MADE["ALERTS"]}
    tests = []
    search = {"cortex_jupyter_refused_total{job='c',instance='s',code='SearchFailed'}": "0x88 1x2"}
    for name, off in [("", {}), *FAILING.items(), ("CortexServerErrors", search)]:
        metrics = {s: next((v for part, v in off.items() if s.startswith(part)), v) for s, v in HEALTHY.items()}
        series = [{"series": one, "values": values} for one, values in metrics.items() if values]
        expected = [{"value": 1, "labels": f'{{alertname="{name}"}}'}] if name else []
        query = {
            "expr": "count by (alertname) (ALERTS{alertstate='firing'})",
            "eval_time": "90m",
            "exp_samples": expected,
        }
        tests.append({"name": name or "sound", "interval": "1m", "input_series": series, "promql_expr_test": [query]})
    rules = str(DOCS / "how-to" / "monitoring" / "alerts.yaml")
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "tests.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
