"""The Job controller (`pkg/controller/job/job_controller.go` in kubernetes/kubernetes)."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox import events
from cortex_jupyter.sandbox.deletion import delete, is_marked
from cortex_jupyter.sandbox.objects import copy, now, owner_reference, random_suffix
from cortex_jupyter.sandbox.resources import BUILT_IN

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Store

_CONTROLLER = "kubernetes.io/job-controller"
#: The final condition of a Job for each condition that announces it.
_FINAL = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}
_INDEX = "batch.kubernetes.io/job-completion-index"


def seconds_since(stamp: str) -> float:
    """Return the seconds since a Kubernetes timestamp."""
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def is_finished(job: KubeObject) -> bool:
    """Whether a Job is Complete or Failed."""
    return any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True"
        for c in (job.get("status") or {}).get("conditions") or []
    )


def reconcile(store: Store, config: Config, job: KubeObject) -> float | None:
    """Take the next step of a Job; return the delay until the next check (seconds), or None.

    A Job ends in two steps. First `SuccessCriteriaMet` or `FailureTarget` announces the outcome, and the pods are
    deleted. When no pod is left, `Complete` or `Failed` follows
    (https://kubernetes.io/docs/concepts/workloads/controllers/job/#termination-of-job-pods).
    """
    spec = job["spec"]
    if is_finished(job):
        return _delete_expired(store, job)
    if spec.get("managedBy", _CONTROLLER) != _CONTROLLER:
        return None  # another controller manages it: https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller
    pods = Pods(store.owned("pods", job["metadata"]["uid"]))
    status = copy(job.get("status") or {})
    if not spec.get("suspend"):
        status.setdefault("startTime", now())
    _set_suspended(status, suspended=bool(spec.get("suspend")))
    delay: float | None = None
    if not _announced(status) and not spec.get("suspend"):
        _decide(job, status, pods)
    if announced := _announced(status):
        for pod in pods.active:
            delete(store, pod)
        pods = Pods(store.owned("pods", job["metadata"]["uid"]))
        if not pods.active and not pods.terminating:
            _end(store, job, status, announced)
    elif spec.get("suspend"):
        for pod in pods.active:
            delete(store, pod)
    elif not is_marked(job):
        delay = _start_pods(store, config, job, pods)
    pods = Pods(store.owned("pods", job["metadata"]["uid"]))
    _count(job, status, pods)
    new = copy(job)
    new["status"] = status
    store.update(new)
    if (limit := spec.get("activeDeadlineSeconds")) and "startTime" in status and not _announced(status):
        remaining = limit - seconds_since(status["startTime"])
        delay = remaining if delay is None else min(remaining, delay)
    return delay


class Pods:
    """A Job's pods, grouped by how the controller handles them."""

    def __init__(self, pods: list[KubeObject]) -> None:
        alive = [p for p in pods if p["status"]["phase"] in ("Pending", "Running")]
        self.succeeded = [p for p in pods if p["status"]["phase"] == "Succeeded"]
        self.failed = [p for p in pods if p["status"]["phase"] == "Failed"]
        self.active = [p for p in alive if not is_marked(p)]
        self.terminating = [p for p in alive if is_marked(p)]


def _index(pod: KubeObject) -> int:
    return int(pod["metadata"]["annotations"][_INDEX])


def _count(job: KubeObject, status: KubeObject, pods: Pods) -> None:
    spec = job["spec"]
    ready = sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions") or [])
        for p in pods.active
    )
    counts = {"active": len(pods.active), "succeeded": len(pods.succeeded), "failed": len(pods.failed)}
    for name, count in counts.items():
        status.pop(name, None)
        if count:
            status[name] = count
    status |= {"ready": ready, "terminating": len(pods.terminating), "uncountedTerminatedPods": {}}
    if spec.get("completionMode") == "Indexed":
        status["completedIndexes"] = _format_indexes({_index(p) for p in pods.succeeded})
        if "backoffLimitPerIndex" in spec:
            status["failedIndexes"] = _format_indexes(_failed_indexes(spec, pods))


# ---------------------------------------------------------------- how a Job ends


def _announced(status: KubeObject) -> KubeObject | None:
    """Return the condition that announces how a Job will end, or None if that is not decided yet."""
    conditions = status.get("conditions") or []
    return next((c for c in conditions if c["type"] in _FINAL and c["status"] == "True"), None)


