"""The Job controller (`pkg/controller/job/job_controller.go` in kubernetes/kubernetes)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox import events
from cortex_jupyter.sandbox.deletion import delete
from cortex_jupyter.sandbox.objects import copy, now, owner_reference, random_end
from cortex_jupyter.sandbox.resources import BY_PLURAL

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Store

Object = dict[str, Any]
_INDEX = "batch.kubernetes.io/job-completion-index"


def seconds_since(stamp: str) -> float:
    """Give the seconds since a Kubernetes time."""
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def finished(job: Object) -> bool:
    """Whether a Job is Complete or Failed."""
    return any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True"
        for c in (job.get("status") or {}).get("conditions") or []
    )


def reconcile(store: Store, config: Config, job: Object) -> float | None:
    """Take the next step of a Job; give when to look again, in seconds."""
    spec = job["spec"]
    if finished(job):
        return _clean(store, job)
    pods = store.owned("pods", job["metadata"]["uid"])
    done = [p for p in pods if p["status"]["phase"] == "Succeeded"]
    failed = [p for p in pods if p["status"]["phase"] == "Failed"]
    active = [
        p for p in pods if p["status"]["phase"] in ("Pending", "Running") and "deletionTimestamp" not in p["metadata"]
    ]
    status = copy(job.get("status") or {})
    if not spec.get("suspend"):
        status.setdefault("startTime", now())
    _suspension(status, suspended=bool(spec.get("suspend")))
    problem = None if spec.get("suspend") else _problem(job, status, failed, active)
    again: float | None = None
    if problem:
        _end(store, job, status, "Failed", *problem)
        for pod in active:
            delete(store, pod)
        failed, active = failed + active, []
    elif spec.get("suspend"):
        for pod in active:
            delete(store, pod)
        active = []
    elif _complete(spec, done, active):
        for pod in active:
            delete(store, pod)
        active = []
        status["completionTime"] = now()
        _end(store, job, status, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    else:
        again = _start_pods(store, config, job, done, failed, active)
        active = [
            p
            for p in store.owned("pods", job["metadata"]["uid"])
            if p["status"]["phase"] in ("Pending", "Running") and "deletionTimestamp" not in p["metadata"]
        ]
    _count(spec, status, done, failed, active)
    new = copy(job)
    new["status"] = status
    store.update(new)
    if (limit := spec.get("activeDeadlineSeconds")) and "startTime" in status and not finished(new):
        left = limit - seconds_since(status["startTime"])
        again = left if again is None else min(left, again)
    return again


def _count(spec: Object, status: Object, done: list[Object], failed: list[Object], active: list[Object]) -> None:
    ready = sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions") or []) for p in active
    )
    counts = {"active": len(active), "succeeded": len(done), "failed": len(failed)}
    for name, count in counts.items():
        status.pop(name, None)
        if count:
            status[name] = count
    status |= {"ready": ready, "terminating": 0, "uncountedTerminatedPods": {}}
    if spec.get("completionMode") == "Indexed":
        status["completedIndexes"] = _ranges({int(p["metadata"]["annotations"][_INDEX]) for p in done})


def _problem(job: Object, status: Object, failed: list[Object], active: list[Object]) -> tuple[str, str] | None:
    spec = job["spec"]
    if (limit := spec.get("activeDeadlineSeconds")) and seconds_since(status["startTime"]) >= limit:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    restarts = 0
    if spec["template"]["spec"]["restartPolicy"] == "OnFailure":
        states = [
            s
            for p in active
            for part in ("containerStatuses", "initContainerStatuses")
            for s in p["status"].get(part) or []
        ]
        restarts = sum(s["restartCount"] for s in states)
    allowed = spec["backoffLimit"]
    # pastBackoffLimitOnFailure counts restarts, and 0 allows none.
    if len(failed) > allowed or (restarts >= allowed if allowed else restarts > 0):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _complete(spec: Object, done: list[Object], active: list[Object]) -> bool:
    wanted = spec.get("completions")
    if wanted is None:
        return bool(done) and not active
    if spec.get("completionMode") == "Indexed":
        return len({p["metadata"]["annotations"][_INDEX] for p in done}) >= int(wanted)
    return len(done) >= int(wanted)


def _end(store: Store, job: Object, status: Object, kind: str, reason: str, message: str) -> None:
    """Set the condition that ends a Job, and the one that newer versions set before it."""
    before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[kind]
    made = {"status": "True", "reason": reason, "message": message, "lastProbeTime": now(), "lastTransitionTime": now()}
    status["conditions"] = [
        *(status.get("conditions") or []),
        {"type": before, **made},
        {"type": kind, **made},
    ]
    told = ("Completed", "Job completed") if kind == "Complete" else (reason, message)
    events.record(store, job, *told, component="job-controller", warning=kind == "Failed")


def _suspension(status: Object, *, suspended: bool) -> None:
    old = next((c for c in status.get("conditions") or [] if c["type"] == "Suspended"), None)
    if suspended:
        status.pop("startTime", None)
    if (old is None and not suspended) or (old and (old["status"] == "True") is suspended):
        return
    reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
    made = {
        "type": "Suspended",
        "status": str(suspended),
        "reason": reason,
        "message": message,
        "lastProbeTime": now(),
        "lastTransitionTime": now(),
    }
    status["conditions"] = [c for c in status.get("conditions") or [] if c["type"] != "Suspended"] + [made]


def _start_pods(
    store: Store, config: Config, job: Object, done: list[Object], failed: list[Object], active: list[Object]
) -> float | None:
    """Create the pods that are missing, unless the back-off after a failure has not passed yet."""
    spec = job["spec"]
    wanted = spec["parallelism"]
    if (completions := spec.get("completions")) is not None:
        wanted = min(wanted, completions - len(done))
    elif done:
        wanted = len(active)
    missing = wanted - len(active)
    if missing > 0 and failed:
        pause = min(config.backoff_max, config.job_backoff * 2 ** (len(failed) - 1))
        ends = [
            s["state"]["terminated"]["finishedAt"]
            for p in failed
            for s in p["status"].get("containerStatuses") or []
            if "terminated" in s["state"]
        ]
        if ends and (left := pause - seconds_since(max(ends))) > 0:
            return float(left)
    taken = {p["metadata"].get("annotations", {}).get(_INDEX) for p in done + active}
    free = (i for i in range(completions or 0) if str(i) not in taken)
    for _ in range(missing):
        _start_pod(store, job, next(free, None) if spec.get("completionMode") == "Indexed" else None)
    for pod in active[wanted:] if missing < 0 else []:
        delete(store, pod)
    return None


def _start_pod(store: Store, job: Object, index: int | None) -> None:
    template = copy(job["spec"]["template"])
    meta, name = template.get("metadata") or {}, job["metadata"]["name"]
    meta = {k: meta[k] for k in ("labels", "annotations") if meta.get(k)}
    meta |= {
        "namespace": job["metadata"]["namespace"],
        "generateName": f"{name}-",
        "ownerReferences": [owner_reference(job)],
    }
    if index is not None:
        meta["generateName"] = f"{name}-{index}-"
        meta["labels"][_INDEX] = meta.setdefault("annotations", {})[_INDEX] = str(index)
        template["spec"].setdefault("hostname", f"{name}-{index}")
        for container in template["spec"]["containers"] + (template["spec"].get("initContainers") or []):
            container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
    meta["name"] = meta["generateName"] + random_end()
    pod = store.create(BY_PLURAL["pods"], {"metadata": meta, "spec": template["spec"]})
    events.record(store, job, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}", component="job-controller")


def _ranges(indexes: set[int]) -> str:
    """Write indexes as `completedIndexes` does.

    Examples
    --------
    >>> _ranges({0, 1, 2, 5})
    '0-2,5'
    """
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _clean(store: Store, job: Object) -> float | None:
    """Delete a finished Job when its `ttlSecondsAfterFinished` is over."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None:
        return None
    ended = max(c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed"))
    left = float(ttl) - seconds_since(ended)
    if left > 0:
        return left
    delete(store, job)
    return None
