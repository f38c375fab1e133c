"""The collector as Kubernetes objects: the output of `cortex-jupyter record --manifests`.

The addresses of its store and archive are in a Secret, so that the output holds no password. The pod follows the
*restricted* Pod Security Standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from cortex_jupyter._version import __version__
from cortex_jupyter.cluster import kinds

NAME: Final = "cortex-jupyter"
PORT: Final = 9464
STORE_PORT: Final = 6379
#: A user that owns nothing in any image.
_USER: Final = 65532
_READ: Final = ["get", "list", "watch"]
#: The rotated files of a log. This right also covers the kubelet's other endpoints.
_NODES: Final = [{"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}]
#: As obstore reads them; see `archive.error_mapping`.
_ARCHIVE_ENDPOINTS: Final = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "GOOGLE_BASE_URL",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
)
#: Settings that the collector has if they are set when this is printed.
_SETTINGS: Final = (
    "CORTEX_MASK",
    "CORTEX_STORE_MAX_BYTES",
    "CORTEX_STORE_MAX_AGE",
    "CORTEX_STORE_MAX_TASK_BYTES",
    "CORTEX_LOG_LEVEL",
)
#: The endpoint for traces takes precedence over the general one:
#: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
_TRACE_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACE_OTHERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEAD: Final = """\
# The cortex-jupyter collector. First create a Secret that says where recordings are kept:
#   kubectl create namespace {namespace}
#   kubectl -n {namespace} create secret generic {secret} --from-literal=store=valkey://HOST \\
#     --from-literal=password=PASSWORD --from-literal=archive=s3://BUCKET/PREFIX     # the last two are optional
# The collector serves no readers, so it may not `get namespaces`. Servers that read this store for others need that right: it
# shows them what was recorded in an earlier namespace of the same name, whose logs are not the present owner's.
"""
_NO_NAME: Final = """\
# The store identifies this cluster by the address that its pods have for it, and a fingerprint of its certificate authority.
# If readers outside the cluster use the store, or another cluster has the same two, print this with CORTEX_CLUSTER=NAME, and
# set CORTEX_CLUSTER for the readers as well.
"""
_BUCKET: Final = """\
# The credentials of the archive's bucket, unless the pod's role is enough (with IRSA or workload identity annotate the ServiceAccount):
#   kubectl -n {namespace} create secret generic {secret}-archive --from-literal=AWS_ACCESS_KEY_ID=... --from-literal=AWS_SECRET_ACCESS_KEY=... \\
#     --from-literal=AWS_REGION=... --from-literal=AWS_ENDPOINT_URL=http://HOST:9000     # the last for an S3 of your own
# For GCS GOOGLE_SERVICE_ACCOUNT_KEY (the key file's text), for Azure AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.
"""
_NO_ENDPOINT: Final = """\
# The NetworkPolicy allows port 443 to buckets. For another port set AWS_ENDPOINT_URL (GOOGLE_BASE_URL, AZURE_STORAGE_ENDPOINT) when you print this.
"""
_NO_STORE: Final = """\
# The NetworkPolicy allows port 6379 to the store. For another port give --store, or set CORTEX_STORE, when you print this.
"""
_NO_TRACES: Final = """\
# The NetworkPolicy allows no OpenTelemetry traces. To send them, set OTEL_EXPORTER_OTLP_ENDPOINT=http://HOST:4317 when you print this.
"""


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """How a collector is installed.

    Parameters
    ----------
    namespace : str
        The namespace of the collector.
    namespaces : tuple of str
        The namespaces of the tasks that it records; empty for all.
    selector : str
    streams, streams_per_node : int or None
        The most logs that are read at once; None for the default.
    image : str
    replicas : int
    secret : str
        The name of the Secret with the key `store`, and the optional keys `password` and `archive`. The Secret with
        `-archive` after this name has the variables for the archive's bucket as keys.
    port : int
        The port of the health endpoint.
    store_port : int or None
        The port of the store's server, for the NetworkPolicy; None if the store is not known.
    nodes_proxy : bool
        Whether rotated files may be read.
    policy_beta : bool
        Whether the cluster is older than Kubernetes 1.21, which has PodDisruptionBudgets only as `policy/v1beta1`.
    """

    namespace: str
    namespaces: tuple[str, ...] = ()
    selector: str = ""
    streams: int | None = None
    streams_per_node: int | None = None
    image: str = f"{NAME}:{__version__}"
    replicas: int = 2
    secret: str = NAME
    port: int = PORT
    store_port: int | None = None
    nodes_proxy: bool = False
    policy_beta: bool = False


def manifests(install: InstallOptions) -> str:
    """Return the objects as YAML.

    Examples
    --------
    >>> objects = list(yaml.safe_load_all(manifests(InstallOptions("logs", ("ml",)))))
    >>> [o["kind"] for o in objects]  # doctest: +NORMALIZE_WHITESPACE
    ['ServiceAccount', 'Role', 'RoleBinding', 'Deployment', 'NetworkPolicy', 'PodDisruptionBudget']
    >>> [o["kind"] for o in yaml.safe_load_all(manifests(InstallOptions("logs")))][1:3]
    ['ClusterRole', 'ClusterRoleBinding']
    """
    objects = [
        _object("v1", "ServiceAccount", install.namespace, automountServiceAccountToken=False),
        *_roles(install),
        _deployment(install),
        _network_policy(install),
        _object(
            "policy/v1beta1" if install.policy_beta else "policy/v1",
            "PodDisruptionBudget",
            install.namespace,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": _LABELS}},
        ),
    ]
    head = (_HEAD + _BUCKET).format(namespace=install.namespace, secret=install.secret)
    head += "" if os.environ.get("CORTEX_CLUSTER") else _NO_NAME
    head += "" if install.store_port else _NO_STORE
    head += "" if _archive_ports() else _NO_ENDPOINT
    head += "" if _trace_port() else _NO_TRACES
    return head + yaml.dump_all(objects, Dumper=_PlainDumper, sort_keys=False, width=120, explicit_start=True)


class _PlainDumper(yaml.SafeDumper):
    """A dumper that writes repeated values in full, without aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - an override
        return True


