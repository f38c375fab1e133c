"""The discovery and OpenAPI documents.

kubectl and the client libraries read them to learn which kinds exist. Clients since 1.27 ask `/api` and `/apis` for all
kinds at once (https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery); others read the groups
from `/apis` and the resource list of each version (`staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go`,
`APIResourceList`).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from cortex_jupyter.sandbox.representations import accepted_forms
from cortex_jupyter.sandbox.resources import REVIEW_GROUP, VERSION, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.cluster import KubeObject


_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SUBRESOURCE_VERBS = ["get", "patch", "update"]
#: Kinds that can only be created, by their plurals: they are requests, and are not stored.
_REVIEWS = {kind.lower() + "s": kind for kind in ("SelfSubjectAccessReview", "SubjectAccessReview")}
#: The aggregated form; the newest servers have only this version of it (`IsAggregatedDiscoveryGVK` in
#: `staging/src/k8s.io/apiserver/pkg/endpoints/discovery/aggregated/negotiation.go`).
_AGGREGATED = {"as": "APIGroupDiscoveryList", "g": "apidiscovery.k8s.io", "v": "v2"}
_AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_OPENAPI = "/openapi/v3"
_KUBE_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Return a key that sorts the versions of a group, the preferred one first.

    See `CompareKubeAwareVersionStrings` in `staging/src/k8s.io/apimachinery/pkg/version/helpers.go`.

    Examples
    --------
    >>> sorted(["v1alpha1", "v1", "other", "v2beta1", "v10"], key=version_priority)
    ['v10', 'v1', 'v2beta1', 'v1alpha1', 'other']
    """
    match = _KUBE_VERSION.fullmatch(version)
    if match is None:
        return 3, 0, 0, version
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return stage, -int(match[1]), -int(match[3] or 0), ""


def _groups(resources: Iterable[Resource]) -> dict[str, dict[str, list[Resource]]]:
    """Return the resources by group and version, both in the order of discovery; the core group is ''."""
    groups: dict[str, dict[str, list[Resource]]] = {"": {}, "apps": {}, "batch": {}, REVIEW_GROUP: {"v1": []}}
    for resource in resources:
        groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return {
        group: {version: versions[version] for version in sorted(versions, key=version_priority)}
        for group, versions in groups.items()
    }


def answer(request: web.Request, resources: Iterable[Resource], prefix: str) -> web.Response | None:
    """Answer a request for a discovery or OpenAPI document.

    Parameters
    ----------
    request : web.Request
        The request; its `Accept` header may request the aggregated form.
    resources : iterable of Resource
        The served resources.
    prefix : str
        The secret path of this server: kubectl resolves the links in the OpenAPI root from the host's root.

    Returns
    -------
    web.Response or None
        None if there is no such document.
    """
    path = request.path.rstrip("/")
    if request.method != "GET":
        return None
    if path in ("/api", "/apis") and _wants_aggregated(request.headers.get("Accept", "")):
        return _aggregated(request, resources, core=path == "/api")
    document = VERSION if path == "/version" else _document(path, resources) or _openapi(path, resources, prefix)
    if document is None:
        return None
    headers = {"Cache-Control": "no-cache, private"}
    return web.Response(body=orjson.dumps(document) + b"\n", content_type="application/json", headers=headers)


