"""The table of known kinds of custom resources: the labels of their pods, the roles of these, and how objects show an end.

An object of a kind without a row is a task too: owner references lead to its pods, and a general rule to its end. A user extends
the table with `CORTEX_KINDS` or `c.CortexJupyter.kinds`.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cortex_jupyter.cluster.pods import in_one_line
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.model.task import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: Conditions (type and status) that mean an end in kinds without a row. `Ready` and `Reconciled` mean nothing for an end.
_CONDITIONS: Final = {
    **{(name, "True"): "succeeded" for name in ("Complete", "Completed", "Succeeded", "Finished")},
    ("Failed", "True"): "failed",
    ("Succeeded", "False"): "failed",
}
#: Fields of a status that hold the start and the end.
_TIMES: Final = frozenset({"startTime", "completionTime", "endTime", "finishedAt", "stoppedAt", "terminationTime"})
#: The fields of an object that are kept: they hold its state.
_PARTS: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
#: Fields of a status that hold the state as a word, in kinds without a row, and such words in lower case.
_FIELDS: Final = ("phase", "state", "jobStatus")
_WORDS: Final = {
    "complete": "succeeded",
    "completed": "succeeded",
    "success": "succeeded",
    "succeeded": "succeeded",
    "finished": "succeeded",
    "error": "failed",
    "failed": "failed",
    "failure": "failed",
    "cancelled": "failed",
    "canceled": "failed",
    "aborted": "failed",
    "suspended": "suspended",
}


#: Words for tasks that have not ended.
_UNDER_WAY: Final = dict.fromkeys(
    ("created", "initializing", "pending", "queued", "running", "starting", "submitted", "waiting"), ""
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table.

    Parameters
    ----------
    name : str
        Kind and group in lower case: `rayjob.ray.io`.
    labels : mapping of str to str or tuple of str
        Labels that select the task's pods, each with the path in the object that holds the label's value, or several paths.
    role, attempt : tuple of str
        Labels and annotations of a pod; the first that it has counts.
    rank : tuple of str
        Labels and annotations of a pod that hold numbers; all that it has, from the coarse to the fine.
    states : tuple of (str, mapping)
        States as in `ObjectState`, each with the paths in the object and the values that show it. The first match counts. A name
        without a dot is a condition; its value is the condition's status.
    reason, message : tuple of str
        Paths of the words that explain the state, unless a condition shows it.
    ends : bool
        Whether such a task ends by itself.
    source : str
        Where the facts come from.
    """

    name: str
    labels: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    role: tuple[str, ...] = ()
    rank: tuple[str, ...] = ()
    attempt: tuple[str, ...] = ()
    states: tuple[tuple[str, Mapping[str, object]], ...] = ()
    reason: tuple[str, ...] = ()
    message: tuple[str, ...] = ()
    ends: bool = True
    source: str = ""

    @property
    def plural(self) -> str:
        """The name of the collection, `rayjobs`, provided that its plural is regular, as that of each built-in row is."""
        singular = self.name.partition(".")[0]
        if singular.endswith(("s", "x", "z", "ch", "sh")):
            return singular + "es"
        return singular[:-1] + "ies" if re.search(r"[^aeiou]y\Z", singular) else singular + "s"


def kind_of(name: str) -> Kind:
    """Return the row of a kind; one without facts if the table has none.

    Examples
    --------
    >>> kind_of("jobset.jobset.x-k8s.io").labels
    {'jobset.sigs.k8s.io/jobset-name': 'metadata.name'}
    >>> kind_of("experiment.example.org").ends
    True
    """
    return table().get(name) or Kind(name)


def ends_by_itself(kind: str) -> bool:
    """Return whether tasks of a kind end by themselves.

    The state of such a task depends on all pods that it ever had. The other kinds make new pods for ever.

    Examples
    --------
    >>> ends_by_itself("job"), ends_by_itself("deployment"), ends_by_itself("raycluster.ray.io")
    (True, False, False)
    """
    return kind in ("job", "pod") if kind in KINDS else kind_of(kind).ends


@dataclass(frozen=True, slots=True)
class ObjectState:
    """The state that an object shows.

    Parameters
    ----------
    name : str
        `succeeded`, `failed`, `ended` (its pods show how), `suspended`, or empty if it shows none of them.
    reason, message : str
        Kubernetes' own words for it.
    """

    name: str = ""
    reason: str = ""
    message: str = ""


def object_state(kind: Kind, obj: Mapping[str, Any]) -> ObjectState:
    """Return the state that an object shows.

    Examples
    --------
    >>> done = {"type": "Failed", "status": "True", "reason": "FailedJobs", "message": "a Job failed"}
    >>> object_state(Kind("experiment.example.org"), {"status": {"conditions": [done]}})
    ObjectState(name='failed', reason='FailedJobs', message='a Job failed')
    >>> object_state(Kind("experiment.example.org"), {"status": {"phase": "Running"}})
    ObjectState(name='', reason='', message='')
    """
    if kind.states or not kind.ends:
        return _by_row(kind, obj)
    return _by_convention(kind, obj)


