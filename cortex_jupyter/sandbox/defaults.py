"""Validation, defaults (`pkg/apis/*/v1/defaults.go`) and admission of new objects, as in the API server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox.status import ApiError, invalid

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.resources import Resource


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
#: Defaults for each kind of volume.
_VOLUMES: dict[str, KubeObject] = {
    "hostPath": {"type": ""},
    "configMap": {"defaultMode": 420},
    "secret": {"defaultMode": 420},
    "projected": {"defaultMode": 420},
    "downwardAPI": {"defaultMode": 420},
}
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def validate_and_default(resource: Resource, obj: KubeObject) -> None:
    """Check a new object, and set its defaults in place.

    Parameters
    ----------
    resource : Resource
        Kind of the object.
    obj : dict
        The object as the client sent it.

    Raises
    ------
    ApiError
        422 for a bad name or a spec without containers.
    """
    meta = obj["metadata"]
    name = meta.get("name") or meta.get("generateName", "")
    if not name:
        text = "Required value: name or generateName is required"
        raise invalid(resource.kind, "", "metadata.name", text, "FieldValueRequired", group=resource.group)
    if not _NAME.fullmatch(name.rstrip("-") if not meta.get("name") else name):
        problem = f'Invalid value: "{name}": {_NAME_RULE}'
        raise invalid(resource.kind, name, "metadata.name", problem, group=resource.group)
    if resource.is_custom:
        return
    spec = obj.setdefault("spec", {}) if resource.kind != "Event" else {}
    match resource.kind:
        case "Pod":
            _set_pod_spec_defaults(spec, name, "spec")
            obj.pop("status", None)
        case "Job":
            _set_job_defaults(obj, spec, name)
        case "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet":
            if resource.kind != "DaemonSet":
                spec.setdefault("replicas", 1)
            _set_pod_spec_defaults(spec.setdefault("template", {}).setdefault("spec", {}), name, "spec.template.spec")
        case "CronJob":
            spec.setdefault("suspend", False)
        case "Namespace":
            obj["status"] = {"phase": "Active"}
            meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _set_pod_spec_defaults(spec: KubeObject, owner: str, path: str) -> None:
    """Set the defaults of a pod's or a pod template's spec, and of its parts (`SetDefaults_PodSpec`)."""
    if not spec.get("containers"):
        raise ApiError(422, f'Pod "{owner}" is invalid: {path}.containers: Required value')
    _set_missing(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    for container in spec["containers"] + (spec.get("initContainers") or []):
        _set_container_defaults(container)
    for volume in spec.get("volumes") or []:
        for kind, defaults in _VOLUMES.items():
            if kind in volume:
                _set_missing(volume[kind], **defaults)


def _set_container_defaults(container: KubeObject) -> None:
    _, _, tag = container.get("image", "").rpartition("/")[2].partition(":")
    _set_missing(
        container,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if tag in ("", "latest") else "IfNotPresent",
    )
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        if field := (variable.get("valueFrom") or {}).get("fieldRef"):
            field.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _set_missing(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if "httpGet" in probe:
                _set_missing(probe["httpGet"], path="/", scheme="HTTP")


def _set_missing(obj: KubeObject, **values: object) -> None:
    for name, value in values.items():
        obj.setdefault(name, value)


def set_pod_defaults(pod: KubeObject) -> None:
    """Set the defaults that a pod has and a pod template does not (`SetDefaults_Pod`)."""
    spec = pod["spec"]
    spec.setdefault("enableServiceLinks", True)
    for container in spec["containers"] + (spec.get("initContainers") or []):
        if limits := (container.get("resources") or {}).get("limits"):
            _set_missing(container["resources"].setdefault("requests", {}), **limits)


def _admit_pod(pod: KubeObject, spec: KubeObject) -> None:
    """Add the fields that the default admission plugins add.

    ServiceAccount mounts a token (`plugin/pkg/admission/serviceaccount/admission.go`). DefaultTolerationSeconds and
    Priority set their fields.
    """
    token = f"kube-api-access-{pod['metadata']['uid'][:5]}"
    _set_missing(spec, priority=0, preemptionPolicy="PreemptLowerPriority")
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = "default"
    spec["serviceAccount"] = spec["serviceAccountName"]
    mount = {"name": token, "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    containers = spec["containers"] + (spec.get("initContainers") or [])
    if spec.get("automountServiceAccountToken", True):
        spec["volumes"] = [*(spec.get("volumes") or []), {"name": token, "projected": _token_volume()}]
        for container in containers:
            container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
    tolerations = spec.setdefault("tolerations", [])
    for taint in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{taint}"
        if not any(t.get("key") in (key, None) for t in tolerations):
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations.append(toleration)
    pod["status"] = {"phase": "Pending", "qosClass": qos(pod)}


def _token_volume() -> KubeObject:
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": authority},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
    ]
    return {"sources": sources, "defaultMode": 420}


def qos(pod: KubeObject) -> str:
    """Return the quality-of-service class (`pkg/apis/core/v1/helper/qos/qos.go`)."""
    resources = [
        c.get("resources") or {} for c in pod["spec"].get("containers", []) + (pod["spec"].get("initContainers") or [])
    ]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    limited = all({"cpu", "memory"} <= set(r.get("limits") or {}) for r in resources)
    return (
        "Guaranteed"
        if limited and all(r.get("requests", r["limits"]) == r["limits"] for r in resources)
        else "Burstable"
    )


def _set_job_defaults(obj: KubeObject, spec: KubeObject, name: str) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    # A limit per index replaces the limit of the whole Job (`SetDefaults_Job`).
    limit = 2**31 - 1 if "backoffLimitPerIndex" in spec else 6
    replacement_policy = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    _set_missing(spec, parallelism=1, backoffLimit=limit, completionMode="NonIndexed", suspend=False)
    spec.setdefault("podReplacementPolicy", replacement_policy)
    template = spec.setdefault("template", {})
    _set_pod_spec_defaults(template.setdefault("spec", {}), name, "spec.template.spec")
    policy = template["spec"]["restartPolicy"]
    if policy == "Always":
        text = 'Required value: valid values: "OnFailure", "Never"'
        raise invalid("Job", name, "spec.template.spec.restartPolicy", text, "FieldValueRequired", group="batch")
    obj.setdefault("status", {})
    if template_labels := (template.get("metadata") or {}).get("labels"):
        obj["metadata"].setdefault("labels", dict(template_labels))


def admit(obj: KubeObject) -> None:
    """Add in place the fields that the API server itself adds to a new pod or Job; they have no field manager."""
    match obj["apiVersion"], obj["kind"]:
        case "v1", "Pod":
            _admit_pod(obj, obj["spec"])
        case "batch/v1", "Job":
            _select_pods(obj["spec"], obj["metadata"])


def _select_pods(spec: KubeObject, meta: KubeObject) -> None:
    """Set a Job's selector and the labels of its pods (`generateSelector` in `pkg/registry/batch/job/strategy.go`)."""
    labels = {"job-name": meta["name"], "controller-uid": meta["uid"]}
    labels |= {f"batch.kubernetes.io/{k}": v for k, v in labels.items()}
    template_meta = spec["template"].get("metadata") or {}
    template_labels = template_meta.get("labels") or {}
    spec["template"]["metadata"] = template_meta | {"labels": template_labels | labels}
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}}
    # A Job without labels gets its template's labels, including the new ones (`SetDefaults_Job`).
    if (meta.get("labels") or {}) == template_labels:
        meta["labels"] = template_labels | labels
