"""The collector as Kubernetes objects: the output of `cortex-jupyter record --manifests`.

`collector` returns the template of these objects. `deploy/generate.py` makes the kustomize base and the Helm chart from it,
and uses the parts below for the Hub service and the store's server. The addresses of its store and archive are in a Secret,
so that the output holds no password. The pod follows the *restricted* Pod Security Standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from cortex_jupyter._version import __version__
from cortex_jupyter.archive.objects import SCHEMES
from cortex_jupyter.cluster import kinds
from cortex_jupyter.recorder.collector.templates import (
    ITEM,
    KEY,
    NAMESPACE,
    NUMBER,
    OBJECT,
    OBJECTS,
    PORT_NUMBER,
    PORT_NUMBERS,
    TEXT,
    TEXT_MAP,
    TEXTS,
    Context,
    Each,
    Expression,
    If,
    Node,
    Setting,
    defaults,
    evaluate,
    join,
    negate,
    switch,
    value,
)

NAME: Final = "cortex-jupyter"
PORT: Final = 9464
STORE_PORT: Final = 6379
#: What every pod may connect to: DNS, the API server, and what speaks HTTPS.
_PORTS: Final = (53, 443, 6443)
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
#: The chart's names for what `store` calls by a variable.
_RETENTION: Final = {
    "maxBytes": "CORTEX_STORE_MAX_BYTES",
    "maxAge": "CORTEX_STORE_MAX_AGE",
    "maxTaskBytes": "CORTEX_STORE_MAX_TASK_BYTES",
}
#: Other settings that the collector has if they are set when this is printed.
_OTHER_SETTINGS: Final = ("CORTEX_LOG_LEVEL",)
#: The endpoint for traces takes precedence over the general one:
#: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
_TRACE_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACE_OTHERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
#: Types of values, as JSON Schema. As `Budget.parse` reads them; empty for none.
_BYTES: Final = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? *[kKmMgGtT]?[iI]?[bB]?)?$"}
_AGE: Final = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? *[smhdw])?$"}
#: A bucket, or empty: a pod's own folder goes with the pod.
_BUCKET_URL: Final = {"type": "string", "pattern": rf"^(({'|'.join(s for s in SCHEMES if s != 'file')})://[^/].*)?$"}
_COUNT_OR_NULL: Final = {"type": ["integer", "null"], "minimum": 1}
_HEAD: Final = """\
# The cortex-jupyter collector. First create a Secret that says where recordings are kept:
#   kubectl create namespace {namespace}
#   kubectl -n {namespace} create secret generic {secret} --from-literal=store=valkey://recorder@HOST \\
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
    objects = evaluate(collector(), Context(_values(install), install.namespace, install.policy_beta))
    head = (_HEAD + _BUCKET).format(namespace=install.namespace, secret=install.secret)
    head += "" if os.environ.get("CORTEX_CLUSTER") else _NO_NAME
    head += "" if install.store_port else _NO_STORE
    head += "" if _archive_ports() else _NO_ENDPOINT
    head += "" if _trace_port() else _NO_TRACES
    return head + dump(objects)


def dump(objects: list[dict[str, Any]]) -> str:
    """Return objects as YAML documents."""
    return yaml.dump_all(objects, Dumper=_PlainDumper, sort_keys=False, width=120, explicit_start=True)


