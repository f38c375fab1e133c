"""The kinds this API serves, and the discovery documents that name them.

kubectl and the client libraries learn from `/api`, `/apis` and their group lists what exists
(`staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go`, `APIResourceList`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What this API says it is: the newest minor version whose fields and rules the sandbox follows.
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


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _list(group: str) -> dict[str, Any]:
    found = []
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
        found.append(entry)
        found += [
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
            found.append(names | {"namespaced": False, "kind": kind, "verbs": ["create"]})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/v1" if group else "v1",
        "resources": found,
    }


def discovery(path: str) -> dict[str, Any] | None:
    """Answer a discovery path, or None where `path` is none."""
    return _DOCUMENTS.get(path.rstrip("/"))


_DOCUMENTS: dict[str, dict[str, Any]] = {
    "/version": VERSION,
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/api/v1": _list(""),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g) for g in GROUPS]},
    **{f"/apis/{g}": {"kind": "APIGroup", "apiVersion": "v1"} | _group(g) for g in GROUPS},
    **{f"/apis/{g}/v1": _list(g) for g in GROUPS},
}
