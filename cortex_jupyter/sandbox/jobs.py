"""The Job controller (`pkg/controller/job/job_controller.go` in kubernetes/kubernetes)."""

from __future__ import annotations

import itertools
from collections import Counter
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
_CONTROLLER = "kubernetes.io/job-controller"
#: The condition that ends a Job by the one that says before how it will.
_FINAL = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}
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
    """Take the next step of a Job; return in how many seconds to look again.

    A Job ends in two steps: first `SuccessCriteriaMet` or `FailureTarget` says how, and its pods are told to stop; when
    none of them is left, `Complete` or `Failed` follows
    (https://kubernetes.io/docs/concepts/workloads/controllers/job/#termination-of-job-pods).
    """
    spec = job["spec"]
    if finished(job):
        return _clean(store, job)
    if spec.get("managedBy", _CONTROLLER) != _CONTROLLER:
        return None  # another controller's: https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller
    pods = Pods(store.owned("pods", job["metadata"]["uid"]))
    status = copy(job.get("status") or {})
    if not spec.get("suspend"):
        status.setdefault("startTime", now())
    _suspension(status, suspended=bool(spec.get("suspend")))
    again: float | None = None
    if not _target(status) and not spec.get("suspend"):
        _decide(job, status, pods)
    if target := _target(status):
        for pod in pods.active:
            delete(store, pod)
        pods = Pods(store.owned("pods", job["metadata"]["uid"]))
        if not pods.active and not pods.terminating:
            _end(store, job, status, target)
    elif spec.get("suspend"):
        for pod in pods.active:
            delete(store, pod)
    else:
        again = _start_pods(store, config, job, pods)
    pods = Pods(store.owned("pods", job["metadata"]["uid"]))
    _count(job, status, pods)
    new = copy(job)
    new["status"] = status
    store.update(new)
    if (limit := spec.get("activeDeadlineSeconds")) and "startTime" in status and not _target(status):
        left = limit - seconds_since(status["startTime"])
        again = left if again is None else min(left, again)
    return again


class Pods:
    """A Job's pods by what the controller does about them."""

    def __init__(self, pods: list[Object]) -> None:
        alive = [p for p in pods if p["status"]["phase"] in ("Pending", "Running")]
        self.done = [p for p in pods if p["status"]["phase"] == "Succeeded"]
        self.failed = [p for p in pods if p["status"]["phase"] == "Failed"]
        self.active = [p for p in alive if "deletionTimestamp" not in p["metadata"]]
        self.terminating = [p for p in alive if "deletionTimestamp" in p["metadata"]]


def _index(pod: Object) -> int:
    return int(pod["metadata"]["annotations"][_INDEX])


def _count(job: Object, status: Object, pods: Pods) -> None:
    spec = job["spec"]
    ready = sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions") or [])
        for p in pods.active
    )
    counts = {"active": len(pods.active), "succeeded": len(pods.done), "failed": len(pods.failed)}
    for name, count in counts.items():
        status.pop(name, None)
        if count:
            status[name] = count
    status |= {"ready": ready, "terminating": len(pods.terminating), "uncountedTerminatedPods": {}}
    if spec.get("completionMode") == "Indexed":
        status["completedIndexes"] = _ranges({_index(p) for p in pods.done})
        if "backoffLimitPerIndex" in spec:
            status["failedIndexes"] = _ranges(_failed_indexes(spec, pods))


# ---------------------------------------------------------------- how a Job ends


def _target(status: Object) -> Object | None:
    """Return the condition that says how a Job will end, where that is decided."""
    conditions = status.get("conditions") or []
    return next((c for c in conditions if c["type"] in _FINAL and c["status"] == "True"), None)


def _decide(job: Object, status: Object, pods: Pods) -> None:
    spec = job["spec"]
    if problem := _problem(job, status, pods):
        _add(status, "FailureTarget", *problem)
    elif matched := _success_policy(spec, pods):
        _add(status, "SuccessCriteriaMet", "SuccessPolicy", matched)
    elif _complete(spec, pods):
        _add(status, "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")


