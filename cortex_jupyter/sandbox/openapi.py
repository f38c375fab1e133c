"""The least OpenAPI document that lets `kubectl apply` and `create` do without `--validate=false`.

kubectl asks only whether PATCH of a kind takes `fieldValidation`, and leaves validation to the server then
(`staging/src/k8s.io/cli-runtime/pkg/resource/query_param_verifier_v3.go`).
"""

from __future__ import annotations

from typing import Any

from cortex_jupyter.sandbox.resources import RESOURCES, VERSION

_ROOT = "/openapi/v3"


def openapi(path: str, prefix: str) -> dict[str, Any] | None:
    """Answer a path below `/openapi/v3`, or None where nothing is there.

    Parameters
    ----------
    path : str
        The path asked for.
    prefix : str
        The secret path of this server: kubectl takes the links in the root document for whole paths.
    """
    homes = {f"apis/{r.api_version}" if r.group else f"api/{r.version}" for r in RESOURCES}
    if path == _ROOT:
        return {"paths": {home: {"serverRelativeURL": f"{prefix}{_ROOT}/{home}"} for home in sorted(homes)}}
    home = path.removeprefix(f"{_ROOT}/")
    if home not in homes:
        return None
    paths = {}
    for r in RESOURCES:
        if home.endswith(r.api_version) and bool(r.group) == home.startswith("apis"):
            operation = {
                "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                "x-kubernetes-group-version-kind": {"group": r.group, "version": r.version, "kind": r.kind},
                "responses": {},
            }
            space = "namespaces/{namespace}/" if r.namespaced else ""
            paths[f"/{home}/{space}{r.plural}/{{name}}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]}, "paths": paths}