_LABELS: Final = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "collector"}


def _object(api: str, kind: str, namespace: str, name: str = NAME, **rest: object) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api, "kind": kind, "metadata": meta | {"labels": _LABELS}} | rest


def _rules() -> list[dict[str, Any]]:
    """Return the rules for all requests of a recorder to the API server. It only reads."""
    rows = kinds.table().values()
    return [
        {"apiGroups": [""], "resources": ["pods"], "verbs": _READ},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": _READ},
        # Recorded while they have readers.
        {
            "apiGroups": ["apps"],
            "resources": ["deployments", "statefulsets", "daemonsets", "replicasets"],
            "verbs": _READ,
        },
        # Kinds that the table does not have need a rule of their own.
        {"apiGroups": sorted(kinds.groups()), "resources": sorted({row.plural for row in rows}), "verbs": _READ},
        # They stand between a DaskCluster and its workers.
        {"apiGroups": ["kubernetes.dask.org"], "resources": ["daskworkergroups"], "verbs": ["get", "list"]},
        # Why a task waits, and its position in the queue.
        {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list"]},
        {"apiGroups": ["visibility.kueue.x-k8s.io"], "resources": ["localqueues/pendingworkloads"], "verbs": ["get"]},
    ]


def _roles(install: InstallOptions) -> list[dict[str, Any]]:
    api, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", "name": NAME, "namespace": install.namespace}]

    def role_with_binding(kind: str, namespace: str, name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        role = {"apiGroup": group, "kind": kind, "name": name}
        return [
            _object(api, kind, namespace, name, rules=rules),
            _object(api, f"{kind}Binding", namespace, name, roleRef=role, subjects=subjects),
        ]

    # The name of a cluster-wide object holds the namespace, so that two installations do not collide.
    cluster_name = f"{NAME}-{install.namespace}"
    nodes = _NODES if install.nodes_proxy else []
    if not install.namespaces:
        return role_with_binding("ClusterRole", "", cluster_name, _rules() + nodes)
    rights = [o for namespace in install.namespaces for o in role_with_binding("Role", namespace, NAME, _rules())]
    return rights + (role_with_binding("ClusterRole", "", cluster_name, nodes) if nodes else [])


def _deployment(install: InstallOptions) -> dict[str, Any]:
    # Probes and Prometheus come from outside the pod.
    command = [NAME, "record", "--all", "--host", "*", "--port", str(install.port)]
    command += [x for namespace in install.namespaces for x in ("--namespace", namespace)]
    command += ["--selector", install.selector] if install.selector else []
    command += ["--streams", str(install.streams)] if install.streams else []
    command += ["--streams-per-node", str(install.streams_per_node)] if install.streams_per_node else []

    def secret(variable: str, key: str, *, optional: bool = True) -> dict[str, Any]:
        ref = {"name": install.secret, "key": key} | ({"optional": True} if optional else {})
        return {"name": variable, "valueFrom": {"secretKeyRef": ref}}

    env = [
        secret("CORTEX_STORE", "store", optional=False),
        secret("CORTEX_STORE_PASSWORD", "password"),
        secret("CORTEX_ARCHIVE", "archive"),
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod
        {"name": "CORTEX_LOG_FORMAT", "value": "json"},
    ]
    if cluster := os.environ.get("CORTEX_CLUSTER"):
        env.append({"name": "CORTEX_CLUSTER", "value": cluster})
    env += [{"name": name, "value": value} for name in _SETTINGS if (value := os.environ.get(name))]
    if rows := kinds.rows_as_json():
        env.append({"name": kinds.SETTING, "value": rows})
    env += [{"name": name, "value": value} for name, value in _trace_variables().items()]
    container = {
        "name": "collector",
        "image": install.image,
        "command": command,
        "env": env,
        "envFrom": [{"secretRef": {"name": f"{install.secret}-archive", "optional": True}}],
        "ports": [{"name": "metrics", "containerPort": install.port}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "metrics"}, "periodSeconds": 5},
        # Fails if the process itself hangs; readiness shows that the store is away.
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "metrics"},
            "periodSeconds": 20,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _LABELS},
    }
    pod = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread],
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": str(install.port)}
    template = {"metadata": {"labels": _LABELS, "annotations": scraped}, "spec": pod}
    selector = {"matchLabels": _LABELS}
    spec = {"replicas": install.replicas, "selector": selector, "template": template}
    return _object("apps/v1", "Deployment", install.namespace, spec=spec)


