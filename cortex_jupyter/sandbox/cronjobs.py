"""The CronJob controller: it creates a Job at each due minute (`pkg/controller/cronjob/cronjob_controllerv2.go`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox import defaults, events
from cortex_jupyter.sandbox.deletion import delete
from cortex_jupyter.sandbox.jobs import is_finished
from cortex_jupyter.sandbox.objects import copy, owner_reference
from cortex_jupyter.sandbox.resources import BUILT_IN

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Store

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def _field(text: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if span == "*" else (int(first), int(last or (high if step else first)))
        values |= set(range(begin, end + 1, int(step or 1)))
    return values


def is_due(schedule: str, at: datetime) -> bool:
    """Whether a schedule is due at a minute.

    Parameters
    ----------
    schedule : str
        Five fields of numbers, `*`, `a-b` and `*/n`, or a macro such as `@hourly`.
    at : datetime
        The minute (UTC).

    Raises
    ------
    ValueError
        If the schedule cannot be parsed.

    Examples
    --------
    >>> is_due("*/15 9-17 * * 1-5", datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
    True
    """
    fields = _MACROS.get(schedule, schedule).split()
    if len(fields) != len(_LIMITS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {schedule}")
    minutes, hours, days, months, weekdays = (
        _field(text, *limits) for text, limits in zip(fields, _LIMITS, strict=True)
    )
    day, weekday = at.day in days, at.isoweekday() % 7 in {d % 7 for d in weekdays}
    # If both day of month and day of week are restricted, a match of either is enough.
    is_day = day and weekday if "*" in (fields[2], fields[4]) else day or weekday
    return at.minute in minutes and at.hour in hours and at.month in months and is_day


def reconcile(store: Store, _config: Config, owner: KubeObject) -> float | None:
    """Create the Job of this minute if it is due; return the delay until the next minute (seconds)."""
    meta, spec = owner["metadata"], owner["spec"]
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    jobs = store.owned("jobs.batch", meta["uid"])
    active = [j for j in jobs if not is_finished(j)]
    name = f"{meta['name']}-{int(minute.timestamp()) // 60}"
    created = datetime.fromisoformat(meta["creationTimestamp"])
    is_new = created < minute and store.get("jobs.batch", meta["namespace"], name) is None
    status = copy(owner.get("status") or {})
    if (
        is_new
        and not spec.get("suspend")
        and is_due(spec["schedule"], minute)
        and not (active and spec.get("concurrencyPolicy") == "Forbid")
    ):
        for job in active if spec.get("concurrencyPolicy") == "Replace" else []:
            delete(store, job)
        _create_job(store, owner, name, minute)
        status["lastScheduleTime"] = minute.strftime("%Y-%m-%dT%H:%M:%SZ")
        jobs = store.owned("jobs.batch", meta["uid"])
    for kind, limit in (
        ("Complete", spec.get("successfulJobsHistoryLimit", 3)),
        ("Failed", spec.get("failedJobsHistoryLimit", 1)),
    ):
        ended = [j for j in jobs if any(c["type"] == kind for c in (j.get("status") or {}).get("conditions") or [])]
        for job in sorted(ended, key=lambda j: j["metadata"]["creationTimestamp"])[: max(0, len(ended) - limit)]:
            delete(store, job)
    references = [
        {
            "kind": "Job",
            "apiVersion": "batch/v1",
            "name": j["metadata"]["name"],
            "namespace": meta["namespace"],
            "uid": j["metadata"]["uid"],
        }
        for j in jobs
        if not is_finished(j)
    ]
    status.pop("active", None)
    changed = copy(owner)
    changed["status"] = status | ({"active": references} if references else {})
    store.update(changed)
    return (minute + timedelta(minutes=1) - now).total_seconds() + 0.01


def _create_job(store: Store, owner: KubeObject, name: str, minute: datetime) -> None:
    meta, template = owner["metadata"], copy(owner["spec"]["jobTemplate"])
    template_meta = template.get("metadata") or {}
    timestamp = {"batch.kubernetes.io/cronjob-scheduled-timestamp": minute.strftime("%Y-%m-%dT%H:%M:%SZ")}
    job_meta = {
        "name": name,
        "namespace": meta["namespace"],
        "labels": template_meta.get("labels") or {},
        "annotations": (template_meta.get("annotations") or {}) | timestamp,
        "ownerReferences": [owner_reference(owner)],
    }
    job = {"kind": "Job", "apiVersion": "batch/v1", "metadata": job_meta, "spec": template["spec"]}
    defaults.validate_and_default(BUILT_IN["jobs.batch"], job)
    store.create(BUILT_IN["jobs.batch"], job)
    events.record(store, owner, "SuccessfulCreate", f"Created job {name}", component="cronjob-controller")