class _PlainDumper(yaml.SafeDumper):
    """A dumper that writes repeated values in full, without aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - an override
        return True


def _values(install: InstallOptions) -> dict[str, Any]:
    """Return the values of an installation: its options, and what the environment sets for the collector."""
    values = defaults(SETTINGS)
    values["image"]["name"] = install.image
    values["secret"] = install.secret
    values["namespaces"] = list(install.namespaces)
    values["cluster"] = os.environ.get("CORTEX_CLUSTER", "")
    values["mask"] = os.environ.get("CORTEX_MASK", "")
    values["retention"] = {name: os.environ.get(variable, "") for name, variable in _RETENTION.items()}
    env = {name: text for name in _OTHER_SETTINGS if (text := os.environ.get(name))}
    if rows := kinds.rows_as_json():
        env[kinds.SETTING] = rows
    needed = (install.store_port or STORE_PORT, *_archive_ports(), _trace_port())
    values["collector"] |= {
        "replicas": install.replicas,
        "port": install.port,
        "selector": install.selector,
        "streams": install.streams,
        "streamsPerNode": install.streams_per_node,
        "nodesProxy": install.nodes_proxy,
        "env": env | _trace_variables(),
        "egressPorts": [port for port in dict.fromkeys(needed) if port and port not in _PORTS],
    }
    return values


# ---------------------------------------------------------------- what the parts of an installation share


def labels(component: str) -> dict[str, str]:
    """Return the labels of a component's objects, which also select its pods."""
    return {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": component}


def resource(
    api: Node, kind: str, component: str, *, name: Node = NAME, namespace: Node = NAMESPACE, **rest: Node
) -> dict[str, Any]:
    """Return an object; without a namespace if it belongs to the whole cluster.

    Parameters
    ----------
    api, kind : str
    component : str
        `collector`, `hub` or `valkey`.
    name, namespace : str or Expression or None, optional
    **rest
        The object's other entries. `annotations` become part of its metadata.
    """
    meta = {"name": name} | ({"namespace": namespace} if namespace else {}) | {"labels": labels(component)}
    if annotations := rest.pop("annotations", None):
        meta["annotations"] = annotations
    return {"apiVersion": api, "kind": kind, "metadata": meta} | rest


def role_with_binding(
    kind: str,
    component: str,
    rules: list[Node],
    *,
    account: str = NAME,
    name: Node = NAME,
    namespace: Node = None,
) -> list[dict[str, Any]]:
    """Return a Role or ClusterRole, and what binds it to a component's ServiceAccount."""
    api, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
    role = {"apiGroup": group, "kind": kind, "name": name}
    return [
        resource(api, kind, component, name=name, namespace=namespace, rules=rules),
        resource(api, f"{kind}Binding", component, name=name, namespace=namespace, roleRef=role, subjects=subjects),
    ]


def rules() -> list[Node]:
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


def variable(name: Node, text: Node) -> dict[str, Node]:
    """Return a variable of a container's environment."""
    return {"name": name, "value": text}


def secret_variable(name: str, secret: Expression, key: str, *, optional: bool = True) -> dict[str, Node]:
    """Return a variable whose value is a key of a Secret."""
    ref = {"name": secret, "key": key} | ({"optional": True} if optional else {})
    return {"name": name, "valueFrom": {"secretKeyRef": ref}}


def environment(secret: Expression) -> list[Node]:
    """Return the variables of a process that uses the store. A Secret has the store's address and password."""
    archive = value("archive")
    return [
        secret_variable("CORTEX_STORE", secret, "store", optional=False),
        secret_variable("CORTEX_STORE_PASSWORD", secret, "password"),
        If(archive, variable("CORTEX_ARCHIVE", archive), secret_variable("CORTEX_ARCHIVE", secret, "archive")),
        variable("HOME", "/tmp"),  # noqa: S108 - a volume of the pod
        variable("CORTEX_LOG_FORMAT", "json"),
        If(value("cluster"), variable("CORTEX_CLUSTER", value("cluster"))),
    ]


def bucket_variables(secret: Expression) -> list[Node]:
    """Return the source of the variables for the archive's bucket: the Secret with `-archive` after a Secret's name."""
    return [{"secretRef": {"name": join(secret, "-archive"), "optional": True}}]


def container(component: str, image: Node, **rest: Node) -> dict[str, Any]:
    """Return a container that has no privileges and cannot write outside of its volumes."""
    policy = value("image.pullPolicy")
    context = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return {
        "name": component,
        "image": image,
        "imagePullPolicy": If(policy, policy),
        **rest,
        "resources": value(f"{component}.resources", "block"),
        "securityContext": context,
    }


def pod(component: str, containers: list[Node], volumes: list[Node], **rest: Node) -> dict[str, Any]:
    """Return the description of a pod that runs as a user without rights, on the nodes that its settings choose."""
    priority = value(f"{component}.priorityClassName")
    return {
        **rest,
        "imagePullSecrets": value("image.pullSecrets", "block"),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": value(f"{component}.nodeSelector", "block"),
        "tolerations": value(f"{component}.tolerations", "block"),
        "affinity": value(f"{component}.affinity", "block"),
        "priorityClassName": If(priority, priority),
        "containers": containers,
        "volumes": volumes,
    }


def pod_settings(component: str, requests: dict[str, str], memory: str) -> tuple[Setting, ...]:
    """Return the settings that `container` and `pod` read for a component.

    Parameters
    ----------
    component : str
    requests : dict
    memory : str
        The limit.
    """
    resources = {"requests": requests, "limits": {"memory": memory}}
    return (
        Setting(f"{component}.resources", resources, "Requests and limits of the container.", OBJECT),
        Setting(f"{component}.nodeSelector", {}, "Labels of the nodes that its pods may run on.", OBJECT),
        Setting(f"{component}.tolerations", [], "Taints that its pods tolerate.", OBJECTS),
        Setting(f"{component}.affinity", {}, "Affinity of its pods to nodes and other pods.", OBJECT),
        Setting(f"{component}.priorityClassName", "", "The priority class of its pods.", TEXT),
    )


def network_policy(component: str, name: str, ingress: list[Node]) -> If:
    """Return a policy that allows some ingress, and connections to DNS, API server, store, archive and traces' endpoint.

    Only ports are restricted on the way out: a policy cannot select an API server's address, and only the Secret holds the
    store's address.
    """
    egress = Each(value(f"{component}.egressPorts", "block"), {"protocol": "TCP", "port": NUMBER})
    spec = {
        "podSelector": {"matchLabels": labels(component)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [{"ports": [*_tcp(53, protocol="UDP"), *_tcp(*_PORTS), egress]}],
    }
    policy = resource("networking.k8s.io/v1", "NetworkPolicy", component, name=name, spec=spec)
    return If(value("networkPolicy.enabled", "flag"), [policy])


def _tcp(*numbers: int, protocol: str = "TCP") -> list[dict[str, Any]]:
    return [{"protocol": protocol, "port": number} for number in numbers]


# ---------------------------------------------------------------- the collector

IMAGE: Final = value("image.name")
#: What all components share.
SETTINGS_FOR_ALL: Final = (
    Setting(
        "image.name",
        f"{NAME}:{__version__}",
        "The image of collector and Hub service, as the `Containerfile` makes it.",
        TEXT,
    ),
    Setting(
        "image.pullPolicy",
        "",
        "When it is pulled; empty for Kubernetes' default.",
        {"enum": ["", "Always", "IfNotPresent", "Never"]},
    ),
    Setting("image.pullSecrets", [], "Secrets for the registry, such as `[{name: registry}]`.", OBJECTS),
    Setting(
        "secret",
        NAME,
        "The Secret with the keys `store`, and optionally `password` and `archive`. The Secret with `-archive` after this "
        "name holds the variables for the archive's bucket.",
        TEXT,
    ),
    Setting(
        "cluster", "", "The cluster's name in the store, if its address does not identify it (`CORTEX_CLUSTER`).", TEXT
    ),
    Setting(
        "namespaces", [], "The namespaces of the tasks, each with a Role; empty for all, with a ClusterRole.", TEXTS
    ),
    Setting(
        "archive",
        "",
        "The archive, such as `s3://BUCKET/PREFIX`; empty for the Secret's key `archive`, if it has one.",
        _BUCKET_URL,
    ),
    switch("networkPolicy.enabled", "Whether NetworkPolicies restrict the connections of the pods.", on=True),
)
#: What only the collector reads.
COLLECTOR_SETTINGS: Final = (
    Setting(
        "mask",
        "",
        "`1` masks secrets before lines are stored, `0` does not; empty for what the store says.",
        {"enum": ["", "1", "0"]},
    ),
    Setting("retention.maxBytes", "", "What all recordings may take, such as `50GB`.", _BYTES),
    Setting("retention.maxAge", "", "How long a recording stays after its task has ended, such as `30d`.", _AGE),
    Setting("retention.maxTaskBytes", "", "What the recording of one running task may take, such as `2GB`.", _BYTES),
    Setting("collector.replicas", 2, "Its pods; they share the tasks.", {"type": "integer", "minimum": 0}),
    Setting("collector.selector", "", "Record only tasks whose pods have these labels.", TEXT),
    Setting(
        "collector.streams",
        None,
        "The most logs that a pod reads at once; null for the default (2000).",
        _COUNT_OR_NULL,
    ),
    Setting(
        "collector.streamsPerNode",
        None,
        "The most logs of one node that a pod reads at once; null for the default (100).",
        _COUNT_OR_NULL,
    ),
    switch("collector.nodesProxy", "Whether it may read rotated log files on the nodes (`get nodes/proxy`).", on=False),
    Setting("collector.port", PORT, "The port of metrics and probes.", PORT_NUMBER),
    Setting(
        "collector.egressPorts",
        [STORE_PORT],
        "Ports of store, archive and traces' endpoint other than 443 and 6443.",
        PORT_NUMBERS,
    ),
    Setting("collector.env", {}, "More settings, as environment variables.", TEXT_MAP),
    Setting(
        "collector.serviceAccountAnnotations",
        {},
        "Annotations of its ServiceAccount, such as a cloud's role for the bucket.",
        TEXT_MAP,
    ),
    *pod_settings("collector", {"cpu": "250m", "memory": "256Mi"}, "2Gi"),
    Setting(
        "collector.topologySpreadConstraints",
        [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels("collector")},
            }
        ],
        "How its pods spread over nodes and zones.",
        OBJECTS,
    ),
    switch(
        "collector.disruptionBudget",
        "Whether at most one of its pods may be down for maintenance (PodDisruptionBudget).",
        on=True,
    ),
    switch(
        "serviceMonitor.enabled", "Whether the Prometheus Operator scrapes the collector (ServiceMonitor).", on=False
    ),
)
SETTINGS: Final = (*SETTINGS_FOR_ALL, *COLLECTOR_SETTINGS)