def _network_policy(install: InstallOptions) -> dict[str, Any]:
    """Allow requests for metrics, and connections to DNS, API server, store, archive and traces' endpoint.

    Only ports are restricted: a policy cannot select an API server's address, and only the Secret holds the store's
    address.
    """

    def ports(*numbers: int, protocol: str = "TCP") -> list[dict[str, Any]]:
        return [{"protocol": protocol, "port": number} for number in numbers]

    needed = (53, 443, 6443, install.store_port or STORE_PORT, *_archive_ports(), _trace_port())
    out = dict.fromkeys(port for port in needed if port)
    spec = {
        "podSelector": {"matchLabels": _LABELS},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": ports(install.port)}],
        "egress": [{"ports": ports(53, protocol="UDP") + ports(*out)}],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", install.namespace, spec=spec)


def _archive_ports() -> list[int]:
    """Return the ports of the configured endpoints, and of an archive that is one itself (`http://host:9000/logs`).

    Credentials are not taken from these variables: they come from a Secret of their own with the variables' names as
    keys.
    """
    urls = [value for name in (*_ARCHIVE_ENDPOINTS, "CORTEX_ARCHIVE") if (value := os.environ.get(name))]
    parts = [part for part in map(urlsplit, urls) if part.scheme in ("http", "https")]
    return [part.port or (443 if part.scheme == "https" else 80) for part in parts]


def _trace_port() -> int | None:
    """Return the port of the traces' endpoint; None if none is configured."""
    url = next((value for name in _TRACE_ENDPOINTS if (value := os.environ.get(name))), None)
    if url is None:
        return None
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _trace_variables() -> dict[str, str]:
    """Return the variables with which the collector sends its traces (see `telemetry.tracing`).

    Headers, and other variables that may hold a password, are left out.
    """
    variables = {name: value for name in (*_TRACE_ENDPOINTS, *_TRACE_OTHERS) if (value := os.environ.get(name))}
    return {name: value for name, value in variables.items() if "@" not in value}