def _add(status: Object, kind: str, reason: str, message: str) -> None:
    made = {"status": "True", "reason": reason, "message": message, "lastProbeTime": now(), "lastTransitionTime": now()}
    status["conditions"] = [*(status.get("conditions") or []), {"type": kind, **made}]


def _end(store: Store, job: Object, status: Object, target: Object) -> None:
    kind, reason, message = _FINAL[target["type"]], target["reason"], target["message"]
    _add(status, kind, reason, message)
    if kind == "Complete":
        status["completionTime"] = now()
    told = ("Completed", "Job completed") if kind == "Complete" else (reason, message)
    events.record(store, job, *told, component="job-controller", warning=kind == "Failed")


def _problem(job: Object, status: Object, pods: Pods) -> tuple[str, str] | None:
    spec = job["spec"]
    if (limit := spec.get("activeDeadlineSeconds")) and seconds_since(status["startTime"]) >= limit:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    for pod in pods.failed:
        action, message = _failure_action(spec, pod)
        if action == "FailJob":
            return "PodFailurePolicy", message
    restarts = 0
    if spec["template"]["spec"]["restartPolicy"] == "OnFailure":
        states = [
            s
            for p in pods.active
            for part in ("containerStatuses", "initContainerStatuses")
            for s in p["status"].get(part) or []
        ]
        restarts = sum(s["restartCount"] for s in states)
    allowed = spec["backoffLimit"]
    # pastBackoffLimitOnFailure counts restarts, and 0 allows none.
    if _counted(spec, pods) > allowed or (restarts >= allowed if allowed else restarts > 0):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if "backoffLimitPerIndex" in spec:
        failed = _failed_indexes(spec, pods)
        if len(failed) > spec.get("maxFailedIndexes", len(failed)):
            return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
        if failed and len(failed | {_index(p) for p in pods.done}) >= spec["completions"]:
            return "FailedIndexes", "Job has failed indexes"
    return None


def _counted(spec: Object, pods: Pods) -> int:
    """Return how many failed pods count towards `backoffLimit`."""
    return sum(_failure_action(spec, pod)[0] != "Ignore" for pod in pods.failed)


def _failed_indexes(spec: Object, pods: Pods) -> set[int]:
    """Return the indexes that have failed more often than `backoffLimitPerIndex` allows, or by a FailIndex rule."""
    actions = [(_index(pod), _failure_action(spec, pod)[0]) for pod in pods.failed]
    counts = Counter(index for index, action in actions if action != "Ignore")
    over = {index for index, count in counts.items() if count > spec["backoffLimitPerIndex"]}
    return (over | {index for index, action in actions if action == "FailIndex"}) - {_index(p) for p in pods.done}


def _failure_action(spec: Object, pod: Object) -> tuple[str, str]:
    """Return what `podFailurePolicy` makes of a failed pod, and why (`pkg/controller/job/pod_failure_policy.go`)."""
    meta = pod["metadata"]
    for number, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or []):
        action = rule["action"]
        if codes := rule.get("onExitCodes"):
            for name, code in _exit_codes(pod):
                if codes.get("containerName") in (None, name) and matches_exit_codes(codes, code):
                    text = f"Container {name} for pod {meta['namespace']}/{meta['name']} failed with exit code {code}"
                    return action, f"{text} matching {action} rule at index {number}"
        for pattern in rule.get("onPodConditions") or []:
            wanted = (pattern["type"], pattern.get("status", "True"))
            if any((c["type"], c["status"]) == wanted for c in pod["status"].get("conditions") or []):
                text = f"Pod {meta['namespace']}/{meta['name']} has condition {wanted[0]}"
                return action, f"{text} matching {action} rule at index {number}"
    return "Count", ""


