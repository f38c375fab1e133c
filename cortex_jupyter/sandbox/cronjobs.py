"""CronJobs: a Job at each due minute (`pkg/controller/cronjob/cronjob_controllerv2.go`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox import defaults, events
from cortex_jupyter.sandbox.deletion import delete
from cortex_jupyter.sandbox.jobs import finished
from cortex_jupyter.sandbox.objects import copy, owner_reference
from cortex_jupyter.sandbox.resources import BY_PLURAL

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Store

Object = dict[str, Any]
_NAMED = {
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


def due(schedule: str, at: datetime) -> bool:
    """Whether a schedule names a minute.

    Parameters
    ----------
    schedule : str
        Five fields of numbers, `*`, `a-b`, `*/n`, or `@hourly` and its like.
    at : datetime
        The minute, UTC.

    Raises
    ------
    ValueError
        If the schedule cannot be read.

    Examples
    --------
    >>> due("*/15 9-17 * * 1-5", datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
    True
    """
    fields = _NAMED.get(schedule, schedule).split()
    if len(fields) != len(_LIMITS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {schedule}")
    minutes, hours, days, months, weekdays = (
        _field(text, *limits) for text, limits in zip(fields, _LIMITS, strict=True)
    )
    day, weekday = at.day in days, at.isoweekday() % 7 in {d % 7 for d in weekdays}
    # Day of month and day of week: either is enough where both are given.
    right_day = day and weekday if "*" in (fields[2], fields[4]) else day or weekday
    return at.minute in minutes and at.hour in hours and at.month in months and right_day


def reconcile(store: Store, _config: Config, owner: Object) -> float | None:
    """Start the Job of this minute if it is due; give the seconds to the next minute."""
    meta, spec = owner["metadata"], owner["spec"]
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    made = store.owned("jobs", meta["uid"])
    active = [j for j in made if not finished(j)]
    name = f"{meta['name']}-{int(minute.timestamp()) // 60}"
    created = datetime.fromisoformat(meta["creationTimestamp"])
    new = created < minute and store.get("jobs", meta["namespace"], name) is None
    status = copy(owner.get("status") or {})
    if (
        new
        and not spec.get("suspend")
        and due(spec["schedule"], minute)
        and not (active and spec.get("concurrencyPolicy") == "Forbid")
    ):
        for job in active if spec.get("concurrencyPolicy") == "Replace" else []:
            delete(store, job)
        _start(store, owner, name, minute)
        status["lastScheduleTime"] = minute.strftime("%Y-%m-%dT%H:%M:%SZ")
        made = store.owned("jobs", meta["uid"])
    for kind, limit in (
        ("Complete", spec.get("successfulJobsHistoryLimit", 3)),
        ("Failed", spec.get("failedJobsHistoryLimit", 1)),
    ):
        ended = [j for j in made if any(c["type"] == kind for c in (j.get("status") or {}).get("conditions") or [])]
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
        for j in made
        if not finished(j)
    ]
    status.pop("active", None)
    changed = copy(owner)
    changed["status"] = status | ({"active": references} if references else {})
    store.update(changed)
    return (minute + timedelta(minutes=1) - now).total_seconds() + 0.01


def _start(store: Store, owner: Object, name: str, minute: datetime) -> None:
    meta, template = owner["metadata"], copy(owner["spec"]["jobTemplate"])
    inner = template.get("metadata") or {}
    scheduled = {"batch.kubernetes.io/cronjob-scheduled-timestamp": minute.strftime("%Y-%m-%dT%H:%M:%SZ")}
    made = {
        "name": name,
        "namespace": meta["namespace"],
        "labels": inner.get("labels") or {},
        "annotations": (inner.get("annotations") or {}) | scheduled,
        "ownerReferences": [owner_reference(owner)],
    }
    job = {"kind": "Job", "apiVersion": "batch/v1", "metadata": made, "spec": template["spec"]}
    defaults.prepare(BY_PLURAL["jobs"], job)
    store.create(BY_PLURAL["jobs"], job)
    events.record(store, owner, "SuccessfulCreate", f"Created job {name}", component="cronjob-controller")
