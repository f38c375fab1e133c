"""Custom resources, and operators that create pods for them as the real ones do.

Labels, owner references and status are those of the operators' own sources, which `cluster/kinds.py` names.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from support.kube import pod_spec, python_container

if TYPE_CHECKING:
    from support.kube import Kube

Object = dict[str, Any]
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def define(
    kube: Kube,
    group: str,
    version: str,
    kind: str,
    plural: str,
    *,
    short_names: tuple[str, ...] = (),
    status: bool = True,
) -> None:
    """Create a CustomResourceDefinition if it does not exist, and wait until it is served."""
    name = f"{plural}.{group}"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served: Object = {"name": version, "served": True, "storage": True, "schema": schema}
    if status:
        served["subresources"] = {"status": {}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": list(short_names)}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [served]},
    }
    if kube.request("GET", f"{_CRDS}/{name}").status_code == 404:
        assert kube.request("POST", _CRDS, json=body).is_success
    path = f"/apis/{group}/{version}/namespaces/{kube.namespace}/{plural}"
    kube.wait_for(lambda: kube.request("GET", path).is_success, f"{name} to be served")


class Custom:
    """An object of a custom resource.

    Parameters
    ----------
    kube : Kube
    api_version, kind, plural, name : str
    owner : dict, optional
        An owner reference.
    namespace : str, optional
    **spec
    """

    def __init__(
        self,
        kube: Kube,
        api_version: str,
        kind: str,
        plural: str,
        name: str,
        owner: Object | None = None,
        namespace: str = "",
        **spec: Any,
    ) -> None:
        self.kube, self.name = kube, name
        self._path = f"/apis/{api_version}/namespaces/{namespace or kube.namespace}/{plural}"
        metadata: Object = {"name": name}
        if owner:
            metadata["ownerReferences"] = [owner]
        body = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
        response = kube.request("POST", self._path, json=body)
        assert response.is_success, response.text
        self.obj: Object = response.json()

    @property
    def reference(self) -> Object:
        """An owner reference to the object."""
        return reference(self.obj)

    def set_status(self, *, has_subresource: bool = True, **status: Any) -> None:
        """Set the whole status."""
        path = f"{self._path}/{self.name}" + ("/status" if has_subresource else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        response = self.kube.request("PATCH", path, json={"status": status}, headers=headers)
        assert response.is_success, response.text

    def delete(self) -> None:
        """Delete the object, and what it owns."""
        self.kube.request("DELETE", f"{self._path}/{self.name}", json={"propagationPolicy": "Background"})


def reference(obj: Object, *, controller: bool = True) -> Object:
    """Return an owner reference to an object."""
    owner = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": obj["metadata"]["name"]}
    return owner | {"uid": obj["metadata"]["uid"]} | ({"controller": True} if controller else {})


def create_pod(
    kube: Kube,
    name: str,
    code: str,
    owner: Object,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    namespace: str = "",
) -> Object:
    """Create a pod that runs Python code, with one owner."""
    metadata = {
        "name": name,
        "namespace": namespace or kube.namespace,
        "labels": labels or {},
        "annotations": annotations or {},
        "ownerReferences": [owner],
    }
    spec = pod_spec([python_container("main", code)])
    return kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> Object:
    """Return a condition of a status."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"type": kind, "status": status, "reason": reason or kind, "message": message, "lastTransitionTime": now}