def _decide(job: KubeObject, status: KubeObject, pods: Pods) -> None:
    spec = job["spec"]
    if failure := _failure(job, status, pods):
        _add_condition(status, "FailureTarget", *failure)
    elif policy_message := _success_policy(spec, pods):
        _add_condition(status, "SuccessCriteriaMet", "SuccessPolicy", policy_message)
    elif _is_complete(spec, pods):
        _add_condition(status, "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")


def _add_condition(status: KubeObject, kind: str, reason: str, message: str) -> None:
    condition = {
        "status": "True",
        "reason": reason,
        "message": message,
        "lastProbeTime": now(),
        "lastTransitionTime": now(),
    }
    status["conditions"] = [*(status.get("conditions") or []), {"type": kind, **condition}]


def _end(store: Store, job: KubeObject, status: KubeObject, target: KubeObject) -> None:
    kind, reason, message = _FINAL[target["type"]], target["reason"], target["message"]
    _add_condition(status, kind, reason, message)
    if kind == "Complete":
        status["completionTime"] = now()
    event = ("Completed", "Job completed") if kind == "Complete" else (reason, message)
    events.record(store, job, *event, component="job-controller", warning=kind == "Failed")


def _failure(job: KubeObject, status: KubeObject, pods: Pods) -> tuple[str, str] | None:
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
    # `pastBackoffLimitOnFailure` fails at `restarts >= limit`; a limit of 0 still allows no restart.
    if _count_failures(spec, pods) > allowed or (restarts >= allowed if allowed else restarts > 0):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if "backoffLimitPerIndex" in spec:
        failed = _failed_indexes(spec, pods)
        if len(failed) > spec.get("maxFailedIndexes", len(failed)):
            return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
        if failed and len(failed | {_index(p) for p in pods.succeeded}) >= spec["completions"]:
            return "FailedIndexes", "Job has failed indexes"
    return None


def _count_failures(spec: KubeObject, pods: Pods) -> int:
    """Return the number of failed pods that count towards `backoffLimit`."""
    return sum(_failure_action(spec, pod)[0] != "Ignore" for pod in pods.failed)


def _failed_indexes(spec: KubeObject, pods: Pods) -> set[int]:
    """Return the indexes that failed more often than `backoffLimitPerIndex` allows, or by a FailIndex rule."""
    actions = [(_index(pod), _failure_action(spec, pod)[0]) for pod in pods.failed]
    counts = Counter(index for index, action in actions if action != "Ignore")
    over = {index for index, count in counts.items() if count > spec["backoffLimitPerIndex"]}
    return (over | {index for index, action in actions if action == "FailIndex"}) - {_index(p) for p in pods.succeeded}


def _failure_action(spec: KubeObject, pod: KubeObject) -> tuple[str, str]:
    """Return the action of `podFailurePolicy` for a failed pod, and its message (`pkg/controller/job/pod_failure_policy.go`)."""
    meta = pod["metadata"]
    for number, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or []):
        action = rule["action"]
        if codes := rule.get("onExitCodes"):
            for name, code in _exit_codes(pod):
                if codes.get("containerName") in (None, name) and matches_exit_codes(codes, code):
                    text = f"Container {name} for pod {meta['namespace']}/{meta['name']} failed with exit code {code}"
                    return action, f"{text} matching {action} rule at index {number}"
        for pattern in rule.get("onPodConditions") or []:
            condition = (pattern["type"], pattern.get("status", "True"))
            if any((c["type"], c["status"]) == condition for c in pod["status"].get("conditions") or []):
                text = f"Pod {meta['namespace']}/{meta['name']} has condition {condition[0]}"
                return action, f"{text} matching {action} rule at index {number}"
    return "Count", ""


def _exit_codes(pod: KubeObject) -> list[tuple[str, int]]:
    states = [s for part in ("initContainerStatuses", "containerStatuses") for s in pod["status"].get(part) or []]
    ends = [(s["name"], s["state"]["terminated"]["exitCode"]) for s in states if "terminated" in s["state"]]
    return [(name, code) for name, code in ends if code]


def matches_exit_codes(codes: KubeObject, code: int) -> bool:
    """Whether an exit code meets the `onExitCodes` of a rule.

    Examples
    --------
    >>> matches_exit_codes({"operator": "In", "values": [42]}, 42), matches_exit_codes({"operator": "NotIn", "values": [42]}, 42)
    (True, False)
    """
    return (code in codes["values"]) is (codes["operator"] == "In")