def _exit_codes(pod: Object) -> list[tuple[str, int]]:
    states = [s for part in ("initContainerStatuses", "containerStatuses") for s in pod["status"].get(part) or []]
    ends = [(s["name"], s["state"]["terminated"]["exitCode"]) for s in states if "terminated" in s["state"]]
    return [(name, code) for name, code in ends if code]


def matches_exit_codes(codes: Object, code: int) -> bool:
    """Whether an exit code is one that a rule names.

    Examples
    --------
    >>> matches_exit_codes({"operator": "In", "values": [42]}, 42), matches_exit_codes({"operator": "NotIn", "values": [42]}, 42)
    (True, False)
    """
    return (code in codes["values"]) is (codes["operator"] == "In")


def _success_policy(spec: Object, pods: Pods) -> str:
    """Say which rule of `successPolicy` is met, if any (`pkg/controller/job/success_policy.go`)."""
    done = {_index(p) for p in pods.done} if spec.get("completionMode") == "Indexed" else set()
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or []):
        wanted = _indexes(rule["succeededIndexes"]) if "succeededIndexes" in rule else None
        found = done if wanted is None else done & wanted
        if len(found) >= rule.get("succeededCount", len(wanted or ()) or 1):
            return f"Matched rules at index {number}"
    return ""


def _complete(spec: Object, pods: Pods) -> bool:
    wanted = spec.get("completions")
    if wanted is None:
        return bool(pods.done) and not pods.active
    if spec.get("completionMode") == "Indexed":
        return len({_index(p) for p in pods.done}) >= int(wanted)
    return len(pods.done) >= int(wanted)


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


def _start_pods(store: Store, config: Config, job: Object, pods: Pods) -> float | None:
    """Create the pods that are missing, unless the back-off after a failure has not passed yet."""
    spec, active = job["spec"], pods.active
    # https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-replacement-policy
    leaving = pods.terminating if spec.get("podReplacementPolicy") == "Failed" else []
    wanted = spec["parallelism"]
    over: set[int] = set()
    if (completions := spec.get("completions")) is not None:
        over = _failed_indexes(spec, pods) if "backoffLimitPerIndex" in spec else set()
        wanted = min(wanted, completions - len(pods.done) - len(over))
    elif pods.done:
        wanted = len(active)
    missing = wanted - len(active) - len(leaving)
    if missing > 0 and pods.failed:
        pause = min(config.backoff_max, config.job_backoff * 2 ** (len(pods.failed) - 1))
        ends = [
            s["state"]["terminated"]["finishedAt"]
            for p in pods.failed
            for s in p["status"].get("containerStatuses") or []
            if "terminated" in s["state"]
        ]
        if ends and (left := pause - seconds_since(max(ends))) > 0:
            return float(left)
    if spec.get("completionMode") == "Indexed":
        taken = over | {_index(p) for p in pods.done + active + leaving}
        free = iter(sorted(set(range(completions or 0)) - taken))
        for index in itertools.islice(free, max(0, missing)):
            failures = sum(_index(p) == index for p in pods.failed) if "backoffLimitPerIndex" in spec else None
            _start_pod(store, job, index, failures)
    else:
        for _ in range(missing):
            _start_pod(store, job)
    for pod in active[max(0, wanted) :] if missing < 0 else []:
        delete(store, pod)
    return None


def _start_pod(store: Store, job: Object, index: int | None = None, failures: int | None = None) -> None:
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
        if failures is not None:
            meta["annotations"]["batch.kubernetes.io/job-index-failure-count"] = str(failures)
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


def _indexes(text: str) -> set[int]:
    """Read what `_ranges` writes.

    Examples
    --------
    >>> _indexes("0-2,5")
    {0, 1, 2, 5}
    """
    ends = [part.partition("-") for part in text.split(",") if part]
    return {index for first, _, last in ends for index in range(int(first), int(last or first) + 1)}


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
