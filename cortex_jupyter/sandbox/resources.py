"""The kinds this API serves, and its discovery and OpenAPI documents.

kubectl and the client libraries read `/api`, `/apis` and the resource list of each group to learn which kinds exist
(`staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go`, `APIResourceList`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: The answer to `/version`: the newest minor version whose fields and rules the sandbox follows.
VERSION: dict[str, Any] = {
    "major": "1",
    "minor": "35",
    "gitVersion": "v1.35.0",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2025-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True)
class Resource:
    """One served kind."""

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ("status",)

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


_ALL = ("all",)
RESOURCES = (
    Resource("", "v1", "namespaces", "Namespace", ("ns",), namespaced=False),
    Resource("", "v1", "nodes", "Node", ("no",), namespaced=False, subresources=("status", "proxy")),
    Resource("", "v1", "pods", "Pod", ("po",), categories=_ALL, subresources=("status", "log", "ephemeralcontainers")),
    Resource("", "v1", "events", "Event", ("ev",), subresources=()),
    Resource("apps", "v1", "daemonsets", "DaemonSet", ("ds",), categories=_ALL),
    Resource("apps", "v1", "deployments", "Deployment", ("deploy",), categories=_ALL, subresources=("status", "scale")),
    Resource("apps", "v1", "replicasets", "ReplicaSet", ("rs",), categories=_ALL, subresources=("status", "scale")),
    Resource("apps", "v1", "statefulsets", "StatefulSet", ("sts",), categories=_ALL, subresources=("status", "scale")),
    Resource("batch", "v1", "cronjobs", "CronJob", ("cj",), categories=_ALL),
    Resource("batch", "v1", "jobs", "Job", categories=_ALL),
)
BY_PATH = {(r.group, r.version, r.plural): r for r in RESOURCES}
BY_PLURAL = {r.plural: r for r in RESOURCES}
BY_KIND = {r.kind: r for r in RESOURCES}
GROUPS = ("apps", "batch", "authorization.k8s.io")
_OPENAPI = "/openapi/v3"


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _list(group: str) -> dict[str, Any]:
    resources = []
    for r in RESOURCES:
        if r.group != group:
            continue
        entry: dict[str, Any] = {
            "name": r.plural,
            "singularName": r.kind.lower(),
            "namespaced": r.namespaced,
            "kind": r.kind,
            "verbs": _VERBS,
        }
        if r.short:
            entry["shortNames"] = list(r.short)
        if r.categories:
            entry["categories"] = list(r.categories)
        resources.append(entry)
        resources += [
            {
                "name": f"{r.plural}/{sub}",
                "singularName": "",
                "namespaced": r.namespaced,
                "kind": r.kind,
                "verbs": ["get", "patch", "update"],
            }
            for sub in r.subresources
        ]
    if group == "authorization.k8s.io":
        for kind in ("SelfSubjectAccessReview", "SubjectAccessReview"):
            names = {"name": f"{kind.lower()}s", "singularName": kind.lower()}
            resources.append(names | {"namespaced": False, "kind": kind, "verbs": ["create"]})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/v1" if group else "v1",
        "resources": resources,
    }


def openapi(path: str, prefix: str) -> dict[str, Any] | None:
    """Return the OpenAPI document at a path, or None if there is none.

    The documents hold only what `kubectl apply` and `create` need to work without `--validate=false`: kubectl looks
    whether PATCH of a kind takes `fieldValidation`, and if so leaves validation to the server
    (`staging/src/k8s.io/cli-runtime/pkg/resource/query_param_verifier_v3.go`).

    Parameters
    ----------
    path : str
        The requested path, without the prefix.
    prefix : str
        The secret path of this server: kubectl resolves the links in the root document from the host's root.
    """
    group_paths = {f"apis/{r.api_version}" if r.group else f"api/{r.version}" for r in RESOURCES}
    if path == _OPENAPI:
        return {"paths": {p: {"serverRelativeURL": f"{prefix}{_OPENAPI}/{p}"} for p in sorted(group_paths)}}
    group_path = path.removeprefix(f"{_OPENAPI}/")
    if group_path not in group_paths:
        return None
    paths = {}
    for r in RESOURCES:
        if group_path.endswith(r.api_version) and bool(r.group) == group_path.startswith("apis"):
            operation = {
                "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                "x-kubernetes-group-version-kind": {"group": r.group, "version": r.version, "kind": r.kind},
                "responses": {},
            }
            scope = "namespaces/{namespace}/" if r.namespaced else ""
            paths[f"/{group_path}/{scope}{r.plural}/{{name}}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]}, "paths": paths}


def discovery(path: str) -> dict[str, Any] | None:
    """Return the discovery document at a path, or None if there is none."""
    return _DOCUMENTS.get(path.rstrip("/"))


_DOCUMENTS: dict[str, dict[str, Any]] = {
    "/version": VERSION,
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/api/v1": _list(""),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g) for g in GROUPS]},
    **{f"/apis/{g}": {"kind": "APIGroup", "apiVersion": "v1"} | _group(g) for g in GROUPS},
    **{f"/apis/{g}/v1": _list(g) for g in GROUPS},
}