def _success_policy(spec: KubeObject, pods: Pods) -> str:
    """Return the message for the first rule of `successPolicy` that is met, or an empty string (`pkg/controller/job/success_policy.go`)."""
    succeeded = {_index(p) for p in pods.succeeded} if spec.get("completionMode") == "Indexed" else set()
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or []):
        required = _parse_indexes(rule["succeededIndexes"]) if "succeededIndexes" in rule else None
        matching = succeeded if required is None else succeeded & required
        if len(matching) >= rule.get("succeededCount", len(required or ()) or 1):
            return f"Matched rules at index {number}"
    return ""


def _is_complete(spec: KubeObject, pods: Pods) -> bool:
    required = spec.get("completions")
    if required is None:
        return bool(pods.succeeded) and not pods.active
    if spec.get("completionMode") == "Indexed":
        return len({_index(p) for p in pods.succeeded}) >= int(required)
    return len(pods.succeeded) >= int(required)


def _set_suspended(status: KubeObject, *, suspended: bool) -> None:
    old = next((c for c in status.get("conditions") or [] if c["type"] == "Suspended"), None)
    if suspended:
        status.pop("startTime", None)
    if (old is None and not suspended) or (old and (old["status"] == "True") is suspended):
        return
    reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
    condition = {
        "type": "Suspended",
        "status": str(suspended),
        "reason": reason,
        "message": message,
        "lastProbeTime": now(),
        "lastTransitionTime": now(),
    }
    status["conditions"] = [c for c in status.get("conditions") or [] if c["type"] != "Suspended"] + [condition]


def _start_pods(store: Store, config: Config, job: KubeObject, pods: Pods) -> float | None:
    """Create missing pods unless the back-off after a failure still runs, and delete surplus ones; return a delay as `reconcile`."""
    spec, active = job["spec"], pods.active
    # https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-replacement-policy
    blocking = pods.terminating if spec.get("podReplacementPolicy") == "Failed" else []
    desired = spec["parallelism"]
    failed_indexes: set[int] = set()
    if (completions := spec.get("completions")) is not None:
        failed_indexes = _failed_indexes(spec, pods) if "backoffLimitPerIndex" in spec else set()
        desired = min(desired, completions - len(pods.succeeded) - len(failed_indexes))
    elif pods.succeeded:
        desired = len(active)
    missing = desired - len(active) - len(blocking)
    if missing > 0 and pods.failed:
        pause = min(config.backoff_max, config.job_backoff * 2 ** (len(pods.failed) - 1))
        ends = [
            s["state"]["terminated"]["finishedAt"]
            for p in pods.failed
            for s in p["status"].get("containerStatuses") or []
            if "terminated" in s["state"]
        ]
        if ends and (remaining := pause - seconds_since(max(ends))) > 0:
            return float(remaining)
    if spec.get("completionMode") == "Indexed":
        used_indexes = failed_indexes | {_index(p) for p in pods.succeeded + active + blocking}
        free = iter(sorted(set(range(completions or 0)) - used_indexes))
        for index in itertools.islice(free, max(0, missing)):
            failures = sum(_index(p) == index for p in pods.failed) if "backoffLimitPerIndex" in spec else None
            _start_pod(store, job, index, failures)
    else:
        for _ in range(missing):
            _start_pod(store, job)
    for pod in active[max(0, desired) :] if missing < 0 else []:
        delete(store, pod)
    return None


def _start_pod(store: Store, job: KubeObject, index: int | None = None, failures: int | None = None) -> None:
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
    meta["name"] = meta["generateName"] + random_suffix()
    pod = store.create(BUILT_IN["pods"], {"metadata": meta, "spec": template["spec"]})
    events.record(store, job, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}", component="job-controller")


def _format_indexes(indexes: set[int]) -> str:
    """Format indexes as in `completedIndexes`.

    Examples
    --------
    >>> _format_indexes({0, 1, 2, 5})
    '0-2,5'
    """
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _parse_indexes(text: str) -> set[int]:
    """Parse indexes in the format of `completedIndexes`.

    Examples
    --------
    >>> _parse_indexes("0-2,5")
    {0, 1, 2, 5}
    """
    ends = [part.partition("-") for part in text.split(",") if part]
    return {index for first, _, last in ends for index in range(int(first), int(last or first) + 1)}


def _delete_expired(store: Store, job: KubeObject) -> float | None:
    """Delete a finished Job after its `ttlSecondsAfterFinished`; return the remaining seconds until then."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None:
        return None
    ended = max(c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed"))
    remaining = float(ttl) - seconds_since(ended)
    if remaining > 0:
        return remaining
    delete(store, job)
    return None