def _by_row(kind: Kind, obj: Mapping[str, Any]) -> ObjectState:
    for name, shown_by in kind.states:
        if all(_value(obj, path) == value for path, value in shown_by.items()):
            condition = next((c for path in shown_by if (c := _condition(obj, path))), None)
            return _explained(kind, obj, name, condition)
    return ObjectState()


def _by_convention(kind: Kind, obj: Mapping[str, Any]) -> ObjectState:
    # A failure counts before a success: some kinds have a condition that is true at any end.
    for state in ("failed", "succeeded"):
        for condition in _conditions(obj):
            if _CONDITIONS.get((condition["type"], condition.get("status") or "")) == state:
                return _explained(kind, obj, state, condition)
    word = _state_word(obj)
    if word in _WORDS:
        return _explained(kind, obj, _WORDS[word], None)
    suspended = _condition(obj, "Suspended")
    if suspended is not None and suspended.get("status") == "True":
        return _explained(kind, obj, "suspended", suspended)
    is_suspended = _value(obj, "spec.suspend") is True or _value(obj, "spec.runPolicy.suspend") is True
    return ObjectState("suspended", "Suspended") if is_suspended else ObjectState()


def shows_ends(kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Return whether objects of a kind show their end in a known way, judged by one of them.

    Most kinds without a row make pods for ever: databases, brokers, schedulers of Jobs.

    Examples
    --------
    >>> unknown = Kind("experiment.example.org")
    >>> shows_ends(unknown, {"status": {"phase": "Running"}}), shows_ends(unknown, {"status": {"phase": "healthy"}})
    (True, False)
    """
    if kind.name in table():
        return kind.ends
    if has_schedule(obj):
        return False
    spec = obj.get("spec")
    has_suspend = isinstance(spec, dict) and "suspend" in spec
    return has_suspend or _shows_state(obj)


def has_schedule(obj: Mapping[str, Any]) -> bool:
    """Return whether an object has a schedule. Such an object makes pods for ever."""
    return isinstance(_value(obj, "spec.schedule"), str)


def has_known_form(kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Return whether the form of an object shows that it has ended, or that it still runs.

    An object with a schedule counts: it creates its next pod when that is due, even if all earlier ones have ended.

    Examples
    --------
    >>> unknown = Kind("experiment.example.org")
    >>> begun = {"type": "Running", "status": "True"}
    >>> has_known_form(unknown, {"status": {"conditions": [begun]}}), has_known_form(unknown, {"status": {"stage": 4}})
    (True, False)
    """
    if kind.states or not kind.ends or has_schedule(obj):
        return True
    return _shows_state(obj) or any(
        condition.get("status") == "True" and condition["type"].lower() in _UNDER_WAY.keys() - {"created"}
        for condition in _conditions(obj)
    )


def _shows_state(obj: Mapping[str, Any]) -> bool:
    known_types = {name for name, _ in _CONDITIONS}
    return any(condition["type"] in known_types for condition in _conditions(obj)) or (
        _state_word(obj) in _WORDS | _UNDER_WAY
    )


def _state_word(obj: Mapping[str, Any]) -> str:
    """Return the word of a status that is the state, in lower case; empty if there is none."""
    words = (_value(obj, f"status.{name}") for name in _FIELDS)
    return next((word.lower() for word in words if isinstance(word, str) and word), "")


def finished(kind: Kind, obj: Mapping[str, Any]) -> int:
    """Return when an object ended (ns since the epoch), as far as it shows; 0 if it has not ended.

    Examples
    --------
    >>> done = {"type": "Failed", "status": "True", "lastTransitionTime": "1970-01-01T00:00:02Z"}
    >>> finished(Kind("experiment.example.org"), {"metadata": {}, "status": {"conditions": [done]}})
    2000000000
    """
    if object_state(kind, obj).name not in ("succeeded", "failed", "ended"):
        return 0
    times = [_value(obj, f"status.{name}") for name in _TIMES]
    times += [condition.get("lastTransitionTime") for condition in _conditions(obj)]
    return max(map(_time, [*times, obj["metadata"].get("creationTimestamp")])) or 1


def waits_for(kind: Kind, obj: Mapping[str, Any]) -> tuple[str, str]:
    """Return why an object has no pods, in its own words: a reason and a message, each empty if it has none.

    A sentence in its status counts first, then its newest condition, then a word of its status.

    Examples
    --------
    >>> queued = {"type": "Queued", "status": "True", "reason": "NoQuota", "message": "waits for 8 GPUs"}
    >>> waits_for(Kind("experiment.example.org"), {"status": {"phase": "Pending", "conditions": [queued]}})
    ('NoQuota', 'waits for 8 GPUs')
    >>> waits_for(Kind("experiment.example.org"), {"status": {"phase": "Pending", "message": "is checked"}})
    ('Pending', 'is checked')
    """
    paths = [path for _, shown_by in kind.states for path in shown_by if path.startswith("status.")]
    states = (_value(obj, path) for path in paths or [f"status.{name}" for name in _FIELDS])
    state = next((word for word in states if isinstance(word, str)), "")  # Flyte has numbers
    word = _text(obj, kind.reason or ("status.reason",)) or state
    sentence = _text(obj, kind.message or ("status.message",))
    newest = max(_conditions(obj), key=lambda c: c.get("lastTransitionTime") or "", default=None)
    if newest is not None and not sentence:
        word, sentence = newest.get("reason") or newest["type"], newest.get("message") or ""
    return in_one_line(word), in_one_line(sentence)


def progress(obj: Mapping[str, Any]) -> int | None:
    """Return how much of a TrainJob is done (percent); None if it does not say.

    Only an instrumented training says so, since Kubeflow Trainer 2.2, where the feature `TrainJobStatus` is switched on
    (kubeflow/trainer 8c0f5059: pkg/apis/trainer/v1alpha1/trainjob_types.go, pkg/features/features.go).

    Examples
    --------
    >>> progress({"status": {"trainerStatus": {"progressPercentage": 45, "estimatedRemainingSeconds": 120}}})
    45
    """
    percent = _value(obj, "status.trainerStatus.progressPercentage")
    return percent if isinstance(percent, int) and not isinstance(percent, bool) else None


def without_bulk(obj: dict[str, Any]) -> dict[str, Any]:
    """Remove the parts of a custom resource that do not show its state, in place, and return it.

    The remaining status has the form that Kubernetes' conventions require. The status of a custom resource may have any form.

    Examples
    --------
    >>> spec = {"suspend": False, "runPolicy": {"suspend": True}, "template": {"spec": {"containers": []}}}
    >>> without_bulk({"metadata": {"name": "x", "managedFields": [{}]}, "spec": spec, "status": "fine"})
    {'metadata': {'name': 'x'}, 'spec': {'suspend': False, 'runPolicy': {'suspend': True}}, 'status': {}}
    """
    for name in obj.keys() - _PARTS:
        del obj[name]
    for name in ("managedFields", "annotations"):
        obj["metadata"].pop(name, None)
    spec, status = obj.get("spec"), obj.get("status")
    obj["spec"] = (
        {k: v for k, v in spec.items() if not isinstance(v, list | dict) or k == "runPolicy"}
        if isinstance(spec, dict)
        else {}
    )
    status = dict(status) if isinstance(status, dict) else {}
    for name in _TIMES & status.keys():
        if not _time(status[name]):
            del status[name]
    if "conditions" in status:
        names = ("type", "status", "reason", "message", "lastTransitionTime")
        status["conditions"] = [
            {k: condition[k] for k in names if isinstance(condition.get(k), str)}
            for condition in _conditions({"status": status})
        ]
    obj["status"] = status
    return obj


def label_keys(pod: Mapping[str, Any]) -> list[str]:
    """Return the labels of a pod that the table has for the pods of some kind, as `namespace/label=value`."""
    labels, namespace = pod["metadata"].get("labels") or {}, pod["metadata"].get("namespace")
    return [f"{namespace}/{label}={labels[label]}" for label in _configured().labels & labels.keys()]


def own_labels(kind: Kind, obj: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the labels of a task's pods, each with its value. Each pod has at least one of them.

    Examples
    --------
    >>> own_labels(kind_of("rayjob.ray.io"), {"metadata": {"name": "tune"}, "status": {"rayClusterName": "tune-9x2kd"}})
    [('ray.io/cluster', 'tune-9x2kd'), ('job-name', 'tune')]
    """
    pairs = (
        (label, path) for label, paths in kind.labels.items() for path in ([paths] if isinstance(paths, str) else paths)
    )
    return [(label, value) for label, path in pairs if isinstance(value := _value(obj, path), str) and value]


def own_label_keys(kind: Kind, obj: Mapping[str, Any]) -> list[str]:
    """Return the labels of a task's pods, as `namespace/label=value`."""
    namespace = obj["metadata"].get("namespace")
    return [f"{namespace}/{label}={value}" for label, value in own_labels(kind, obj)]


def selects(kind: Kind, obj: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Return whether a pod has one of the labels of a task's pods."""
    labels = pod["metadata"].get("labels") or {}
    return any(labels.get(label) == value for label, value in own_labels(kind, obj))


class Membership(NamedTuple):
    """Role, rank and attempt of a pod in its task; each is empty if the pod does not show it.

    Parameters
    ----------
    role : str
        `worker`, `driver` ...
    rank : str
        Its number within the role, usually from 0; `2-3` is pod 3 of group 2.
    attempt : str
        Number of earlier attempts: `0` is the first attempt.
    """

    role: str = ""
    rank: str = ""
    attempt: str = ""


def membership(kind: str, pod: Mapping[str, Any]) -> Membership:
    """Return role, rank and attempt of a pod in a task of a kind.

    If the table has no labels of roles and ranks for the kind, the labels of other kinds count: a pod in an AppWrapper may have
    the labels of a PyTorchJob. Without a label the rank is the completion index of an Indexed Job, or the index of a
    StatefulSet's pod.

    Parameters
    ----------
    kind : str
        As in `TaskRef.kind`.
    pod : mapping
        A Pod object.

    Examples
    --------
    >>> worker = {"training.kubeflow.org/replica-type": "worker", "training.kubeflow.org/replica-index": "3"}
    >>> membership("pytorchjob.kubeflow.org", {"metadata": {"labels": worker}})
    Membership(role='worker', rank='3', attempt='')
    >>> membership("job", {"metadata": {"annotations": {"batch.kubernetes.io/job-completion-index": "7"}}})
    Membership(role='', rank='7', attempt='')
    """
    meta = pod["metadata"]
    values: dict[str, str] = {**(meta.get("annotations") or {}), **(meta.get("labels") or {})}
    row = kind_of(kind)
    if not (row.role or row.rank):
        row = next(
            (r for r in table().values() if (r.role or r.rank) and any("/" in x and x in values for x in r.labels)), row
        )
    role = next((values[key] for key in row.role if values.get(key)), "")
    numbers = [values[key] for key in row.rank if _is_number(values.get(key))]
    if not numbers:
        numbers = [values[key] for key in (_INDEX, _POD_INDEX) if _is_number(values.get(key))][:1]
    attempt = next((values[key] for key in row.attempt if _is_number(values.get(key))), "")
    member = Membership(role, "-".join(numbers), attempt)
    refine = _REFINEMENTS.get(row.name)
    member = refine(member, pod, values) if refine else member
    # The author of a pod may write an annotation of up to 256 KiB, and each batch of lines carries the role.
    return member._replace(role=in_one_line(member.role[:_ROLE_MAX]))


def _is_number(text: str | None) -> bool:
    return text is not None and _NUMBER.fullmatch(text) is not None


def _time(value: object) -> int:
    """Return a time (ns since the epoch); 0 if the value is none."""
    try:
        return parse_rfc3339(value) if isinstance(value, str) else 0
    except ValueError:
        return 0


def _explained(kind: Kind, obj: Mapping[str, Any], name: str, condition: Mapping[str, Any] | None) -> ObjectState:
    if condition is not None:
        return ObjectState(name, condition.get("reason") or condition["type"], condition.get("message") or "")
    reason, message = _text(obj, kind.reason or ("status.reason",)), _text(obj, kind.message or ("status.message",))
    return ObjectState(name, reason, message)


def _text(obj: Mapping[str, Any], paths: Iterable[str]) -> str:
    """Return the first text or number at some paths of an object."""
    values = (_value(obj, path) for path in paths)
    return next((str(value) for value in values if isinstance(value, str | int) and value), "")


def _conditions(obj: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    conditions = _value(obj, "status.conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        if isinstance(condition, dict) and isinstance(condition.get("type"), str):
            yield condition


def _condition(obj: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return None if "." in name else next((c for c in _conditions(obj) if c["type"] == name), None)


def _value(obj: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path of an object, or the status of a condition; None if it has neither."""
    if "." not in path:
        condition = _condition(obj, path)
        return None if condition is None else condition.get("status")
    value: Any = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


#: The maximum length of a name in Kubernetes.
_ROLE_MAX: Final = 253
#: A rank or an attempt; a query takes numbers of nine digits.
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_NAME: Final = "metadata.name"
_INDEX: Final = "batch.kubernetes.io/job-completion-index"
_POD_INDEX: Final = "apps.kubernetes.io/pod-index"
_FAILED: Final = ("failed", {"Failed": "True"})
_SUSPENDED: Final = ("suspended", {"Suspended": "True"})


def _words(path: str, **states: tuple[str | int, ...]) -> tuple[tuple[str, Mapping[str, object]], ...]:
    """Return the states of an object that shows them as a word at one path."""
    return tuple((state, {path: word}) for state, words in states.items() for word in words)


_JOBSET: Final = Kind(
    "jobset.jobset.x-k8s.io",
    {"jobset.sigs.k8s.io/jobset-name": _NAME},
    role=("jobset.sigs.k8s.io/replicatedjob-name",),
    rank=("jobset.sigs.k8s.io/job-index", _INDEX),
    attempt=("jobset.sigs.k8s.io/restart-attempt",),
    states=(("succeeded", {"Completed": "True"}), _FAILED, _SUSPENDED),
    source="kubernetes-sigs/jobset 08dfbdfd: api/jobset/v1alpha2/jobset_types.go, pkg/controllers/jobset_controller.go",
)
_PYTORCHJOB: Final = Kind(
    "pytorchjob.kubeflow.org",
    {"training.kubeflow.org/job-name": _NAME},
    role=("training.kubeflow.org/replica-type", "training.kubeflow.org/job-role"),
    rank=("training.kubeflow.org/replica-index",),
    states=(_FAILED, ("succeeded", {"Succeeded": "True"}), _SUSPENDED),
    source="kubeflow/training-operator 6f74c7f6: pkg/apis/kubeflow.org/v1/common_types.go, pkg/util/status.go; "
    "kubeflow/mpi-operator caa3c47f: pkg/controller/mpi_job_controller.go",
)
_RAYJOB: Final = Kind(
    "rayjob.ray.io",
    {"ray.io/cluster": "status.rayClusterName", "job-name": _NAME},  # the submitter's Job has the name of the RayJob
    role=("ray.io/node-type",),
    rank=("ray.io/worker-group-replica-index", "ray.io/replica-host-index"),
    # `jobStatus` alone is no end: FAILED may be followed by a retry, and SUCCEEDED comes before the job has ended.
    states=(
        ("succeeded", {"status.jobDeploymentStatus": "Complete", "status.jobStatus": "SUCCEEDED"}),
        *_words("status.jobDeploymentStatus", failed=("Complete", "Failed"), suspended=("Suspended",)),
    ),
    reason=("status.reason", "status.jobStatus"),
    source="ray-project/kuberay feeaf72f: ray-operator/apis/ray/v1/rayjob_types.go, controllers/ray/utils/constant.go",
)
_PIPELINERUN: Final = Kind(
    "pipelinerun.tekton.dev",
    {"tekton.dev/pipelineRun": _NAME},
    role=("tekton.dev/pipelineTask", "tekton.dev/task"),
    states=(
        ("succeeded", {"Succeeded": "True"}),
        ("failed", {"Succeeded": "False"}),
        ("suspended", {"spec.status": "PipelineRunPending"}),
    ),
    source="tektoncd/pipeline 3ee1745a: pkg/pod/pod.go, pkg/apis/pipeline/v1/pipelinerun_types.go, taskrun_types.go",
)
_DASKJOB: Final = Kind(
    "daskjob.kubernetes.dask.org",
    {"dask.org/cluster-name": _NAME},
    role=("dask.org/component",),
    states=_words("status.jobStatus", succeeded=("Successful",), failed=("Failed",)),
    source="dask/dask-kubernetes 1daa175f: dask_kubernetes/operator/controller/controller.py",
)
_ROWS: Final = (
    _JOBSET,
    replace(
        _JOBSET,
        name="trainjob.trainer.kubeflow.org",
        rank=(_INDEX,),  # each of its Jobs is the only one of its role
        states=(("succeeded", {"Complete": "True"}), _FAILED, _SUSPENDED),
        source="kubeflow/trainer 8c0f5059: pkg/apis/trainer/v1alpha1/trainjob_types.go, pkg/runtime/framework/plugins/jobset",
    ),
    _PYTORCHJOB,
    *(
        replace(_PYTORCHJOB, name=f"{name}.kubeflow.org")
        for name in ("tfjob", "jaxjob", "xgboostjob", "paddlejob", "mpijob")
    ),
    _RAYJOB,
    replace(_RAYJOB, name="raycluster.ray.io", labels={"ray.io/cluster": _NAME}, states=(), reason=(), ends=False),
    replace(
        _RAYJOB,
        name="rayservice.ray.io",
        labels={
            "ray.io/cluster": (
                "status.activeServiceStatus.rayClusterName",
                "status.pendingServiceStatus.rayClusterName",
            )
        },
        states=(),
        reason=(),
        ends=False,
    ),
    Kind(
        "sparkapplication.sparkoperator.k8s.io",
        {"sparkoperator.k8s.io/app-name": _NAME},
        role=("spark-role",),
        rank=("spark-exec-id",),
        states=_words(
            "status.applicationState.state", succeeded=("COMPLETED",), failed=("FAILED",), suspended=("SUSPENDED",)
        ),
        message=("status.applicationState.errorMessage",),
        source="kubeflow/spark-operator 38082f33: internal/controller/sparkapplication, api/v1beta2/sparkapplication_types.go",
    ),
    Kind(
        "sparkapplication.spark.apache.org",
        {"spark.operator/spark-app-name": _NAME},
        role=("spark-role",),
        rank=("spark-exec-id",),
        # These words do not show whether it succeeded; its driver does.
        states=_words(
            "status.currentState.currentStateSummary", ended=("ResourceReleased", "TerminatedWithoutReleaseResources")
        ),
        message=("status.currentState.message",),
        source="apache/spark-kubernetes-operator d5acafd2: org/apache/spark/k8s/operator/status/ApplicationStateSummary.java",
    ),
    Kind(
        "workflow.argoproj.io",
        {"workflows.argoproj.io/workflow": _NAME},
        role=("workflows.argoproj.io/node-name",),
        # Its condition `Completed` is true after a failure too.
        states=(
            *_words("status.phase", succeeded=("Succeeded",), failed=("Failed", "Error")),
            ("suspended", {"spec.suspend": True}),
        ),
        source="argoproj/argo-workflows f016ad89: workflow/controller/workflowpod.go, operator.go",
    ),
    Kind(
        "job.batch.volcano.sh",
        {"volcano.sh/job-name": _NAME},
        role=("volcano.sh/task-spec",),
        rank=("volcano.sh/task-index",),
        attempt=("volcano.sh/job-retry-count",),
        states=_words(
            "status.state.phase", succeeded=("Completed",), failed=("Failed", "Terminated"), suspended=("Aborted",)
        ),
        reason=("status.state.reason",),
        message=("status.state.message",),
        source="volcano-sh/volcano ed72c7c8: pkg/controllers/job/state/factory.go, job_controller_util.go",
    ),
    _PIPELINERUN,
    replace(_PIPELINERUN, name="taskrun.tekton.dev", labels={"tekton.dev/taskRun": _NAME}),
    Kind(
        "flyteworkflow.flyte.lyft.com",
        {"execution-id": _NAME},
        role=("node-id",),
        states=_words("status.phase", succeeded=(3,), failed=(5, 6)),
        reason=("status.error.code",),
        message=("status.error.message", "status.message"),
        source="flyteorg/flyte 51877f89: flytepropeller/pkg/apis/flyteworkflow/v1alpha1/iface.go",
    ),
    _DASKJOB,
    replace(_DASKJOB, name="daskcluster.kubernetes.dask.org", states=(), ends=False),
    Kind(
        "leaderworkerset.leaderworkerset.x-k8s.io",
        {"leaderworkerset.sigs.k8s.io/name": _NAME},
        rank=("leaderworkerset.sigs.k8s.io/group-index", "leaderworkerset.sigs.k8s.io/worker-index"),
        ends=False,
        source="kubernetes-sigs/lws 060ab4da: pkg/controllers/pod_controller.go, pkg/webhooks/pod_webhook.go",
    ),
    Kind(
        "service.serving.knative.dev",
        {"serving.knative.dev/service": _NAME},
        role=("serving.knative.dev/revision",),
        ends=False,
        source="knative/serving 98e5ef90: pkg/reconciler/revision/resources/meta.go",
    ),
    Kind(
        "inferenceservice.serving.kserve.io",
        {"serving.kserve.io/inferenceservice": _NAME},
        role=("component",),
        ends=False,
        source="kserve/kserve aaac4e29: pkg/constants/constants.go",
    ),
    Kind(
        "appwrapper.workload.codeflare.dev",
        {"workload.codeflare.dev/appwrapper": _NAME},
        states=_words("status.phase", succeeded=("Succeeded",), failed=("Failed",), suspended=("Suspended",)),
        source="project-codeflare/appwrapper b47a99ee: internal/controller/appwrapper/resource_management.go",
    ),
    # The objects that these kinds create end, and are tasks of their own.
    Kind(
        "scaledjob.keda.sh",
        {"scaledjob.keda.sh/name": _NAME},
        ends=False,
        source="kedacore/keda 023bc3a6: pkg/scaling/executor/scale_jobs.go",
    ),
    Kind(
        "cronworkflow.argoproj.io",
        states=(("suspended", {"spec.suspend": True}),),
        ends=False,
        source="argoproj/argo-workflows 007e7728: pkg/apis/workflow/v1alpha1/cron_workflow_types.go",
    ),
    Kind(
        "scheduledsparkapplication.sparkoperator.k8s.io",
        states=(("suspended", {"spec.suspend": True}),),
        ends=False,
        source="kubeflow/spark-operator 0dc641bd: api/v1beta2/scheduledsparkapplication_types.go",
    ),
    Kind(
        "scheduledworkflow.kubeflow.org",
        ends=False,
        source="kubeflow/pipelines 0050a804: backend/src/crd/pkg/apis/scheduledworkflow/v1beta1/types.go",
    ),
)

#: The built-in rows by their names. Use `table`: it also has a user's rows.
TABLE: Final = {kind.name: kind for kind in _ROWS}

#: Rows of a user: the path of a YAML or JSON file, or the rows themselves as JSON.
SETTING: Final = "CORTEX_KINDS"
_STATES: Final = ("succeeded", "failed", "ended", "suspended")
_HINT: Final = "the form of a row: docs/reference/tasks-and-queries.md, Kinds of your own"


@dataclass(frozen=True, slots=True)
class _Table:
    """All rows, with their pod labels and their API groups."""

    rows: Mapping[str, Kind]
    labels: frozenset[str]
    groups: frozenset[str]


def table() -> Mapping[str, Kind]:
    """Return all rows by their names. A row of `CORTEX_KINDS` replaces the built-in row of the same name.

    Raises
    ------
    BadQuery
        The setting names no file that can be read, or a row is invalid.
    """
    return _configured().rows


def groups() -> frozenset[str]:
    """Return the API groups that have a row.

    Raises
    ------
    BadQuery
        As `table`.
    """
    return _configured().groups


def as_setting(rows: list[Any] | str) -> str:
    """Return the value of `CORTEX_KINDS` for rows, also as JSON, or for the path of a file; it holds in every folder."""
    if isinstance(rows, list):
        return json.dumps(rows, default=str)
    return rows if _is_text(rows) else str(Path(rows).expanduser().absolute())


def _is_text(setting: str) -> bool:
    """Return whether a value of `CORTEX_KINDS` is the rows themselves, and not a path."""
    return setting.lstrip().startswith(("[", "{"))


def rows_as_json() -> str:
    """Return the rows of `CORTEX_KINDS` as JSON, for a process that does not have the file; empty if there are none."""
    setting = os.environ.get(SETTING, "")
    return json.dumps(_read_rows(setting)) if setting else ""


def _configured() -> _Table:
    return _table_of(os.environ.get(SETTING, ""))


@functools.lru_cache(maxsize=4)
def _table_of(setting: str) -> _Table:
    rows = TABLE
    if setting:
        own = [_parse_row(row, number) for number, row in enumerate(_read_rows(setting), 1)]
        rows = TABLE | {row.name: row for row in own}
    labels = frozenset(label for kind in rows.values() for label in kind.labels)
    return _Table(rows, labels, frozenset(name.partition(".")[2] for name in rows))


def _read_rows(setting: str) -> list[Any]:
    import yaml  # a fifth of a second; most have no rows of their own

    try:
        rows = yaml.safe_load(setting if _is_text(setting) else Path(setting).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadQuery(
            f"the kinds of {SETTING}={setting} cannot be read: {error}", "name a YAML or JSON file"
        ) from None
    except yaml.YAMLError as error:
        where = SETTING if _is_text(setting) else setting
        raise BadQuery(f"{where} is neither YAML nor JSON: {in_one_line(str(error))}", _HINT) from None
    if not isinstance(rows, list):
        raise BadQuery(f"{SETTING} holds no list of rows", _HINT)
    return rows


def _parse_row(row: object, number: int) -> Kind:
    """Return a user's row.

    Raises
    ------
    BadQuery
        The message names the row and the field, and what is expected there.
    """
    where = f"row {number} of {SETTING}"
    if not isinstance(row, dict):
        raise BadQuery(f"{where}: it is no mapping of fields", _HINT)
    name = row.get("name")
    if not isinstance(name, str) or not _KIND_AND_GROUP.fullmatch(name.lower()):
        raise BadQuery(f"{where}: `name` must be KIND.GROUP, such as experiment.lab.example.org", _HINT)
    values: dict[str, Any] = {"name": name.lower()}
    for key, value in row.items():
        if key == "name":
            continue
        if key not in _FORMS:
            similar = difflib.get_close_matches(str(key), _FORMS, 1)
            did_you_mean = f"; did you mean {similar[0]!r}?" if similar else ""
            raise BadQuery(f"{where} ({name}): there is no field {key!r}{did_you_mean}", _HINT)
        is_valid, form, convert = _FORMS[key]
        if not is_valid(value):
            raise BadQuery(f"{where} ({name}): `{key}` must be {form}", _HINT)
        values[key] = convert(value)
    return Kind(**values)


def _are_texts(value: object) -> bool:
    """Return whether a value is a text or a list of texts."""
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list | tuple) and all(isinstance(text, str) and text for text in texts)


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _are_labels(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and _are_texts(path) for k, path in value.items())


def _are_states(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and pair[0] in _STATES
        and isinstance(pair[1], dict)
        and bool(pair[1])
        and all(isinstance(path, str) and isinstance(expected, str | int) for path, expected in pair[1].items())
        for pair in value
    )


def _states(value: list[tuple[str, dict[str, str | int]]]) -> tuple[tuple[str, Mapping[str, object]], ...]:
    # The status of a condition is a text, also where YAML reads `True` as a boolean.
    return tuple(
        (name, {path: expected if "." in path else str(expected) for path, expected in shown_by.items()})
        for name, shown_by in value
    )


_KIND_AND_GROUP: Final = re.compile(r"[a-z][a-z0-9]*(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_POD_LABELS: Final = (_are_texts, "a list of labels or annotations of a pod", _texts)
_PATHS: Final = (_are_texts, "a list of paths of the object, such as status.reason", _texts)
#: The fields of a user's row besides its name: whether a value has the right form, that form in words, and its conversion.
_FORMS: Final[Mapping[str, tuple[Callable[[Any], bool], str, Callable[[Any], Any]]]] = {
    "labels": (
        _are_labels,
        "a mapping of a pod's labels to paths of the object, such as metadata.name",
        lambda labels: {label: _texts(path) for label, path in labels.items()},
    ),
    "role": _POD_LABELS,
    "rank": _POD_LABELS,
    "attempt": _POD_LABELS,
    "states": (
        _are_states,
        f"a list of [STATE, {{PATH: VALUE}}] with one of the states {', '.join(_STATES)}, and texts, numbers or booleans as values",
        _states,
    ),
    "reason": _PATHS,
    "message": _PATHS,
    "ends": (lambda value: isinstance(value, bool), "true or false", bool),
    "source": (lambda value: isinstance(value, str), "a text", str),
}


def _of_jobset(member: Membership, _: Mapping[str, Any], values: Mapping[str, str]) -> Membership:
    # If the role has only one Job, the number of that Job is left out.
    is_only = values.get("jobset.sigs.k8s.io/replicatedjob-replicas") == "1" and "-" in member.rank
    return member._replace(rank=member.rank.partition("-")[2]) if is_only else member


def _of_ray(member: Membership, pod: Mapping[str, Any], _: Mapping[str, str]) -> Membership:
    # The submitter is not a node of Ray. Before KubeRay 1.7 it has no label for its role, but a Job owns it.
    owners = pod["metadata"].get("ownerReferences") or ()
    is_submitter = not member.role and any(owner.get("kind") == "Job" for owner in owners)
    return member._replace(role="submitter") if is_submitter else member


def _of_apache_spark(member: Membership, _: Mapping[str, Any], values: Mapping[str, str]) -> Membership:
    # The id of a run is `NAME-ATTEMPT`, unless the user set it or it is too long.
    name, _hyphen, attempt = values.get("spark-app-selector", "").rpartition("-")
    is_attempt = name == values.get("spark.operator/spark-app-name") and _is_number(attempt)
    return member._replace(attempt=attempt) if is_attempt else member


#: In the name of a node: the number of a retry, `train(1)`, and that of an item of a loop, `train(3:item)`.
_RETRY: Final = re.compile(r"(.+)\(([0-9]{1,9})\)", re.DOTALL)
_ITEM: Final = re.compile(r"\(([0-9]{1,9}):")


def _of_argo(member: Membership, _: Mapping[str, Any], values: Mapping[str, str]) -> Membership:
    # A node's name is a path: `etl[1].train(3:item)(1)` is the second attempt of the fourth `train`.
    path, attempt, names, depth = member.role, "", "", 0
    numbers: list[str] = []
    if match := _RETRY.fullmatch(path):
        path, attempt = match.groups()
    for position, char in enumerate(path):  # an item may contain anything, also points and parentheses
        if char == "(":
            if not depth and (item := _ITEM.match(path, position)):
                numbers.append(item[1])
            depth += 1
        elif char == ")":
            depth = max(depth - 1, 0)
        elif not depth:
            names += char
    role = "" if names == values.get("workflows.argoproj.io/workflow") else names.rpartition(".")[2]
    return Membership(role, "-".join(numbers), attempt)


def _of_tekton(member: Membership, pod: Mapping[str, Any], _: Mapping[str, str]) -> Membership:
    # Only the name of a retry's pod has its number: `test-pod-retry1`.
    match = re.search(r"-pod-retry(\d+)\Z", pod["metadata"].get("name", ""))
    return member._replace(attempt=match[1]) if match else member


def _of_flyte(member: Membership, pod: Mapping[str, Any], values: Mapping[str, str]) -> Membership:
    # A pod's name is `EXECUTION-NODE-ATTEMPT`, unless that is too long.
    name, _hyphen, attempt = pod["metadata"].get("name", "").rpartition("-")
    is_attempt = name.startswith(f"{values.get('execution-id')}-") and _is_number(attempt)
    return member._replace(attempt=attempt) if is_attempt else member


def _of_leader_worker_set(member: Membership, _: Mapping[str, Any], values: Mapping[str, str]) -> Membership:
    index = values.get("leaderworkerset.sigs.k8s.io/worker-index")
    return member if index is None else member._replace(role="leader" if index == "0" else "worker")


#: Functions for kinds whose labels alone do not hold role, rank and attempt.
_REFINEMENTS: Final[Mapping[str, Callable[[Membership, Mapping[str, Any], Mapping[str, str]], Membership]]] = {
    "jobset.jobset.x-k8s.io": _of_jobset,
    "rayjob.ray.io": _of_ray,
    "sparkapplication.spark.apache.org": _of_apache_spark,
    "workflow.argoproj.io": _of_argo,
    "pipelinerun.tekton.dev": _of_tekton,
    "taskrun.tekton.dev": _of_tekton,
    "flyteworkflow.flyte.lyft.com": _of_flyte,
    "leaderworkerset.leaderworkerset.x-k8s.io": _of_leader_worker_set,
}