def _document(path: str, resources: Iterable[Resource]) -> KubeObject | None:
    """Return the document of one path, or None if there is none."""
    groups = _groups(resources)
    match path.split("/")[1:]:
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            infos = [_group(name, versions) for name, versions in groups.items() if name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": infos}
        case ["apis", group] if group and group in groups:
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(group, groups[group])
        case ["api", version] if version in groups[""]:
            return _resource_list("", version, groups[""][version])
        case ["apis", group, version] if group and version in groups.get(group, ()):
            return _resource_list(group, version, groups[group][version])
    return None


def _group(name: str, versions: Iterable[str]) -> KubeObject:
    infos = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": infos, "preferredVersion": infos[0]}


def _resource_list(group: str, version: str, resources: Iterable[Resource]) -> KubeObject:
    entries: list[KubeObject] = []
    for r in resources:
        entry = {
            "name": r.plural,
            "singularName": r.singular,
            "namespaced": r.namespaced,
            "kind": r.kind,
            "verbs": _VERBS,
        }
        entries.append(entry | _further_names(r))
        entries += [
            {
                "name": f"{r.plural}/{sub}",
                "singularName": "",
                "namespaced": r.namespaced,
                "kind": r.kind,
                "verbs": _SUBRESOURCE_VERBS,
            }
            for sub in r.subresources
        ]
    if group == REVIEW_GROUP:
        for plural, kind in _REVIEWS.items():
            names = {"name": plural, "singularName": kind.lower()}
            entries.append(names | {"namespaced": False, "kind": kind, "verbs": ["create"]})
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def _further_names(resource: Resource) -> KubeObject:
    names = {"shortNames": list(resource.short), "categories": list(resource.categories)}
    return {key: value for key, value in names.items() if value}


# ---------------------------------------------------------------- aggregated


def _wants_aggregated(accept: str) -> bool:
    """Whether the first form that a client accepts and this server has is the aggregated one."""
    forms = (form for form in accepted_forms(accept) if not form.get("as") or form.items() >= _AGGREGATED.items())
    return "as" in next(forms, {})


def _aggregated(request: web.Request, resources: Iterable[Resource], *, core: bool) -> web.Response:
    """Answer with all resources of the core group, or of all others.

    The headers are the same as in `ServeHTTPWithETag`
    (`staging/src/k8s.io/apiserver/pkg/endpoints/discovery/aggregated/etag.go`).
    """
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [
                {
                    "version": version,
                    "resources": _aggregated_resources(group, version, members),
                    "freshness": "Current",
                }
                for version, members in versions.items()
            ],
        }
        for group, versions in _groups(resources).items()
        if core is (not group)
    ]
    document = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }
    body = orjson.dumps(document) + b"\n"
    tag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public"}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers | {"Content-Type": _AGGREGATED_TYPE})


def _aggregated_resources(group: str, version: str, resources: Iterable[Resource]) -> list[KubeObject]:
    """Return the resources of one version (`staging/src/k8s.io/api/apidiscovery/v2/types.go`)."""
    entries = []
    for r in resources:
        # Only custom resources repeat group and version. For built-in ones, an empty field means the list's value.
        kind = {"group": group, "version": version} if r.is_custom else {"group": "", "version": ""}
        entry: KubeObject = {
            "resource": r.plural,
            "responseKind": kind | {"kind": r.kind},
            "scope": "Namespaced" if r.namespaced else "Cluster",
            "singularResource": r.singular,
            "verbs": _VERBS,
        } | _further_names(r)
        if r.subresources:
            entry["subresources"] = [
                {"subresource": sub, "responseKind": kind | {"kind": r.kind}, "verbs": _SUBRESOURCE_VERBS}
                for sub in r.subresources
            ]
        entries.append(entry)
    if group == REVIEW_GROUP:
        for plural, name in _REVIEWS.items():
            entry = {"resource": plural, "responseKind": {"group": "", "version": "", "kind": name}}
            entries.append(entry | {"scope": "Cluster", "singularResource": name.lower(), "verbs": ["create"]})
    return entries


# ---------------------------------------------------------------- OpenAPI


def _openapi(path: str, resources: Iterable[Resource], prefix: str) -> KubeObject | None:
    """Return the OpenAPI document at a path, or None if there is none.

    The documents hold only what `kubectl apply` and `create` need to work without `--validate=false`: kubectl looks
    whether PATCH of a kind takes `fieldValidation`, and if so leaves validation to the server
    (`staging/src/k8s.io/cli-runtime/pkg/resource/query_param_verifier_v3.go`).
    """
    if path != _OPENAPI and not path.startswith(f"{_OPENAPI}/"):
        return None
    members: dict[str, list[Resource]] = {}
    for r in resources:
        members.setdefault(f"apis/{r.api_version}" if r.group else f"api/{r.version}", []).append(r)
    if path == _OPENAPI:
        return {"paths": {p: {"serverRelativeURL": f"{prefix}{_OPENAPI}/{p}"} for p in sorted(members)}}
    group_path = path.removeprefix(f"{_OPENAPI}/")
    if group_path not in members:
        return None
    paths = {}
    for r in members[group_path]:
        operation = {
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "x-kubernetes-group-version-kind": {"group": r.group, "version": r.version, "kind": r.kind},
            "responses": {},
        }
        scope = "namespaces/{namespace}/" if r.namespaced else ""
        paths[f"/{group_path}/{scope}{r.plural}/{{name}}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]}, "paths": paths}
