"""What the API server fills in when an object is created (`pkg/apis/*/v1/defaults.go`), and refuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.status import ApiError, invalid

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.resources import Resource

Object = dict[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def prepare(resource: Resource, obj: Object, uid: str) -> None:
    """Check and complete a new object in place.

    Parameters
    ----------
    resource : Resource
        Its kind.
    obj : dict
        As the client sent it.
    uid : str
        The UID it will have: a Job's selector holds it.

    Raises
    ------
    ApiError
        422 for a bad name or a spec without containers.
    """
    meta = obj["metadata"]
    name = meta.get("name") or meta.get("generateName", "")
    if not name:
        text = "Required value: name or generateName is required"
        raise invalid(resource.kind, "", "metadata.name", text, "FieldValueRequired")
    if not _NAME.fullmatch(name.rstrip("-") if not meta.get("name") else name):
        raise invalid(resource.kind, name, "metadata.name", f'Invalid value: "{name}": {_NAME_RULE}')
    spec = obj.setdefault("spec", {}) if resource.kind != "Event" else {}
    match resource.kind:
        case "Pod":
            _pod(spec, name, "spec")
            obj["status"] = {"phase": "Pending"}
        case "Job":
            _job(obj, spec, name, uid)
        case "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet":
            if resource.kind != "DaemonSet":
                spec.setdefault("replicas", 1)
            _pod(spec.setdefault("template", {}).setdefault("spec", {}), name, "spec.template.spec")
        case "CronJob":
            spec.setdefault("suspend", False)
        case "Namespace":
            obj["status"] = {"phase": "Active"}
            meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _pod(spec: Object, owner: str, path: str) -> None:
    if not spec.get("containers"):
        raise ApiError(422, f'Pod "{owner}" is invalid: {path}.containers: Required value')
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    for container in spec["containers"] + (spec.get("initContainers") or []):
        _, _, tag = container.get("image", "").rpartition("/")[2].partition(":")
        container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
        container.setdefault("resources", {})


def _job(obj: Object, spec: Object, name: str, uid: str) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    template = spec.setdefault("template", {})
    _pod(template.setdefault("spec", {}), name, "spec.template.spec")
    policy = template["spec"]["restartPolicy"]
    if policy == "Always":
        text = 'Required value: valid values: "OnFailure", "Never"'
        raise invalid("Job", name, "spec.template.spec.restartPolicy", text, "FieldValueRequired")
    labels = {"job-name": name, "controller-uid": uid}
    labels |= {f"batch.kubernetes.io/{k}": v for k, v in labels.items()}
    inner = template.get("metadata") or {}
    template["metadata"] = inner | {"labels": (inner.get("labels") or {}) | labels}
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    obj["metadata"]["labels"] = (obj["metadata"].get("labels") or {}) or dict(template["metadata"]["labels"])
    obj.setdefault("status", {})