def _roles() -> If:
    """Return the collector's rights: in the namespaces that it records, or in all."""
    # The name of a cluster-wide object holds the namespace, so that two installations do not collide.
    cluster_name = join(f"{NAME}-", NAMESPACE)
    nodes = If(value("collector.nodesProxy", "flag"), _NODES)
    rights = rules()
    in_each = role_with_binding("Role", "collector", rights, namespace=ITEM)
    only_nodes = role_with_binding("ClusterRole", "collector", _NODES, name=cluster_name)
    return If(
        value("namespaces", "block"),
        [Each(value("namespaces", "block"), in_each), If(value("collector.nodesProxy", "flag"), only_nodes)],
        role_with_binding("ClusterRole", "collector", [*rights, nodes], name=cluster_name),
    )


def _deployment() -> dict[str, Any]:
    port = value("collector.port", "number")
    selector, streams = value("collector.selector"), value("collector.streams", "number")
    streams_per_node = value("collector.streamsPerNode", "number")
    # Probes and Prometheus come from outside the pod.
    command = [NAME, "record", "--all", "--host", "*", "--port", join(port)]
    command += [
        Each(value("namespaces", "block"), ["--namespace", ITEM]),
        If(selector, ["--selector", selector]),
        If(streams, ["--streams", join(streams)]),
        If(streams_per_node, ["--streams-per-node", join(streams_per_node)]),
    ]
    retention = [
        If(value(f"retention.{name}"), variable(name_, value(f"retention.{name}")))
        for name, name_ in _RETENTION.items()
    ]
    process = container(
        "collector",
        IMAGE,
        command=command,
        env=[
            *environment(value("secret")),
            If(value("mask"), variable("CORTEX_MASK", value("mask"))),
            *retention,
            Each(value("collector.env", "block"), variable(KEY, ITEM)),
        ],
        envFrom=bucket_variables(value("secret")),
        # Server-side apply before Kubernetes 1.21 knows no default for the protocol.
        ports=[{"name": "metrics", "containerPort": port, "protocol": "TCP"}],
        readinessProbe={"httpGet": {"path": "/readyz", "port": "metrics"}, "periodSeconds": 5},
        # Fails if the process itself hangs; readiness shows that the store is away.
        livenessProbe={
            "httpGet": {"path": "/healthz", "port": "metrics"},
            "periodSeconds": 20,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
    )
    # With a ServiceMonitor the annotations would have it scraped twice.
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": join(port)}
    spec = pod(
        "collector",
        [process],
        [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
        serviceAccountName=NAME,
        automountServiceAccountToken=True,
        topologySpreadConstraints=value("collector.topologySpreadConstraints", "block"),
    )
    meta = {
        "labels": labels("collector"),
        "annotations": If(negate(value("serviceMonitor.enabled", "flag")), annotations),
    }
    return resource(
        "apps/v1",
        "Deployment",
        "collector",
        spec={
            "replicas": value("collector.replicas", "number"),
            "selector": {"matchLabels": labels("collector")},
            "template": {"metadata": meta, "spec": spec},
        },
    )


POLICY_API: Final = If(
    Expression('$.Capabilities.APIVersions.Has "policy/v1"', lambda context: not context.policy_beta, "flag"),
    "policy/v1",
    "policy/v1beta1",
)


def collector() -> list[Node]:
    """Return the collector's objects. Its rights cover the kinds that are known now, those of a user (`CORTEX_KINDS`) too."""
    return [
        resource(
            "v1",
            "ServiceAccount",
            "collector",
            annotations=value("collector.serviceAccountAnnotations", "block"),
            automountServiceAccountToken=False,
        ),
        _roles(),
        _deployment(),
        network_policy(
            "collector", NAME, [{"ports": [{"protocol": "TCP", "port": value("collector.port", "number")}]}]
        ),
        If(
            value("collector.disruptionBudget", "flag"),
            [
                resource(
                    POLICY_API,
                    "PodDisruptionBudget",
                    "collector",
                    spec={"maxUnavailable": 1, "selector": {"matchLabels": labels("collector")}},
                )
            ],
        ),
    ]


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
