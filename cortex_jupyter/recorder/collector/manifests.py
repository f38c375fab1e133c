"""The collector as Kubernetes objects: what `cortex-jupyter record --manifests` prints.

Where its store and its archive are comes from a Secret, so that no password is in what is printed. The pod follows the
*restricted* Pod Security Standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from cortex_jupyter._version import __version__

NAME: Final = "cortex-jupyter"
PORT: Final = 9464
STORE_PORT: Final = 6379
#: A user that no image has anything of.
_USER: Final = 65532
_READ: Final = ["get", "list", "watch"]
#: What a recorder asks the API server for, and nothing else: all of it is reading.
_RULES: Final = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": _READ},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": _READ},
    # Recorded while somebody reads them.
    {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets", "replicasets"], "verbs": _READ},
]
#: Rotated files of a log; the kubelet's other endpoints below it can be read as well.
_NODES: Final = [{"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}]
#: As obstore takes them; see `archive.error_mapping`.
_ARCHIVE_ENDPOINTS: Final = (
    "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"
)  # fmt: skip
#: The endpoint of traces counts before that of everything: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
_TRACE_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACE_OTHERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEAD: Final = """\
# The cortex-jupyter collector. First, where recordings are kept:
#   kubectl create namespace {namespace}
#   kubectl -n {namespace} create secret generic {secret} --from-literal=store=valkey://HOST \\
#     --from-literal=password=PASSWORD --from-literal=archive=s3://BUCKET/PREFIX     # these two where there are any
# It answers nobody, so it may not `get namespaces`. Servers that read this store for others need that: by it they know
# what was recorded in an earlier namespace of the same name, whose logs are not the present owner's.
"""
_NO_NAME: Final = """\
# The store knows this cluster by the address that its pods have for it, and a fingerprint of its certificate authority. Where
# that store is read from outside too, or another cluster has both, print this with CORTEX_CLUSTER=NAME, and set it there.
"""
_BUCKET: Final = """\
# What the archive's bucket wants, unless the pod's role is enough (with IRSA or workload identity annotate the ServiceAccount):
#   kubectl -n {namespace} create secret generic {secret}-archive --from-literal=AWS_ACCESS_KEY_ID=... --from-literal=AWS_SECRET_ACCESS_KEY=... \\
#     --from-literal=AWS_REGION=... --from-literal=AWS_ENDPOINT_URL=http://HOST:9000     # the last for an S3 of your own
# For GCS GOOGLE_SERVICE_ACCOUNT_KEY (the key file's text), for Azure AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.
"""
_NO_ENDPOINT: Final = """\
# Buckets are let out to at port 443 alone: set AWS_ENDPOINT_URL (GOOGLE_BASE_URL, AZURE_STORAGE_ENDPOINT) where you print this for another port.
"""
_NO_TRACES: Final = """\
# Traces of OpenTelemetry are not let out: set OTEL_EXPORTER_OTLP_ENDPOINT=http://HOST:4317 where you print this, and they are sent there.
"""


@dataclass(frozen=True, slots=True)
class Install:
    """How a collector is installed.

    Parameters
    ----------
    namespace : str
        Its own.
    namespaces : tuple of str
        Of the tasks that it records; none: all.
    selector : str
    image : str
    replicas : int
    secret : str
        The Secret's name, whose keys are `store`, and where needed `password` and `archive`; the name with `-archive`
        is that of one whose keys are variables that the archive's bucket wants.
    store_port : int
        That of the store's server, for the NetworkPolicy.
    nodes_proxy : bool
        Whether rotated files may be read.
    policy_beta : bool
        For a cluster before Kubernetes 1.21, which has PodDisruptionBudgets only as `policy/v1beta1`.
    """

    namespace: str
    namespaces: tuple[str, ...] = ()
    selector: str = ""
    image: str = f"{NAME}:{__version__}"
    replicas: int = 2
    secret: str = NAME
    store_port: int = STORE_PORT
    nodes_proxy: bool = False
    policy_beta: bool = False


def manifests(install: Install) -> str:
    """Give the objects as YAML.

    Examples
    --------
    >>> objects = list(yaml.safe_load_all(manifests(Install("logs", ("ml",)))))
    >>> [o["kind"] for o in objects]  # doctest: +NORMALIZE_WHITESPACE
    ['ServiceAccount', 'Role', 'RoleBinding', 'Deployment', 'NetworkPolicy', 'PodDisruptionBudget']
    >>> [o["kind"] for o in yaml.safe_load_all(manifests(Install("logs")))][1:3]
    ['ClusterRole', 'ClusterRoleBinding']
    """
    objects = [
        _object("v1", "ServiceAccount", install.namespace, automountServiceAccountToken=False),
        *_rights(install), _deployment(install), _network(install),
        _object(
            "policy/v1beta1" if install.policy_beta else "policy/v1", "PodDisruptionBudget", install.namespace,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": _LABELS}},
        ),
    ]  # fmt: skip
    head = (_HEAD + _BUCKET).format(namespace=install.namespace, secret=install.secret)
    head += "" if os.environ.get("CORTEX_CLUSTER") else _NO_NAME
    head += "" if _archive_ports() else _NO_ENDPOINT
    head += "" if _trace_port() else _NO_TRACES
    return head + yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=120, explicit_start=True)


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


_LABELS: Final = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "collector"}


def _object(api: str, kind: str, namespace: str, name: str = NAME, **rest: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api, "kind": kind, "metadata": meta | {"labels": _LABELS}} | rest


def _rights(install: Install) -> list[dict[str, Any]]:
    api, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", "name": NAME, "namespace": install.namespace}]

    def bound(kind: str, namespace: str, name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        role = {"apiGroup": group, "kind": kind, "name": name}
        return [
            _object(api, kind, namespace, name, rules=rules),
            _object(api, f"{kind}Binding", namespace, name, roleRef=role, subjects=subjects),
        ]

    # What belongs to no namespace has a name that says whose it is, so that two installations do not meet.
    whole = f"{NAME}-{install.namespace}"
    nodes = _NODES if install.nodes_proxy else []
    if not install.namespaces:
        return bound("ClusterRole", "", whole, _RULES + nodes)
    rights = [o for namespace in install.namespaces for o in bound("Role", namespace, NAME, _RULES)]
    return rights + (bound("ClusterRole", "", whole, nodes) if nodes else [])


def _deployment(install: Install) -> dict[str, Any]:
    command = [NAME, "record", "--all", "--port", str(PORT)]
    command += [x for namespace in install.namespaces for x in ("--namespace", namespace)]
    command += ["--selector", install.selector] if install.selector else []

    def secret(variable: str, key: str, *, optional: bool = True) -> dict[str, Any]:
        ref = {"name": install.secret, "key": key} | ({"optional": True} if optional else {})
        return {"name": variable, "valueFrom": {"secretKeyRef": ref}}

    env = [
        secret("CORTEX_STORE", "store", optional=False),
        secret("CORTEX_STORE_PASSWORD", "password"),
        secret("CORTEX_ARCHIVE", "archive"),
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own
        {"name": "CORTEX_LOG_FORMAT", "value": "json"},
    ]
    if cluster := os.environ.get("CORTEX_CLUSTER"):
        env.append({"name": "CORTEX_CLUSTER", "value": cluster})
    env += [{"name": name, "value": value} for name, value in _trace_variables().items()]
    container = {
        "name": "collector", "image": install.image, "command": command, "env": env,
        "envFrom": [{"secretRef": {"name": f"{install.secret}-archive", "optional": True}}],
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "metrics"}, "periodSeconds": 5},
        # It fails where the process itself hangs; that the store is away is for readiness to say.
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "metrics"}, "periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }  # fmt: skip
    spread = {
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _LABELS},
    }  # fmt: skip
    pod = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread],
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }  # fmt: skip
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT)}
    template = {"metadata": {"labels": _LABELS, "annotations": scraped}, "spec": pod}
    selector = {"matchLabels": _LABELS}
    spec = {"replicas": install.replicas, "selector": selector, "template": template}
    return _object("apps/v1", "Deployment", install.namespace, spec=spec)


def _network(install: Install) -> dict[str, Any]:
    """Let in who asks for metrics, and out to names, the API server, the store, the archive and where traces go.

    By ports alone: an API server's address cannot be selected, and where the store is only the Secret knows.
    """

    def ports(*numbers: int, protocol: str = "TCP") -> list[dict[str, Any]]:
        return [{"protocol": protocol, "port": number} for number in numbers]

    wanted = (53, 443, 6443, install.store_port, *_archive_ports(), _trace_port())
    out = dict.fromkeys(port for port in wanted if port)
    spec = {
        "podSelector": {"matchLabels": _LABELS},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": ports(PORT)}],
        "egress": [{"ports": ports(53, protocol="UDP") + ports(*out)}],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", install.namespace, spec=spec)


def _archive_ports() -> list[int]:
    """Give the ports of the endpoints that are named, and of an archive that is one itself (`http://host:9000/logs`).

    Credentials are not taken from there: they come from a Secret of their own, whose keys are the variables' names.
    """
    urls = [value for name in (*_ARCHIVE_ENDPOINTS, "CORTEX_ARCHIVE") if (value := os.environ.get(name))]
    parts = [part for part in map(urlsplit, urls) if part.scheme in ("http", "https")]
    return [part.port or (443 if part.scheme == "https" else 80) for part in parts]


def _trace_port() -> int | None:
    """Give the port of the endpoint, None where none is named."""
    url = next((value for name in _TRACE_ENDPOINTS if (value := os.environ.get(name))), None)
    if url is None:
        return None
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _trace_variables() -> dict[str, str]:
    """Give what the collector has to be told to send its traces there (see `telemetry.tracing`); headers, and what else may hold a password, are left out."""
    found = {name: value for name in (*_TRACE_ENDPOINTS, *_TRACE_OTHERS) if (value := os.environ.get(name))}
    return {name: value for name, value in found.items() if "@" not in value}
